"""Explicitness: how well do the codes predict the factors linearly?"""

import numpy as np

from tfdisent.metrics import validate


def explicitness(factors_train, codes_train, factors_test, codes_test):
    """Explicitness: test ROC AUC of logistic regressions on all codes.

    Per factor, the area under the curve of each value against the rest,
    averaged over the values that occur in both splits. Codes are standardised
    by the training set.

    Args:
        factors_train: Integers `[N, K]`. No column is constant.
        codes_train: Floats `[N, D]`.
        factors_test: Integers `[M, K]`. No column is constant.
        codes_test: Floats `[M, D]`.

    Returns:
        A float in [0, 1], the mean over factors; chance is 0.5.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or a fractional factor, or no test value of a factor was trained.

    Reference: Ridgeway and Mozer, Learning Deep Disentangled Embeddings with
    the F-Statistic Loss, NeurIPS 2018, section 3.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    factors_train, codes_train, factors_test, codes_test = (
        validate.train_and_test(
            factors_train, codes_train, factors_test, codes_test
        )
    )
    # One value alone has no rest to be told from.
    validate.factors("factors_test", factors_test)
    scaler = StandardScaler().fit(codes_train)
    codes_train = scaler.transform(codes_train)
    codes_test = scaler.transform(codes_test)
    scores = []
    for k in range(factors_train.shape[1]):
        classifier = LogisticRegression(max_iter=1000)
        # Products this small only get slower on several threads.
        with threadpool_limits(1):
            classifier.fit(codes_train, factors_train[:, k])
        scores.append(_macro_auc(classifier, codes_test, factors_test, k))
    return float(np.mean(scores))


def _macro_auc(classifier, codes, factors, k):
    from sklearn.metrics import roc_auc_score

    truth = factors[:, k]
    probabilities = classifier.predict_proba(codes)
    areas = [
        roc_auc_score(truth == value, column)
        for value, column in zip(
            classifier.classes_, probabilities.T, strict=True
        )
        if np.any(truth == value)
    ]
    if not areas:
        raise ValueError(
            f"factors_test must share values with factors_train. Received: "
            f"column {k} with none of the trained values"
        )
    return np.mean(areas)
