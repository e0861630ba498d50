import numpy as np
import pytest

from tfdisent.metrics.sap import sap


def test_agrees_with_the_reference(golden):
    score = sap(*golden.train, *golden.test)
    expected = golden.expected["sap"]
    np.testing.assert_allclose(score, expected, rtol=0, atol=2e-3)


def test_identity_code_of_binary_factors_scores_a_half(grid):
    # The best code is always right; the second best guesses.
    factors = np.tile(grid(2, 2), (50, 1))
    codes = (factors * 2.0 - 1)[:, ::-1] * [10.0, -5.0]
    np.testing.assert_allclose(sap(factors, codes, factors, codes), 0.5)


def test_constant_and_duplicated_codes_score_zero(grid):
    factors = np.tile(grid(2, 2), (50, 1))
    constant = np.ones((200, 3))
    assert sap(factors, constant, factors, constant) == 0.0
    twice = np.concatenate([factors, factors], axis=1) * 2.0 - 1
    assert sap(factors, twice, factors, twice) == 0.0


def test_one_code_for_two_factors(grid):
    # One threshold tells the factor in front, none the factor behind it.
    factors = np.tile(grid(2, 2), (50, 1))
    codes = factors @ [[20.0, 0], [1.0, 0]] - [10.5, 0]
    score = sap(factors, codes, factors, codes)
    np.testing.assert_allclose(score, (0.5 + 0.0) / 2)


def test_needs_two_codes(grid):
    factors = grid(2, 2)
    with pytest.raises(ValueError, match="codes_train must have at least 2"):
        sap(factors, factors[:, :1], factors, factors[:, :1])
