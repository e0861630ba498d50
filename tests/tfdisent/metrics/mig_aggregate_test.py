import numpy as np
import pytest
from scipy.stats import norm

from tfdisent.metrics.mig_aggregate import mig_aggregate


def test_identity_code_scores_one(grid):
    factors = grid(3, 4, 5)
    score = mig_aggregate(factors, factors, np.full((60, 3), 0.05))
    np.testing.assert_allclose(score, 1.0, atol=0.01)


def test_constant_code_scores_zero(grid):
    score = mig_aggregate(grid(3, 4), np.zeros((12, 2)), np.ones((12, 2)))
    np.testing.assert_allclose(score, 0.0, atol=1e-9)


def test_duplicated_permuted_and_scaled_codes(grid):
    factors = grid(3, 4)
    codes = factors[:, ::-1] * [-7.0, 30.0]
    noise = np.full((12, 2), 0.1)
    score = mig_aggregate(factors, codes, noise)
    np.testing.assert_allclose(score, 1.0, atol=0.01)
    twice, noise = np.tile(codes, 2), np.tile(noise, 2)
    np.testing.assert_allclose(
        mig_aggregate(factors, twice, noise), 0.0, atol=0.01
    )


def test_one_code_for_two_factors_still_scores_one(grid):
    factors = grid(2, 3)
    means = np.stack([factors @ [3.0, 1.0], np.zeros(6)], axis=1)
    score = mig_aggregate(factors, means, np.full((6, 2), 0.05))
    np.testing.assert_allclose(score, 1.0, atol=0.01)


def test_gaussian_code_with_a_closed_form():
    # The factor shifts a code whose other spread is wide: given v, z is
    # N(shift, 2), and the mixture of the two is integrated.
    quantiles = norm.ppf((np.arange(400) + 0.5) / 400)
    factors = np.repeat([[0], [1]], 400, axis=0)
    means = np.tile(quantiles[:, None], (2, 1)) + factors * 2.0
    score = mig_aggregate(factors, means, np.ones((800, 1)), samples=40000)
    z = np.linspace(-15, 17, 100001)
    low, high = norm.pdf(z, 0, 2**0.5), norm.pdf(z, 2, 2**0.5)
    relative = np.sum(high * np.log(high / (low + high) * 2)) * (z[1] - z[0])
    np.testing.assert_allclose(score, relative / np.log(2), atol=0.02)


def test_lengths_must_agree(grid):
    with pytest.raises(ValueError, match="factors 12, means 11"):
        mig_aggregate(grid(3, 4), np.zeros((11, 2)), np.ones((11, 2)))
