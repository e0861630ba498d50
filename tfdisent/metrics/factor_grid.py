"""Points of a complete factor grid, numbered row-major.

The last factor changes fastest, as in `numpy.ravel_multi_index`. Scores that
choose their own factor values move on the grid by arithmetic on these
numbers, many points at once.
"""

import numpy as np


def value_of(points, factor, sizes):
    """The value of `factor` at `points`; both int64, broadcast together."""
    return points // _strides(sizes)[factor] % sizes[factor]


def with_value(points, factor, value, sizes):
    """`points` moved along `factor` to `value`; all int64, broadcast."""
    steps = value - value_of(points, factor, sizes)
    return points + steps * _strides(sizes)[factor]


def _strides(sizes):
    return np.append(np.cumprod(sizes[:0:-1])[::-1], 1)
