"""Few-shot accuracy and differences, with their 95% intervals."""

from typing import NamedTuple

import numpy as np

from tfdisent.metrics import validate

# The standard normal has 95% of its mass within this of 0.
_Z95 = 1.959963984540054


class Interval(NamedTuple):
    """A mean and the ends of its 95% interval."""

    mean: float
    low: float
    high: float


def few_shot_accuracy(correct):
    """Accuracy over episodes, with its 95% interval.

    The interval is the normal approximation, `mean +- 1.96 s / sqrt(N)` with
    s of `ddof=1`; it is symmetric and may reach beyond [0, 1].

    Args:
        correct: Booleans `[N]`, one an episode; or, for episodes of several
            queries, the shares that were right, in [0, 1]. N >= 2.

    Returns:
        `Interval(mean, low, high)`.

    Raises:
        ValueError: If `correct` is empty, holds one episode, is not of rank 1
            or leaves [0, 1].

    Reference: Snell et al., Prototypical Networks for Few-shot Learning,
    NeurIPS 2017, section 3 (intervals over test episodes).
    """
    return _interval(_checked("correct", correct))


def paired_difference(correct_a, correct_b):
    """Accuracy of a minus that of b on the same episodes, with its interval.

    What both find hard cancels, so the interval is narrower than those of the
    two accuracies: a is better than b where it lies above 0.

    Args:
        correct_a: Booleans `[N]`, one an episode (or shares in [0, 1]).
        correct_b: The same episodes, in the same order.

    Returns:
        `Interval(mean, low, high)`, differences in [-1, 1].

    Raises:
        ValueError: As for `few_shot_accuracy`, and if the lengths differ.
    """
    correct_a = _checked("correct_a", correct_a)
    correct_b = _checked("correct_b", correct_b)
    validate.same_length(correct_a=correct_a, correct_b=correct_b)
    return _interval(correct_a - correct_b)


def _checked(name, correct):
    column = np.asarray(correct)
    if column.ndim != 1:
        raise ValueError(
            f"{name} must have shape [N]. Received: {name}.shape={column.shape}"
        )
    column = validate.codes(name, column[:, None])[:, 0]
    if column.min() < 0 or column.max() > 1:
        raise ValueError(
            f"{name} must be in [0, 1]. Received: values from {column.min()} "
            f"to {column.max()}"
        )
    return column


def _interval(values):
    mean = float(np.mean(values))
    margin = float(_Z95 * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - margin, mean + margin)
