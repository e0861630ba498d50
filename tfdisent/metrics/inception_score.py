"""Inception score over any classifier."""

from typing import NamedTuple

import numpy as np

from tfdisent.metrics import validate


class InceptionScore(NamedTuple):
    """Mean and standard deviation (`ddof=0`) over the splits."""

    mean: float
    std: float


def inception_score(predictions, *, from_logits=False, splits=10):
    """Exponent of the information that a classifier's label has on images.

    Per split, `exp(mean_n KL(p(y|x_n) || p(y)))`, p(y) being the mean of the
    split. Call it "Inception score" only where the classifier is the ImageNet
    Inception network; otherwise name the classifier.

    Args:
        predictions: Floats `[N, classes]`, a classifier's probabilities (or
            logits) for generated images in random order. 10,000 or more give
            a stable score.
        from_logits: Whether `predictions` are logits.
        splits: Number of splits, at most N.

    Returns:
        `InceptionScore(mean, std)`, each split's score in [1, classes];
        higher is better.

    Raises:
        ValueError: If `predictions` has a wrong shape or NaN, its rows are no
            probabilities where they should be, or there are too few of them.

    Reference: Salimans et al., Improved Techniques for Training GANs, NeurIPS
    2016, section 4.
    """
    predictions = validate.codes("predictions", predictions)
    splits = validate.count("splits", splits)
    if splits > len(predictions):
        raise ValueError(
            f"splits must be at most the {len(predictions)} rows of "
            f"predictions. Received: {splits}"
        )
    if from_logits:
        predictions = np.exp(
            predictions - predictions.max(axis=1, keepdims=True)
        )
        predictions /= predictions.sum(axis=1, keepdims=True)
    elif predictions.min() < 0 or not np.allclose(
        predictions.sum(axis=1), 1, atol=1e-3
    ):
        raise ValueError(
            "predictions must be probabilities, rows that sum to 1; for "
            "logits pass from_logits=True. Received: a minimum of "
            f"{predictions.min()} and a first sum of {predictions[0].sum()}"
        )
    scores = [_score(part) for part in np.array_split(predictions, splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(probabilities):
    # The information is the entropy of the mean minus the mean entropy.
    marginal = probabilities.mean(axis=0, keepdims=True)
    return np.exp(_entropy(marginal)[0] - _entropy(probabilities).mean())


def _entropy(probabilities):
    positive = np.where(probabilities > 0, probabilities, 1.0)
    return -np.sum(probabilities * np.log(positive), axis=1)
