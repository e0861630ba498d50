import numpy as np

from tfdisent.metrics import factor_grid

SIZES = np.array([3, 4, 5])


def test_values_are_those_of_unravel_index():
    points = np.arange(60)
    for factor, expected in enumerate(np.unravel_index(points, SIZES)):
        actual = factor_grid.value_of(points, factor, SIZES)
        np.testing.assert_array_equal(actual, expected)


def test_moving_changes_one_factor():
    points = np.arange(60)
    moved = factor_grid.with_value(points, 1, 2, SIZES)
    a, _, c = np.unravel_index(points, SIZES)
    expected = np.ravel_multi_index((a, np.full(60, 2), c), SIZES)
    np.testing.assert_array_equal(moved, expected)


def test_every_row_may_move_along_its_own_factor():
    points = np.array([[0, 59], [0, 59]])
    factor = np.array([[0], [2]])
    moved = factor_grid.with_value(points, factor, 1, SIZES)
    np.testing.assert_array_equal(moved, [[20, 39], [1, 56]])
