"""Separated attribute predictability (SAP)."""

import numpy as np

from tfdisent.metrics import validate
from tfdisent.metrics.information_matrix import largest_gap


def sap(factors_train, codes_train, factors_test, codes_test):
    """SAP: how much better the best code predicts a factor than the second.

    Every pair of a code and a factor gets a linear support vector classifier
    of one input (`C=0.01`, classes balanced) and its test accuracy.

    Args:
        factors_train: Integers `[N, K]`. No column is constant.
        codes_train: Floats `[N, D]`, D >= 2.
        factors_test: Integers `[M, K]`.
        codes_test: Floats `[M, D]`.

    Returns:
        A float in [0, 1], the mean over factors of best minus second best
        accuracy. Rarely near 1: the second best predicts by chance at least.

    Raises:
        ValueError: If there is one code only, or an argument has a wrong
            shape, NaN, one row, a constant or a fractional factor.

    Reference: Kumar et al., Variational Inference of Disentangled Latent
    Concepts from Unlabeled Observations, ICLR 2018, section 3; classifiers as
    in Locatello et al., ICML 2019.
    """
    from sklearn.svm import LinearSVC

    factors_train, codes_train, factors_test, codes_test = (
        validate.train_and_test(
            factors_train, codes_train, factors_test, codes_test
        )
    )
    if codes_train.shape[1] < 2:
        raise ValueError(
            "codes_train must have at least 2 columns for SAP. "
            "Received: 1 column"
        )
    accuracy = np.empty([codes_train.shape[1], factors_train.shape[1]])
    for d, k in np.ndindex(accuracy.shape):
        train, test = codes_train[:, [d]], codes_test[:, [d]]
        # The primal problem: no random numbers, and fast for one input.
        classifier = LinearSVC(C=0.01, class_weight="balanced", dual=False)
        classifier.fit(train, factors_train[:, k])
        accuracy[d, k] = classifier.score(test, factors_test[:, k])
    return float(np.mean(largest_gap(accuracy, axis=0)))
