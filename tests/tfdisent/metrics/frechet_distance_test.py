import numpy as np
import pytest
from scipy.linalg import sqrtm

from tfdisent.metrics.frechet_distance import frechet_distance


def gaussian_features(mean, covariance, seed, rows=200):
    """Features of exactly this mean and covariance (`ddof=1`)."""
    draws = np.random.default_rng(seed).normal(size=(rows, len(mean)))
    white = np.linalg.qr(draws - draws.mean(axis=0))[0] * np.sqrt(rows - 1)
    return white @ np.linalg.cholesky(covariance).T + mean


def test_diagonal_gaussians():
    # Per feature, (m_a - m_b)^2 + (s_a - s_b)^2.
    a = gaussian_features([1.0, 0.0, 2.0], np.diag([1.0, 4.0, 9.0]), 0)
    b = gaussian_features([0.0, 0.0, 5.0], np.diag([4.0, 4.0, 1.0]), 1)
    expected = (1 + 0 + 9) + (1 + 0 + 4)
    np.testing.assert_allclose(frechet_distance(a, b), expected)


def test_covariances_that_do_not_commute():
    cov_a, cov_b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.diag([5.0, 0.5])
    a = gaussian_features([0.0, 0.0], cov_a, 0)
    b = gaussian_features([1.0, 2.0], cov_b, 1)
    root = sqrtm(cov_a @ cov_b).real
    expected = 5 + np.trace(cov_a + cov_b - 2 * root)
    np.testing.assert_allclose(frechet_distance(a, b), expected)
    np.testing.assert_allclose(frechet_distance(b, a), expected)


def test_one_feature():
    a, b = np.array([[0.0], [2.0]]), np.array([[0.0], [4.0]])
    expected = 1 + (np.sqrt(8) - np.sqrt(2)) ** 2
    np.testing.assert_allclose(frechet_distance(a, b), expected)


def test_equal_moments_and_rank_deficient_covariances():
    features = np.random.default_rng(0).normal(size=(20, 50))
    features[:, 7] = 0.0
    np.testing.assert_allclose(
        frechet_distance(features, features), 0, atol=1e-6
    )
    np.testing.assert_allclose(
        frechet_distance(features, features + 2), 50 * 4, rtol=1e-6
    )


def test_widths_must_agree():
    with pytest.raises(ValueError, match="features_a 3, features_b 2"):
        frechet_distance(np.eye(3), np.eye(3)[:, :2])
