"""Three codes of known fault, their scores and pictures, for metrics.md.

    python docs/metric_examples.py

pro-VLAE's paper (figures 8 and 9) shows by trained models what its scores
punish. Here the same cases are made by hand on `shapes`, so that nothing but
the case itself is in the scores: every code below determines the image.

- clean: one factor a code;
- split (figure 8): each hue on two codes, as the point of a circle;
- shared (figure 9, right): scale and shape on one code, and a dead code.

Prints the rows of the table in metrics.md and writes `images/metrics-*.png`.
"""

import pathlib

import numpy as np
from PIL import Image

from tfdisent import data
from tfdisent import metrics
from tfdisent import visualization

IMAGES = pathlib.Path(__file__).parent / "images"
ROWS = 10_000
# The traversals start here; the hues lie between the axes of their circle.
START = (1, 6, 8, 4, 1, 3)
COLOURS = 256


class Clean:
    """One factor a code, of unit variance.

    Args:
      dataset: `shapes`.
    """

    title = "one factor a code"

    def __init__(self, dataset):
        self.dataset = dataset
        self.sizes = np.array(dataset.factor_sizes)
        self.parts = {"z": (self.encode(np.array([START])).shape[1],)}

    def encode(self, factors):
        """Factors int `[N, 6]` to codes float64 `[N, D]`."""
        return _standard(factors, self.sizes)

    def factors(self, z):
        """Codes `[N, D]` to the factors they stand for, float64 `[N, 6]`."""
        return _values(z, self.sizes)

    def decode(self, z):
        """Codes to images of the nearest grid point, float32 in [0, 1]."""
        nearest = np.rint(self.factors(np.asarray(z, np.float64))).astype(int)
        points = nearest.clip(0, self.sizes - 1)
        return self.dataset.render(
            np.ravel_multi_index(points.T, self.sizes)
        ) / np.float32(255)


class Split(Clean):
    """Each of the three hues on two codes, the rest as in `Clean`."""

    title = "three factors split over two codes each"

    def encode(self, factors):
        angles = 2 * np.pi * factors[:, :3] / self.sizes[:3]
        circle = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], -1)
        others = _standard(factors[:, 3:], self.sizes[3:])
        return np.concatenate([circle.reshape(-1, 6), others], axis=1)

    def factors(self, z):
        circle = z[:, :6].reshape(-1, 3, 2)
        angles = np.arctan2(circle[..., 1], circle[..., 0]) / (2 * np.pi)
        hues = np.rint(angles * self.sizes[:3]) % self.sizes[:3]
        return np.concatenate([hues, _values(z[:, 6:], self.sizes[3:])], axis=1)


class Shared(Clean):
    """Scale and shape on code 4; nothing but a little noise on code 5."""

    title = "scale and shape share code 4, code 5 is dead"

    def encode(self, factors):
        scale, shape = factors[:, 3], factors[:, 4]
        both = self.sizes[3] * shape + scale
        columns = np.column_stack([factors[:, [0, 1, 2, 5]], both])
        noise = np.random.default_rng(0).normal(0, 0.01, (len(factors), 1))
        codes = _standard(columns, self._columns())
        return np.concatenate([codes, noise], axis=1)

    def factors(self, z):
        values = _values(z[:, :5], self._columns())
        shape, scale = np.divmod(np.rint(values[:, 4]), self.sizes[3])
        return np.column_stack([values[:, :3], scale, shape, values[:, 3]])

    def _columns(self):
        """Values of each code: hues, orientation, scale and shape."""
        return np.append(self.sizes[[0, 1, 2, 5]], self.sizes[3:5].prod())


def _standard(values, sizes):
    """Values 0 .. size - 1 with mean 0 and variance 1 over the grid."""
    return (values - (sizes - 1) / 2) / np.sqrt((sizes**2 - 1) / 12)


def _values(standard, sizes):
    """The inverse of `_standard`."""
    return standard * np.sqrt((sizes**2 - 1) / 12) + (sizes - 1) / 2


EXAMPLES = {"clean": Clean, "split": Split, "shared": Shared}


def scores(example):
    """The scores of one example, and its information matrix.

    Args:
      example: an instance of one of `EXAMPLES`.

    Returns:
      `({score: float}, float64 [D, K])`; the matrix is I(z_j; v_k) / H(v_k)
      of 10,000 random points, as MIG and MIG-sup read it.
    """
    sizes = example.sizes
    grid = np.indices(sizes).reshape(len(sizes), -1).T
    table = example.encode(grid)
    rows = np.random.default_rng(0).permutation(len(grid))[:ROWS]
    given = grid[rows], table[rows]
    matrix = metrics.information_matrix(*given)
    found = {
        "MIG": metrics.mig(*given),
        "MIG-sup": metrics.mig_sup(*given),
        "FactorVAE score": metrics.factor_vae_score(table, sizes),
        "modularity": metrics.modularity(*given),
    }
    return found, matrix / metrics.factor_entropies(given[0])


def picture(example, matrix):
    """Traversal and information matrix side by side, uint8 `[H, W, 3]`."""
    start = {"z": example.encode(np.array([START]))}
    traversal = visualization.traversal(
        example,
        start,
        span=1.6,
        dimensions={"z": np.arange(example.parts["z"][0])},
    )
    names = [f"z[{j}]" for j in range(len(matrix))]
    title = "I(z; v) / H(v)"
    heat = visualization.matrix(
        matrix, names, example.dataset.factor_names, title
    )
    return visualization.beside([traversal, heat], down=0.5)


def table_row(example, found):
    """A row of the table in metrics.md."""
    cells = [example.title, *(f"{value:.3f}" for value in found.values())]
    return f"| {' | '.join(cells)} |"


def main():
    dataset = data.load("shapes")
    for name, kind in EXAMPLES.items():
        example = kind(dataset)
        found, matrix = scores(example)
        print(table_row(example, found))
        image = Image.fromarray(picture(example, matrix))
        image.quantize(COLOURS).save(
            IMAGES / f"metrics-{name}.png", optimize=True
        )


if __name__ == "__main__":
    main()
