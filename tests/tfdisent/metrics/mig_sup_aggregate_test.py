import numpy as np

from tfdisent.metrics.mig_sup_aggregate import mig_sup_aggregate


def test_identity_and_duplicated_codes_score_one(grid):
    factors = grid(3, 4)
    noise = np.full((12, 2), 0.05)
    score = mig_sup_aggregate(factors, factors, noise)
    np.testing.assert_allclose(score, 1.0, atol=0.01)
    codes = np.tile(factors[:, ::-1] * [-7.0, 30.0], 2)
    score = mig_sup_aggregate(factors, codes, np.tile(noise, 2))
    np.testing.assert_allclose(score, 1.0, atol=0.01)


def test_constant_code_scores_zero(grid):
    means, stddevs = np.zeros((12, 2)), np.ones((12, 2))
    assert mig_sup_aggregate(grid(3, 4), means, stddevs) == 0.0


def test_one_code_for_two_factors_scores_zero(grid):
    factors = grid(2, 3)
    means, stddevs = factors @ [[3.0], [1.0]], np.full((6, 1), 0.05)
    score = mig_sup_aggregate(factors, means, stddevs)
    np.testing.assert_allclose(score, 0.0, atol=0.01)


def test_only_active_codes_count(grid):
    # The quiet code is noise of wide posteriors: it knows nothing.
    factors = grid(2, 3)
    means = np.concatenate([factors, np.full((6, 1), 0.1)], axis=1)
    stddevs = np.tile([0.05, 0.05, 1.0], (6, 1))
    active = mig_sup_aggregate(factors, means, stddevs)
    np.testing.assert_allclose(active, 1.0, atol=0.01)
    every = mig_sup_aggregate(factors, means, stddevs, active_variance=None)
    np.testing.assert_allclose(every, 2 / 3, atol=0.01)
