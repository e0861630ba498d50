import numpy as np
import pytest

from tfdisent.metrics.mig_sup import mig_sup


@pytest.mark.parametrize(
    ("variance", "name"), [(None, "mig_sup_all"), (1e-2, "mig_sup_active")]
)
def test_agrees_with_the_reference(golden, variance, name):
    score = mig_sup(*golden.train, active_variance=variance)
    np.testing.assert_allclose(score, golden.expected[name], rtol=0, atol=1e-6)


def test_identity_code_scores_one(grid):
    factors = grid(3, 4, 5)
    np.testing.assert_allclose(mig_sup(factors, factors.astype(float)), 1.0)


def test_constant_code_scores_zero(grid):
    codes = np.ones((12, 5))
    assert mig_sup(grid(3, 4), codes) == 0.0
    assert mig_sup(grid(3, 4), codes, active_variance=None) == 0.0


def test_duplicated_code_scores_one(grid):
    factors = grid(3, 4)
    codes = np.concatenate([factors, factors], axis=1)
    np.testing.assert_allclose(mig_sup(factors, codes), 1.0)


def test_order_and_scale_of_codes_do_not_matter(grid):
    factors = grid(3, 4, 5)
    codes = factors + np.random.default_rng(0).normal(size=(60, 3))
    moved = codes[:, [2, 0, 1]] * [8.0, 0.5, 4.0]
    np.testing.assert_allclose(mig_sup(factors, moved), mig_sup(factors, codes))


def test_one_code_for_two_factors_scores_zero(grid):
    factors = grid(2, 3)
    codes = factors @ [[3.0], [1.0]]
    np.testing.assert_allclose(mig_sup(factors, codes), 0.0, atol=1e-12)


def test_only_active_codes_count(grid):
    # The quiet code is as good as the loud one is bad.
    factors = grid(2, 3)
    quiet = factors[:, 0] * 0.01
    codes = np.stack([factors @ [3.0, 1.0], quiet], axis=1)
    np.testing.assert_allclose(mig_sup(factors, codes), 0.0, atol=1e-12)
    np.testing.assert_allclose(
        mig_sup(factors, codes, active_variance=None), 0.5
    )
