import time

import numpy as np
import pytest

from tfdisent.metrics.linear_probe import linear_probe


def test_separable_classes_score_one():
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 7, 9], 30)
    codes = np.eye(10)[labels] * 5 + rng.normal(size=(90, 10)) * 0.1
    codes = np.concatenate([codes * 1e4, np.ones((90, 1))], axis=1)
    assert linear_probe(codes, labels, codes, labels) == 1.0


def test_noise_scores_by_chance():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 4000, 4))
    labels = np.arange(4000) % 4
    score = linear_probe(train, labels, test, labels)
    np.testing.assert_allclose(score, 0.25, atol=0.03)


def test_gaussian_classes_reach_the_best_possible():
    # Two unit Gaussians 2 apart: the best line is right Phi(1) of the time.
    rng = np.random.default_rng(0)
    labels = np.arange(20000) % 2
    train, test = rng.normal(size=(2, 20000, 2)) + labels[:, None] * [2, 0]
    score = linear_probe(train, labels, test, labels)
    np.testing.assert_allclose(score, 0.841, atol=0.01)


def test_classes_that_were_not_trained_are_wrong():
    codes = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    labels = np.array([0, 1, 0, 1])
    assert linear_probe(codes, labels, codes, np.array([0, 1, 2, 2])) == 0.5


def test_the_seed_moves_rounding_only():
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(300, 8)), rng.integers(5, size=300)
    scores = [
        linear_probe(codes, labels, codes, labels, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert scores[0] == scores[1]
    np.testing.assert_allclose(scores[0], scores[2], atol=0.01)


def test_many_classes_are_quick():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(300), 20)
    codes = rng.normal(size=(300, 256))[labels] + rng.normal(size=(6000, 256))
    start = time.perf_counter()
    assert linear_probe(codes, labels, codes, labels) == 1.0
    assert time.perf_counter() - start < 10


def test_bad_input():
    codes, labels = np.eye(4), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="labels_train must hold at least 2"):
        linear_probe(codes, labels * 0, codes, labels)
    with pytest.raises(ValueError, match="codes_test 4, labels_test 3"):
        linear_probe(codes, labels, codes, labels[:3])
    with pytest.raises(ValueError, match="codes_train 4, codes_test 3"):
        linear_probe(codes, labels, codes[:, :3], labels)
