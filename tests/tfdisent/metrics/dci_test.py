import numpy as np
import pytest

from tfdisent.metrics.dci import Importance
from tfdisent.metrics.dci import dci
from tfdisent.metrics.dci import dci_from_importance
from tfdisent.metrics.dci import importance_matrix


def test_agrees_with_the_reference(golden):
    train = [array[:2000] for array in golden.train]
    test = [array[:1000] for array in golden.test]
    expected = [
        golden.expected[f"dci_{name}"]
        for name in ("disentanglement", "completeness", "informativeness_test")
    ]
    np.testing.assert_allclose(dci(*train, *test), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("scale", [[1.0, 1.0], [-7.0, 0.01]])
def test_identity_code_scores_one(grid, scale):
    factors = np.tile(grid(3, 4), (5, 1))
    codes = factors[:, ::-1] * scale
    scores = dci(factors, codes, factors, codes)
    np.testing.assert_allclose(scores, 1.0, atol=1e-6)


def test_constant_code_matters_for_nothing(grid):
    factors = np.tile(grid(3, 4), (5, 1))
    codes = np.ones((60, 3))
    scores = dci(factors, codes, factors, codes)
    np.testing.assert_allclose(scores, [0, 0, (1 / 3 + 1 / 4) / 2])


def test_one_code_for_two_factors(grid):
    # It matters for both alike: no disentanglement, full completeness.
    factors = np.tile(grid(3, 4), (5, 1))
    codes = np.stack([factors @ [4.0, 1.0], np.zeros(60)], axis=1)
    scores = dci(factors, codes, factors, codes)
    np.testing.assert_allclose(scores, [0, 1, 1], atol=1e-6)


def test_importance_shared_by_two_codes():
    # A duplicated code halves the importance: of four codes, log 2 / log 4.
    matrix = np.array([[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]])
    scores = dci_from_importance(Importance(matrix, np.array([1.0, 0.5])))
    np.testing.assert_allclose(scores, [1, 0.5, 0.75], atol=1e-8)


def test_codes_are_weighted_by_importance():
    matrix = np.array([[0.9, 0.0], [0.1, 0.1]])
    scores = dci_from_importance(Importance(matrix, np.ones(2)))
    np.testing.assert_allclose(scores.disentanglement, 0.9 / 1.1, atol=1e-8)


def test_seed_and_threads():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(200, 3))
    codes = np.concatenate([codes, codes], axis=1)
    factors = (codes[:, :2] > 0).astype(int)
    first = importance_matrix(factors, codes, factors, codes, seed=1, jobs=1)
    again = importance_matrix(factors, codes, factors, codes, seed=1, jobs=2)
    other = importance_matrix(factors, codes, factors, codes, seed=2)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    # Equal codes are a tie, which the seed breaks.
    assert np.any(first.matrix != other.matrix)


@pytest.mark.parametrize("name", ["factors_train", "codes_train"])
def test_needs_two_columns(grid, name):
    arrays = {"factors_train": grid(3, 4), "codes_train": grid(3, 4)}
    arrays[name] = arrays[name][:, :1]
    factors, codes = arrays.values()
    with pytest.raises(ValueError, match=f"{name} must have at least 2 col"):
        dci(factors, codes, factors, codes)
