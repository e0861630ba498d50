"""Binary sprites on the factor grid of dSprites, rendered by us.

The grid has 3 x 6 x 40 x 32 x 32 = 737,280 points. Every shape is a polygon. A
pixel is lit when its centre lies inside, so a row of a picture is known from
the places where the outline crosses it: one table, computed in a second at
first use, holds them for every shape, scale, orientation and height (10 MB). A
picture adds its horizontal position to them and sets whole rows, as 64-bit
words.

The outlines were fitted to frames of the original data set (L. Matthey,
I. Higgins, D. Hassabis and A. Lerchner, "dSprites", 2017), which is another
set: these pictures agree with it but for a pixel here and there.
"""

import functools

import numpy as np

from tfdisent.data.base import checked_indices

FACTOR_NAMES = ("shape", "scale", "orientation", "position_x", "position_y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
IMAGE_SHAPE = (64, 64, 1)

SHAPES = ("square", "ellipse", "heart")
SCALES = np.linspace(0.5, 1.0, num=6)
# Radians, counterclockwise. The last orientation is the first again: the 40
# steps count both ends of the full turn. The remainder makes the two equal.
ORIENTATIONS = 2 * np.pi * (np.arange(40) % 39) / 39
POSITIONS = np.linspace(
    15.5, 47.5, num=32
)  # pixel centres are at 0, 1, ..., 63

_SIZE = 64

# Pixels, at scale 1, orientation 0; x to the right, y down from the point that
# the sprite turns around.
_SQUARE_HALF = 9.598
_ELLIPSE_HALVES = (12.78, 7.22)
_ELLIPSE_CORNERS = 64
# The right half of the heart, from the notch to the tip.
_HEART = (
    (0.00, -5.12),
    (0.32, -6.07),
    (0.73, -6.94),
    (1.38, -7.80),
    (2.31, -8.61),
    (3.32, -9.13),
    (4.35, -9.34),
    (5.37, -9.31),
    (6.33, -9.05),
    (7.19, -8.57),
    (8.00, -8.00),
    (8.60, -7.22),
    (9.11, -6.38),
    (9.43, -5.45),
    (9.60, -4.48),
    (9.58, -3.49),
    (9.39, -2.52),
    (9.05, -1.60),
    (8.63, -0.75),
    (8.15, 0.00),
    (7.62, 0.67),
    (7.12, 1.26),
    (6.65, 1.78),
    (6.19, 2.25),
    (5.75, 2.68),
    (5.35, 3.09),
    (4.94, 3.46),
    (4.55, 3.82),
    (4.19, 4.19),
    (3.80, 4.53),
    (3.42, 4.88),
    (3.05, 5.27),
    (2.64, 5.67),
    (2.22, 6.11),
    (1.77, 6.62),
    (1.28, 7.25),
    (0.83, 7.86),
    (0.45, 8.50),
    (0.00, 9.65),
)

# No outline reaches further than 13.6 pixels up or down: `_ROWS` rows from the
# first one in reach hold every sprite.
_REACH = 13.6
_ROWS = 28
_CROSSINGS = 4  # at most, of an outline and a row

# `_ROW_STARTS[k]` has the first k pixels of a row set; pixel x is bit x.
_ROW_STARTS = np.array([(1 << k) - 1 for k in range(_SIZE + 1)], "<u8")


def render(indices):
    """Renders grid points as pictures.

    Args:
        indices: int array `[N]`, row-major over `FACTOR_SIZES` (the last factor
            fastest, as `numpy.ravel_multi_index`), in any order, repeats
            allowed.

    Returns:
        uint8 array `[N, 64, 64, 1]` of 0 (background) and 255 (sprite).

    Raises:
        ValueError: `indices` is not a vector of integers or leaves the grid.
    """
    indices = checked_indices(indices, int(np.prod(FACTOR_SIZES)))
    sprites, places = np.divmod(indices, len(POSITIONS) ** 2)
    columns, heights = np.divmod(places, len(POSITIONS))
    crossings = _crossings()[sprites, heights]
    crossings += POSITIONS[columns].astype(np.float32)[:, None, None]
    # A crossing at c toggles every pixel left of c: what is toggled an odd
    # number of times is inside. Bits outside the picture are never set.
    np.ceil(crossings, out=crossings)
    toggled = _ROW_STARTS[crossings.clip(0, _SIZE).astype(np.uint8)]
    rows = np.zeros((len(indices), _SIZE), _ROW_STARTS.dtype)
    window = _first_rows()[heights][:, None] + np.arange(_ROWS)
    rows[np.arange(len(indices))[:, None], window] = np.bitwise_xor.reduce(
        toggled, axis=2
    )
    pixels = np.unpackbits(rows.view(np.uint8), bitorder="little")
    pixels *= 255
    return pixels.reshape(-1, *IMAGE_SHAPE)


def _first_rows():
    """Returns the first row a sprite can reach, for each height: int `[32]`."""
    return np.ceil(POSITIONS - _REACH).astype(np.int64)


@functools.cache
def _crossings():
    """Returns where rows cross outlines: float32 `[720, 32, 28, 4]`.

    Axes: shape, scale and orientation (row-major); height; row; crossing. The
    values are pixels from the sprite's turning point, minus infinity where
    there are fewer crossings.
    """
    # How far each row of the window lies below the turning point.
    levels = _first_rows()[:, None] + np.arange(_ROWS) - POSITIONS[:, None]
    tables = [
        _row_crossings(scale * outline @ _turn(angle), levels.ravel())
        for outline in (_square(), _ellipse(), _heart())
        for scale in SCALES
        for angle in ORIENTATIONS
    ]
    return np.stack(tables).reshape(-1, *levels.shape, _CROSSINGS)


def _square():
    """Returns the corners of the square, `[4, 2]`."""
    corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    return _SQUARE_HALF * np.array(corners)


def _ellipse():
    """Returns the corners of a polygon in the ellipse, `[64, 2]`."""
    angles = 2 * np.pi * np.arange(_ELLIPSE_CORNERS) / _ELLIPSE_CORNERS
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * _ELLIPSE_HALVES


def _heart():
    """Returns the corners of the heart, `[76, 2]`."""
    right = np.array(_HEART)
    left = right[-2:0:-1] * (-1, 1)  # the notch and the tip are on the axis
    return np.concatenate([right, left])


def _turn(angle):
    """Returns the `[2, 2]` matrix that turns row vectors by an angle."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _row_crossings(outline, levels):
    """Returns the x at which a polygon crosses levels of y.

    `outline` is `[V, 2]`, `levels` `[R]`; the result is float32
    `[R, _CROSSINGS]`, unordered, filled up with minus infinity.
    """
    x, y = outline.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    # Half open, so that a level through a corner is crossed once.
    above = y <= levels[:, None]
    level, edge = np.nonzero(above != np.roll(above, -1, axis=1))
    share = (levels[level] - y[edge]) / (next_y[edge] - y[edge])
    counts = np.bincount(level, minlength=len(levels))
    rank = np.arange(len(level)) - np.repeat(np.cumsum(counts) - counts, counts)
    crossings = np.full((len(levels), _CROSSINGS), -np.inf, np.float32)
    crossings[level, rank] = x[edge] + share * (next_x[edge] - x[edge])
    return crossings
