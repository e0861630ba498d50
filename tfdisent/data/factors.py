"""Data sets with a complete grid of known factors, rendered on demand."""

import numpy as np

from tfdisent.data.base import Dataset
from tfdisent.data.base import Split


class GridSplit(Split):
    """Every point of a factor grid, rendered when it is asked for.

    Args:
      render: row-major indices int64 `[B]` -> uint8 `[B, H, W, C]`.
      factor_sizes: values of each factor, last fastest.
      image_shape: `(H, W, C)`.
    """

    def __init__(self, render, factor_sizes, image_shape):
        self.render = render
        self.factor_sizes = tuple(factor_sizes)
        self.image_shape = tuple(image_shape)

    def __len__(self):
        return int(np.prod(self.factor_sizes))

    def take(self, indices):
        factors = np.stack(
            np.unravel_index(indices, self.factor_sizes), axis=-1
        )
        return {
            "image": self.render(np.asarray(indices)),
            "factors": factors.astype(np.int32),
        }


def _rendered(name, module, description):
    split = GridSplit(module.render, module.FACTOR_SIZES, module.IMAGE_SHAPE)
    return Dataset(
        name=name,
        splits={"train": split},
        factor_names=tuple(module.FACTOR_NAMES),
        factor_sizes=tuple(module.FACTOR_SIZES),
        description=description,
    )


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
