import numpy as np
import pytest

from tfdisent.metrics.udr import udr


def test_models_that_agree_up_to_order_and_scale_score_one(grid):
    codes = grid(5, 6, 7).astype(float)
    others = [
        codes[:, [2, 0, 1]] * [-3.0, 0.5, 40.0],
        np.exp(codes[:, [1, 2, 0]]),
    ]
    np.testing.assert_allclose(udr([codes, *others]), 1.0)


def test_a_rotated_model_scores_lower():
    # Turned by 45 degrees every correlation is r: r^2 / (2 r) = r / 2.
    codes = np.random.default_rng(0).normal(size=(5000, 2))
    turned = codes @ [[1.0, -1.0], [1.0, 1.0]]
    # Spearman's r of Gaussians with correlation 1 / sqrt(2).
    expected = 6 / np.pi * np.arcsin(0.5**0.5 / 2) / 2
    np.testing.assert_allclose(udr([codes, turned]), expected, atol=0.02)


def test_the_median_forgives_one_stranger(grid):
    codes = grid(5, 6, 7).astype(float)
    stranger = codes @ np.random.default_rng(0).normal(size=(3, 3))
    scores = udr([codes, -codes, codes * 2, stranger])
    np.testing.assert_allclose(scores[:3], 1.0)
    assert scores[3] < 0.7


def test_dead_codes_do_not_count(grid):
    codes = grid(5, 6).astype(float)
    dead = np.concatenate([codes, np.full((30, 3), 0.3)], axis=1)
    np.testing.assert_allclose(udr([codes, dead]), 1.0)
    # Three of the seven codes of the pair have nothing to match.
    scores = udr([codes, dead], active_variance=None)
    np.testing.assert_allclose(scores, 4 / 7)
    assert np.all(udr([codes, np.ones((30, 2))]) == 0.0)


def test_duplicated_codes_score_half_for_their_factors(grid):
    # Rows of [[1, 1]] give 1 / 2, its two columns 1 each.
    codes = grid(5, 6)[:, :1].astype(float)
    scores = udr([codes, np.tile(codes, 2)])
    np.testing.assert_allclose(scores, (0.5 + 1 + 1) / 3)


def test_bad_input(grid):
    with pytest.raises(ValueError, match="at least 2 models.* 1"):
        udr([grid(2, 3)])
    with pytest.raises(ValueError, match=r"codes\[0\] 6, codes\[1\] 8"):
        udr([grid(2, 3), grid(2, 4)])
