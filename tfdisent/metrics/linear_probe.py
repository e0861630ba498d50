"""Linear probe: what a linear classifier reads off the codes."""

import numpy as np

from tfdisent.metrics import validate


def linear_probe(codes_train, labels_train, codes_test, labels_test, *, seed=0):
    """Test accuracy of a multinomial logistic regression on the codes.

    Codes are standardised by the training set; the penalty is scikit-learn's
    default, `C=1`. Test rows of a class that was not trained count as wrong.

    Args:
        codes_train: Floats `[N, D]`.
        labels_train: Integers `[N]`, at least two classes.
        codes_test: Floats `[M, D]`, M >= 2.
        labels_test: Integers `[M]`.
        seed: An int or a `numpy.random.Generator`; orders the rows, which
            moves the result by rounding only.

    Returns:
        A float in [0, 1]; chance is the share of the commonest class.

    Raises:
        ValueError: If an argument has a wrong shape, NaN or one row, or there
            is one class only.

    Reference: Alain and Bengio, Understanding Intermediate Layers Using Linear
    Classifier Probes, ICLR workshop 2017.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    codes_train = validate.codes("codes_train", codes_train)
    codes_test = validate.codes("codes_test", codes_test)
    labels_train = validate.labels("labels_train", labels_train)
    labels_test = validate.labels("labels_test", labels_test)
    validate.same_width(codes_train=codes_train, codes_test=codes_test)
    validate.same_length(codes_train=codes_train, labels_train=labels_train)
    validate.same_length(codes_test=codes_test, labels_test=labels_test)
    if np.ptp(labels_train) == 0:
        raise ValueError(
            "labels_train must hold at least 2 classes. Received: "
            f"{labels_train[0]} in all {len(labels_train)} rows"
        )
    scaler = StandardScaler().fit(codes_train)
    order = np.random.default_rng(seed).permutation(len(labels_train))
    probe = LogisticRegression(max_iter=1000, tol=1e-3)
    probe.fit(scaler.transform(codes_train[order]), labels_train[order])
    return float(probe.score(scaler.transform(codes_test), labels_test))
