import numpy as np
from sklearn.metrics import mutual_info_score

from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.information_matrix import information_matrix


def test_identity_code_holds_the_entropies(grid):
    factors = grid(3, 4)
    expected = np.diag(np.log([3, 4]))
    np.testing.assert_allclose(
        information_matrix(factors, factors), expected, atol=1e-12
    )
    np.testing.assert_allclose(factor_entropies(factors), np.log([3, 4]))


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 7, size=(500, 2))
    codes = factors[:, :1] + rng.normal(size=(500, 3))
    edges = np.histogram(codes[:, 1], 11)[1][:-1]
    expected = mutual_info_score(np.digitize(codes[:, 1], edges), factors[:, 0])
    actual = information_matrix(factors, codes, bins=11)[1, 0]
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_values_of_a_factor_are_names(grid):
    factors = grid(3, 4)
    renamed = np.array([-5, 10**12, 7])[factors[:, 0]]
    renamed = np.stack([renamed, factors[:, 1]], axis=1)
    np.testing.assert_allclose(
        information_matrix(renamed, factors),
        information_matrix(factors, factors),
    )
