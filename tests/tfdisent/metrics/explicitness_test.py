import numpy as np
import pytest

from tfdisent.metrics.explicitness import explicitness


def test_agrees_with_the_reference(golden):
    score = explicitness(*golden.train, *golden.test)
    expected = golden.expected["explicitness_test"]
    np.testing.assert_allclose(score, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("scale", [1.0, -1000.0])
def test_identity_and_duplicated_codes_of_binary_factors(grid, scale):
    factors = np.tile(grid(2, 2), (20, 1))
    codes = factors * scale
    assert explicitness(factors, codes, factors, codes) == 1.0
    twice = np.concatenate([codes, codes], axis=1)
    assert explicitness(factors, twice, factors, twice) == 1.0


def test_constant_code_scores_a_half(grid):
    factors = np.tile(grid(2, 3), (20, 1))
    codes = np.ones((120, 2))
    assert explicitness(factors, codes, factors, codes) == 0.5


def test_one_code_for_two_binary_factors(grid):
    # 2 a + b orders a perfectly (area 1), and b in three of four pairs.
    factors = np.tile(grid(2, 2), (20, 1))
    codes = factors @ [[2.0], [1.0]]
    score = explicitness(factors, codes, factors, codes)
    np.testing.assert_allclose(score, (1 + 0.75) / 2)


def test_values_that_were_not_trained_are_left_out(grid):
    train = np.tile(grid(2, 2), (20, 1))
    test = np.tile(grid(3, 2), (20, 1))
    # The third value lies beyond the second: 0 is told from the rest, 1 from
    # half of it.
    score = explicitness(train, train, test, test)
    np.testing.assert_allclose(score, ((1 + 0.5) / 2 + 1) / 2)


def test_no_trained_value(grid):
    train = np.tile(grid(2, 2), (20, 1))
    with pytest.raises(ValueError, match="factors_test must share values"):
        explicitness(train, train, train + 5, train)
