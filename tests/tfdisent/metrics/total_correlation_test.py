import numpy as np

from tfdisent.metrics.total_correlation import total_correlation


def test_agrees_with_the_reference(golden):
    np.testing.assert_allclose(
        total_correlation(golden.train[1]),
        golden.expected["gaussian_total_correlation"],
        rtol=0,
        atol=1e-6,
    )


def test_correlated_pair():
    # White codes, then a pair of exact correlation 0.6.
    draws = np.random.default_rng(0).normal(size=(50, 2))
    white = np.linalg.qr(draws - draws.mean(axis=0))[0]
    codes = white @ np.linalg.cholesky([[1, 0.6], [0.6, 1]]).T
    expected = -0.5 * np.log(1 - 0.6**2)
    np.testing.assert_allclose(total_correlation(codes), expected)
    moved = codes[:, ::-1] * [-100.0, 0.01] + 3
    np.testing.assert_allclose(total_correlation(moved), expected)


def test_identity_and_constant_codes_are_independent(grid):
    factors = grid(3, 4)
    np.testing.assert_allclose(total_correlation(factors), 0, atol=1e-12)
    assert total_correlation(np.full((12, 3), 0.3)) == 0.0
    with_dead = np.concatenate([factors, np.full((12, 1), 0.3)], axis=1)
    np.testing.assert_allclose(total_correlation(with_dead), 0, atol=1e-12)


def test_duplicated_code_has_no_bound(grid):
    factors = grid(3, 4)
    codes = np.concatenate([factors, -2.0 * factors], axis=1)
    assert total_correlation(codes) == np.inf
