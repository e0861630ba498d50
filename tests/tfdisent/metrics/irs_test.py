import numpy as np
import pytest

from tfdisent.metrics.irs import irs


def test_agrees_with_the_reference(golden):
    np.testing.assert_allclose(
        irs(*golden.train), golden.expected["irs"], rtol=0, atol=1e-6
    )


def test_identity_permuted_scaled_and_duplicated_codes(grid):
    factors = grid(3, 4, 5)
    np.testing.assert_allclose(irs(factors, factors), 1.0)
    codes = factors[:, [2, 0, 1]] * [-3.0, 0.5, 40.0] + 7
    np.testing.assert_allclose(irs(factors, codes), 1.0)
    twice = np.concatenate([codes, codes], axis=1)
    np.testing.assert_allclose(irs(factors, twice), 1.0)


def test_constant_codes(grid):
    factors = grid(3, 4)
    assert irs(factors, np.full((12, 2), 0.3)) == 0.0
    codes = np.concatenate([factors, np.full((12, 2), 0.3)], axis=1)
    np.testing.assert_allclose(irs(factors, codes), 1.0)


def test_one_code_for_two_factors(grid):
    # a + 2 b lies within 1.5 of its mean, and within 0.5 once b is held.
    factors = grid(2, 2)
    codes = factors @ [[1.0], [2.0]]
    np.testing.assert_allclose(irs(factors, codes), 1 - 0.5 / 1.5)


def test_codes_are_weighted_by_their_largest_deviation(grid):
    # The first code scores 2/3 with weight 1.5, the second 1 with weight 3.
    factors = grid(2, 2)
    codes = factors @ [[1.0, 6.0], [2.0, 0.0]]
    expected = (1.5 * 2 / 3 + 3.0) / 4.5
    np.testing.assert_allclose(irs(factors, codes, quantile=1.0), expected)


def test_quantile_range(grid):
    with pytest.raises(ValueError, match="quantile must be in .* 1.5"):
        irs(grid(2, 2), grid(2, 2), quantile=1.5)
