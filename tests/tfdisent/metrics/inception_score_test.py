import numpy as np
import pytest

from tfdisent.metrics.inception_score import inception_score


def test_sure_and_varied_images_reach_the_number_of_classes():
    predictions = np.eye(5)[np.arange(500) % 5]
    np.testing.assert_allclose(inception_score(predictions), (5, 0), atol=1e-9)


def test_images_of_one_kind_score_one():
    predictions = np.tile([0.7, 0.2, 0.1], (100, 1))
    np.testing.assert_allclose(inception_score(predictions), (1, 0), atol=1e-9)


def test_two_predictions_by_hand():
    # exp of the divergence of (.9, .1) from (.5, .5).
    predictions = np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
    relative = 0.9 * np.log(1.8) + 0.1 * np.log(0.2)
    score = inception_score(predictions, splits=5)
    np.testing.assert_allclose(score, (np.exp(relative), 0), atol=1e-9)


def test_logits_are_probabilities_up_to_a_constant():
    logits = np.random.default_rng(0).normal(size=(200, 4))
    weights = np.exp(logits)
    expected = inception_score(weights / weights.sum(axis=1, keepdims=True))
    actual = inception_score(logits + 1000, from_logits=True)
    np.testing.assert_allclose(actual, expected)


def test_deviation_over_splits():
    # The first half scores 2, the second 1.
    predictions = np.eye(2)[[0, 1] * 5 + [0] * 10]
    score = inception_score(predictions, splits=2)
    np.testing.assert_allclose(score, (1.5, 0.5))


def test_bad_input():
    with pytest.raises(ValueError, match="from_logits=True"):
        inception_score(np.ones((20, 3)))
    with pytest.raises(ValueError, match="splits must be at most the 5 rows"):
        inception_score(np.eye(5))
