import numpy as np
import pytest

from tfdisent.metrics.beta_vae_score import beta_vae_score


def test_agrees_with_the_reference(golden):
    sizes = golden.expected["factor_sizes"]
    score = beta_vae_score(golden.code_table, sizes)
    expected = golden.expected["beta_vae_score"]
    np.testing.assert_allclose(score, expected, rtol=0, atol=0.02)


def test_identity_code_scores_one(grid):
    assert beta_vae_score(grid(5, 6, 7), (5, 6, 7)) == 1.0


def test_duplicated_permuted_and_scaled_codes_score_one(grid):
    table = grid(5, 6, 7)[:, [2, 0, 1]] * [-3.0, 0.5, 4.0]
    twice = np.concatenate([table, table], axis=1)
    assert beta_vae_score(twice, (5, 6, 7)) == 1.0


def test_constant_code_scores_by_chance():
    score = beta_vae_score(np.ones((60, 2)), (3, 4, 5))
    np.testing.assert_allclose(score, 1 / 3, atol=0.03)


def test_a_code_of_two_factors_told_apart_by_size(grid):
    # Sharing the factor in front leaves small differences, one behind large.
    score = beta_vae_score(grid(5, 5) @ [[5.0], [1.0]], (5, 5))
    assert score > 0.99


def test_the_seed_decides(golden):
    sizes = golden.expected["factor_sizes"]
    scores = [
        beta_vae_score(
            golden.code_table,
            sizes,
            batch_size=4,
            train_points=500,
            eval_points=500,
            seed=seed,
        )
        for seed in (3, 3, np.random.default_rng(3), 4)
    ]
    assert scores[0] == scores[1] == scores[2] != scores[3]


def test_needs_two_factors():
    with pytest.raises(ValueError, match=r"factor_sizes must .* \[12\]"):
        beta_vae_score(np.zeros((12, 2)), [12])
