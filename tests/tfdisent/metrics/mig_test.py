import numpy as np
import pytest

from tfdisent.metrics.mig import mig


def test_agrees_with_the_reference(golden):
    np.testing.assert_allclose(
        mig(*golden.train), golden.expected["mig"], rtol=0, atol=1e-6
    )


def test_identity_code_scores_one(grid):
    factors = grid(3, 4, 5)
    np.testing.assert_allclose(mig(factors, factors.astype(float)), 1.0)


def test_constant_code_scores_zero(grid):
    assert mig(grid(3, 4), np.full((12, 5), 0.3)) == 0.0


def test_duplicated_code_scores_zero(grid):
    factors = grid(3, 4)
    codes = np.concatenate([factors, factors], axis=1)
    np.testing.assert_allclose(mig(factors, codes), 0.0, atol=1e-12)


def test_order_and_scale_of_codes_do_not_matter(grid):
    factors = grid(3, 4, 5)
    codes = factors + np.random.default_rng(0).normal(size=(60, 3))
    moved = codes[:, [2, 0, 1]] * [8.0, 0.5, 4.0]
    np.testing.assert_allclose(mig(factors, moved), mig(factors, codes))


def test_one_code_for_two_factors_still_scores_one(grid):
    factors = grid(2, 3)
    codes = np.stack([factors @ [3.0, 1.0], np.zeros(6)], axis=1)
    np.testing.assert_allclose(mig(factors, codes), 1.0)


def test_a_half_known_factor(grid):
    # Of four values, the code tells only which pair: log 2 of log 4.
    factors = grid(4, 2)
    codes = np.stack([factors[:, 0] // 2, factors[:, 1]], axis=1)
    np.testing.assert_allclose(mig(factors, codes), (0.5 + 1.0) / 2)


def test_a_single_code_has_no_rival(grid):
    factors = grid(2, 3)
    np.testing.assert_allclose(mig(factors, factors[:, :1]), 0.5)


def test_codes_that_differ_by_rounding_only(grid):
    # 20 bins do not fit between neighbouring floats.
    factors = grid(2, 2)
    codes = np.array([[0.3, 0], [0.3, 1], [np.nextafter(0.3, 1), 0], [0.3, 1]])
    assert np.isfinite(mig(factors, codes))


def test_bins_must_be_a_count(grid):
    with pytest.raises(ValueError, match="bins must be at least 2. .* 1"):
        mig(grid(2, 3), grid(2, 3), bins=1)
