import numpy as np
import pytest

from tfdisent.metrics.few_shot import few_shot_accuracy
from tfdisent.metrics.few_shot import paired_difference


def test_interval_of_a_proportion():
    correct = np.arange(1000) < 800
    interval = few_shot_accuracy(correct)
    margin = 1.959964 * np.sqrt(0.8 * 0.2 / 999)
    np.testing.assert_allclose(
        interval, [0.8, 0.8 - margin, 0.8 + margin], atol=1e-7
    )


def test_all_right_has_no_width():
    assert few_shot_accuracy(np.ones(10, bool)) == (1.0, 1.0, 1.0)


def test_about_95_in_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    intervals = [few_shot_accuracy(rng.random(500) < 0.7) for _ in range(1000)]
    held = np.mean([i.low <= 0.7 <= i.high for i in intervals])
    np.testing.assert_allclose(held, 0.95, atol=0.02)


def test_paired_difference_by_hand():
    a = np.array([1, 1, 1, 0], bool)
    b = np.array([1, 0, 1, 0], bool)
    margin = 1.959964 * 0.5 / 2
    np.testing.assert_allclose(
        paired_difference(a, b), [0.25, 0.25 - margin, 0.25 + margin], atol=1e-6
    )


def test_pairs_are_narrower_than_the_two_accuracies():
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.3
    better = ~hard
    worse = better & (rng.random(2000) > 0.02)
    difference = paired_difference(better, worse)
    assert difference.low > 0
    assert few_shot_accuracy(better).low < few_shot_accuracy(worse).high


@pytest.mark.parametrize(
    ("correct", "message"),
    [
        (np.array([], bool), "correct must have at least 2 rows.* 0"),
        (np.array([True]), "correct must have at least 2 rows.* 1"),
        (np.ones((2, 2)), r"correct must have shape \[N\].*\(2, 2\)"),
        (np.array([0.0, 88.3]), r"correct must be in \[0, 1\].*88.3"),
        (np.array([0.0, np.nan]), "correct must be finite"),
    ],
)
def test_bad_input(correct, message):
    with pytest.raises(ValueError, match=message):
        few_shot_accuracy(correct)


def test_episodes_must_pair():
    with pytest.raises(ValueError, match="correct_a 3, correct_b 4"):
        paired_difference(np.ones(3, bool), np.ones(4, bool))
