import time

import numpy as np
import pytest

from tfdisent.metrics.factor_vae_score import factor_vae_score


@pytest.mark.parametrize("batch_size", [64, 8])
def test_agrees_with_the_reference(golden, batch_size):
    expected = golden.expected[f"factor_vae_batch{batch_size}"]
    sizes = golden.expected["factor_sizes"]
    score = factor_vae_score(golden.code_table, sizes, batch_size=batch_size)
    np.testing.assert_allclose(score, expected, rtol=0, atol=0.02)


def test_identity_code_scores_one(grid):
    assert factor_vae_score(grid(5, 6, 7), (5, 6, 7), seed=1) == 1.0


def test_constant_code_scores_zero():
    assert factor_vae_score(np.ones((12, 3)), [3, 4]) == 0.0
    assert factor_vae_score(np.ones((12, 3)), [3, 4], prune_std=0) == 0.0


def test_duplicated_permuted_and_scaled_codes_score_one(grid):
    table = grid(5, 6, 7)[:, [2, 0, 1]] * [-3.0, 0.5, 40.0]
    twice = np.concatenate([table, table], axis=1)
    assert factor_vae_score(twice, (5, 6, 7)) == 1.0


def test_one_code_for_two_factors_scores_a_half(grid):
    # One code gets every vote, and stands for one of two factors.
    table = grid(5, 5) @ [[5.0], [1.0]]
    score = factor_vae_score(table, (5, 5))
    np.testing.assert_allclose(score, 0.5, atol=0.03)


def test_quiet_codes_do_not_vote(grid):
    # Quiet codes of pure noise, the stillest now and then, vote by chance.
    rng = np.random.default_rng(0)
    loud = grid(6, 7) + rng.normal(scale=0.5, size=(42, 2))
    table = np.concatenate([loud, rng.normal(scale=0.04, size=(42, 3))], axis=1)
    sizes = (6, 7)
    pruned = factor_vae_score(table, sizes, batch_size=4)
    assert pruned == factor_vae_score(loud, sizes, batch_size=4)
    loose = factor_vae_score(table, sizes, batch_size=4, prune_std=0.01)
    assert loose < pruned - 0.05


def test_the_seed_decides(golden):
    sizes = golden.expected["factor_sizes"]
    table = golden.code_table
    first = factor_vae_score(table, sizes, seed=3)
    assert factor_vae_score(table, sizes, seed=3) == first
    rng = np.random.default_rng(3)
    assert factor_vae_score(table, sizes, seed=rng) == first
    assert factor_vae_score(table, sizes, seed=4) != first


def test_a_large_table_takes_under_two_seconds():
    sizes = (3, 6, 40, 32, 32)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(737280, 10)).astype(np.float32)
    start = time.perf_counter()
    factor_vae_score(table, sizes)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("table", "sizes", "message"),
    [
        (np.zeros((11, 2)), (3, 4), r"prod\(factor_sizes\) = 12. .* 11 rows"),
        (np.zeros(12), (3, 4), r"code_table must have shape .*\(12,\)"),
        (np.full((12, 2), np.nan), (3, 4), "code_table must be finite.* 24"),
        (np.zeros((12, 2)), (12, 1), r"factor_sizes must .*\(12, 1\)"),
        (np.zeros((12, 2)), (2.5, 4), "factor_sizes must hold integers.*2.5"),
    ],
)
def test_bad_input(table, sizes, message):
    with pytest.raises(ValueError, match=message):
        factor_vae_score(table, sizes)


def test_bad_counts():
    with pytest.raises(ValueError, match="batch_size must be at least 2.* 1"):
        factor_vae_score(np.zeros((12, 2)), (3, 4), batch_size=1)
    with pytest.raises(ValueError, match="eval_votes must be an int.*2.5"):
        factor_vae_score(np.zeros((12, 2)), (3, 4), eval_votes=2.5)
