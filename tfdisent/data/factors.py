"""Data sets with a complete grid of known factors, and draws from the grid."""

import dataclasses

import numpy as np

from tfdisent.data.base import Dataset
from tfdisent.data.base import GridSplit
from tfdisent.data.base import held_out
from tfdisent.errors import InputError

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


def shapes(data_dir=None, hierarchy=""):
    """3D Shapes' grid of 480,000 points, rendered by us: 64x64x3.

    Args:
      data_dir: not used; nothing is read.
      hierarchy: a key of `SHAPES_HIERARCHIES`; the set is then a labelled one
        of which a seeded fifth is held out (HDN's 4:1).

    Raises:
      InputError: no such hierarchy.
    """
    from tfdisent.data import shapes as renderer

    del data_dir
    plain = _rendered(
        "shapes", renderer, "rendered on 3D Shapes' grid; not 3D Shapes"
    )
    if not hierarchy:
        return plain
    if hierarchy not in SHAPES_HIERARCHIES:
        raise InputError(
            f"Data set 'shapes' has no hierarchy {hierarchy!r}. Choices: "
            f"{', '.join(SHAPES_HIERARCHIES)}."
        )
    return _by_factors(plain, hierarchy, renderer.SHAPES)


# Stand-ins for HDN's three-dimensional sets. Values of a factor that are
# in no group, between two of them, are left out; the last level's "unseen"
# group is kept out of training.
SHAPES_HIERARCHIES = {
    # Category: shape, then the object's hue, then its scale.
    "C": {
        "object_hue": {
            "warm": (0, 1, 2),
            "green": (3, 4, 5),
            "blue": (6, 7, 8),
        },
        "scale": {"small": (0, 1, 2), "large": (5, 6, 7)},
        "unseen": {"medium": (3, 4)},
    },
    # Pose: shape, then where the camera stands.
    "P": {
        "orientation": {
            "far left": (0, 1, 2),
            "left": (3, 4, 5),
            "right": (9, 10, 11),
            "far right": (12, 13, 14),
        },
        "unseen": {"front": (6, 7, 8)},
    },
}


def _by_factors(plain, name, shape_names):
    """A grid as the hierarchy of this name; labels number its leaves."""
    groups = dict(SHAPES_HIERARCHIES[name])
    unseen = groups.pop("unseen")
    shapes_level = {s: (n,) for n, s in enumerate(shape_names)}
    levels = {"shape": shapes_level, **groups}
    last = list(levels)[-1]
    # The unseen groups are numbered behind the seen ones of the last level.
    levels[last] = {**levels[last], **unseen}
    points = np.unravel_index(np.arange(len(plain.grid)), plain.factor_sizes)
    labels = np.zeros(len(plain.grid), np.int32)
    inside = np.ones(len(plain.grid), bool)
    for factor, named in levels.items():
        column = plain.factor_names.index(factor)
        group = np.full(plain.factor_sizes[column], -1, np.int32)
        for number, values in enumerate(named.values()):
            group[list(values)] = number
        own = group[points[column]]
        labels = labels * len(named) + own
        inside &= own >= 0
    classes = int(np.prod([len(named) for named in levels.values()]))
    labels = np.where(inside, labels, classes)
    grid = GridSplit(
        plain.grid.images, plain.factor_sizes, plain.image_shape, labels
    )

    def nested(wanted, left, base=0):
        (_, named), *deeper = left
        tree = {}
        for number, group in enumerate(named):
            own = base * len(named) + number
            if deeper:
                tree[group] = nested(wanted, deeper, own)
            elif group in wanted:
                tree[group] = own
        return tree

    ordered = list(levels.items())
    return dataclasses.replace(
        plain,
        splits=held_out(grid, 0.2),
        grid=grid,
        hierarchy=nested(SHAPES_HIERARCHIES[name][last], ordered),
        unseen=nested(unseen, ordered),
        description=f"hierarchy {name} {plain.description}",
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
    """Factors of random images: points of the grid, or of what there is of it.

    Args:
      dataset: a `Dataset` with factors; of an incomplete grid the training
        images are drawn from.
      count: int.
      rng: `numpy.random.Generator`.

    Returns:
      int `[count, K]`.

    Raises:
      ValueError: no factors.
    """
    if dataset.grid is None:
        found = _found(dataset).factors
        return found[rng.integers(len(found), size=count)]
    sizes = dataset.factor_sizes
    return rng.integers(0, sizes, (count, len(sizes)))


def indices_of(dataset, factors):
    """Row-major grid indices of factor values.

    Args:
      dataset: a `Dataset` with a complete grid.
      factors: int `[..., K]`.

    Returns:
      int64 `[...]`, for `Dataset.render`.

    Raises:
      ValueError: no complete grid, or a value outside it.
    """
    columns = tuple(np.moveaxis(np.asarray(factors), -1, 0))
    return np.ravel_multi_index(columns, _grid_sizes(dataset))


def factors_of(dataset, indices):
    """Factor values int64 `[..., K]` of row-major grid indices `[...]`.

    Raises:
      ValueError: no complete grid, or an index outside it.
    """
    return np.stack(np.unravel_index(indices, _grid_sizes(dataset)), axis=-1)


def fixed_factor_batch(dataset, factor, count, rng):
    """Images that share one random value of a factor; the others vary.

    Args:
      dataset: a `Dataset` with factors; of an incomplete grid the training
        images are drawn from.
      factor: its name or number.
      count: int B.
      rng: `numpy.random.Generator`.

    Returns:
      `(images, factors)`: `[B, H, W, C]` as `Dataset.render`, int `[B, K]`.

    Raises:
      ValueError: no factors, or no such factor.
    """
    column = _column(dataset, factor)
    if dataset.grid is None:
        split = _found(dataset)
        values = split.factors[:, column]
        rows = np.flatnonzero(values == rng.choice(np.unique(values)))
        rows = rng.choice(rows, count)
        return split.take(rows)["image"], split.factors[rows]
    factors = sample_factors(dataset, count, rng)
    factors[:, column] = rng.integers(dataset.factor_sizes[column])
    return dataset.render(indices_of(dataset, factors)), factors


def traversal(dataset, index, factor):
    """Every value of one factor, the others as in one image.

    Args:
      dataset: a `Dataset` with factors.
      index: row-major grid index, int; of an incomplete grid the number of a
        training image.
      factor: its name or number.

    Returns:
      `[n, H, W, C]` as `Dataset.render`, n the factor's size; of an incomplete
      grid the first training image of each value that there is.

    Raises:
      ValueError: no factors, no such factor, or an index outside.
    """
    column = _column(dataset, factor)
    if dataset.grid is None:
        split = _found(dataset)
        if not 0 <= index < len(split):
            raise ValueError(
                f"index must lie in [0, {len(split)}). Received {index}."
            )
        others = np.delete(split.factors, column, axis=1)
        rows = np.flatnonzero((others == others[index]).all(axis=1))
        _, first = np.unique(split.factors[rows, column], return_index=True)
        return split.take(rows[first])["image"]
    point = factors_of(dataset, index)
    size = dataset.factor_sizes[column]
    factors = np.tile(point, (size, 1))
    factors[:, column] = np.arange(size)
    return dataset.render(indices_of(dataset, factors))


def _found(dataset):
    """The training images of an incomplete grid, which have their factors."""
    _column(dataset, 0)
    return dataset.splits["train"]


def _grid_sizes(dataset):
    """Values of each factor of a complete grid."""
    if dataset.grid is None:
        raise ValueError(
            "dataset must have a complete grid of factors. Received "
            f"{dataset.name!r}, which has none."
        )
    return dataset.factor_sizes


def _column(dataset, factor):
    """A factor's column, from its name or number."""
    if not dataset.factor_names:
        raise ValueError(
            f"dataset must have known factors. Received {dataset.name!r}, "
            "which has none."
        )
    names, count = dataset.factor_names, len(dataset.factor_names)
    if factor in names:
        return names.index(factor)
    if factor in range(-count, count):
        return factor % count
    raise ValueError(
        f"factor must be one of {', '.join(names)}, or a number in [-{count}, "
        f"{count}). Received {factor!r}."
    )
