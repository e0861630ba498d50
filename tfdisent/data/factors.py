"""Data sets with a complete grid of known factors, and draws from the grid."""

import numpy as np

from tfdisent.data.base import Dataset
from tfdisent.data.base import GridSplit

# A random part of a grid, enough for scores of reconstruction.
TEST_IMAGES = 10_000


def grid_splits(grid, seed=0):
    """Splits of a complete grid.

    Args:
      grid: a `GridSplit`.
      seed: int.

    Returns:
      A dict for `Dataset.splits`: `train` is the whole grid, as the papers
      train; `test` 10,000 seeded random points of it (a tenth, where that is
      less), so it is *not* held out.
    """
    count = max(1, min(TEST_IMAGES, len(grid) // 10))
    chosen = np.random.default_rng(seed).permutation(len(grid))[:count]
    return {"train": grid, "test": grid.subset(np.sort(chosen))}


def positions_on_grid(factors, factor_sizes):
    """Where the points of a grid lie in arrays of another order.

    Args:
      factors: int `[N, K]`.
      factor_sizes: values of each factor.

    Returns:
      int `[N]`, the array position of every row-major grid index, or None
      where a point is missing or occurs twice.
    """
    points = np.ravel_multi_index(tuple(factors.T), tuple(factor_sizes))
    positions = np.argsort(points)
    complete = np.array_equal(
        points[positions], np.arange(np.prod(factor_sizes))
    )
    return positions if complete else None


def sprites(data_dir=None):
    """dSprites' grid of 737,280 points, rendered by us: 64x64x1, binary."""
    from tfdisent.data import sprites as renderer

    del data_dir  # Nothing is read.
    return _rendered(
        "sprites", renderer, "rendered on dSprites' grid; not dSprites"
    )


def shapes(data_dir=None):
    """3D Shapes' grid of 480,000 points, rendered by us: 64x64x3."""
    from tfdisent.data import shapes as renderer

    del data_dir  # Nothing is read.
    return _rendered(
        "shapes", renderer, "rendered on 3D Shapes' grid; not 3D Shapes"
    )


def _rendered(name, module, description):
    grid = GridSplit(module.render, module.FACTOR_SIZES, module.IMAGE_SHAPE)
    return Dataset(
        name=name,
        splits=grid_splits(grid),
        grid=grid,
        factor_names=tuple(module.FACTOR_NAMES),
        factor_sizes=tuple(module.FACTOR_SIZES),
        description=description,
    )


def sample_factors(dataset, count, rng):
    """Uniform random points of the grid.

    Args:
      dataset: a `Dataset` with `factor_sizes`.
      count: int.
      rng: `numpy.random.Generator`.

    Returns:
      int64 `[count, K]`.
    """
    sizes = dataset.factor_sizes
    return rng.integers(0, sizes, (count, len(sizes)))


def indices_of(dataset, factors):
    """Row-major grid indices of factor values.

    Args:
      dataset: a `Dataset` with `factor_sizes`.
      factors: int `[..., K]`.

    Returns:
      int64 `[...]`, for `Dataset.render`.

    Raises:
      ValueError: a value outside the grid.
    """
    columns = tuple(np.moveaxis(np.asarray(factors), -1, 0))
    return np.ravel_multi_index(columns, dataset.factor_sizes)


def factors_of(dataset, indices):
    """Factor values int64 `[..., K]` of row-major grid indices `[...]`.

    Raises:
      ValueError: an index outside the grid.
    """
    return np.stack(np.unravel_index(indices, dataset.factor_sizes), axis=-1)


def fixed_factor_batch(dataset, factor, count, rng):
    """Images that share one random value of a factor; the others vary.

    Args:
      dataset: a `Dataset` with a complete grid.
      factor: its name or number.
      count: int B.
      rng: `numpy.random.Generator`.

    Returns:
      `(images, factors)`: `[B, H, W, C]` as `Dataset.render`, int64 `[B, K]`.
    """
    column = _column(dataset, factor)
    factors = sample_factors(dataset, count, rng)
    factors[:, column] = rng.integers(dataset.factor_sizes[column])
    return dataset.render(indices_of(dataset, factors)), factors


def traversal(dataset, index, factor):
    """Every value of one factor, the others as at one grid point.

    Args:
      dataset: a `Dataset` with a complete grid.
      index: row-major grid index, int.
      factor: its name or number.

    Returns:
      `[n, H, W, C]` as `Dataset.render`, n the factor's size.
    """
    column = _column(dataset, factor)
    size = dataset.factor_sizes[column]
    factors = np.tile(factors_of(dataset, index), (size, 1))
    factors[:, column] = np.arange(size)
    return dataset.render(indices_of(dataset, factors))


def _column(dataset, factor):
    """A factor's column, from its name or number."""
    if isinstance(factor, str):
        if factor not in dataset.factor_names:
            raise ValueError(
                f"factor must be one of {', '.join(dataset.factor_names)}. "
                f"Received {factor!r}."
            )
        return dataset.factor_names.index(factor)
    return range(len(dataset.factor_sizes))[factor]
