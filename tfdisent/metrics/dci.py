"""DCI: disentanglement, completeness and informativeness."""

from typing import NamedTuple

import numpy as np

from tfdisent.metrics import validate

# Keeps the entropy of a code or factor without any importance finite.
_EPSILON = 1e-11


class DCI(NamedTuple):
    """Three floats in [0, 1], 1 is best."""

    disentanglement: float
    completeness: float
    informativeness: float


class Importance(NamedTuple):
    """What the trees learned.

    `matrix` is float64 `[D, K]`, the importance of every code for predicting
    every factor, each column summing to 1 (or 0); `accuracy` is float64 `[K]`,
    test accuracy per factor.
    """

    matrix: np.ndarray
    accuracy: np.ndarray


def dci(
    factors_train, codes_train, factors_test, codes_test, *, seed=0, jobs=-1
):
    """DCI of gradient boosted trees that predict each factor from the codes.

    The dearest score: its time grows with rows, codes and the sum of the
    factors' sizes (2,000 rows, 10 codes and dSprites' factors: a minute on
    one core). Threads share the factors; the result does not depend on them.

    Args:
        factors_train: Integers `[N, K]`, K >= 2. No column is constant.
        codes_train: Floats `[N, D]`, D >= 2.
        factors_test: Integers `[M, K]`.
        codes_test: Floats `[M, D]`.
        seed: An int or a `numpy.random.Generator`; the trees break ties.
        jobs: Threads; -1 is one for every core.

    Returns:
        `DCI(disentanglement, completeness, informativeness)`: whether a code
        matters for one factor only, whether a factor is predicted from one
        code only, and the mean test accuracy.

    Raises:
        ValueError: If there is one factor or one code only, or an argument
            has a wrong shape, NaN, one row, a constant or fractional factor.

    Reference: Eastwood and Williams, A Framework for the Quantitative
    Evaluation of Disentangled Representations, ICLR 2018, section 2; trees as
    in Locatello et al., ICML 2019.
    """
    importance = importance_matrix(
        factors_train,
        codes_train,
        factors_test,
        codes_test,
        seed=seed,
        jobs=jobs,
    )
    return dci_from_importance(importance)


def importance_matrix(
    factors_train, codes_train, factors_test, codes_test, *, seed=0, jobs=-1
):
    """Importance of codes for factors; arguments and errors as `dci` has.

    For whoever wants the picture and the score from one training:
    `dci_from_importance(importance_matrix(...))` is `dci(...)`.

    Returns:
        `Importance(matrix, accuracy)`.
    """
    from joblib import Parallel
    from joblib import delayed
    from sklearn.ensemble import GradientBoostingClassifier

    factors_train, codes_train, factors_test, codes_test = (
        validate.train_and_test(
            factors_train, codes_train, factors_test, codes_test
        )
    )
    for name, array in [("factors", factors_train), ("codes", codes_train)]:
        if array.shape[1] < 2:
            raise ValueError(
                f"{name}_train must have at least 2 columns for DCI. "
                "Received: 1 column"
            )

    def learn(factor, random_state):
        trees = GradientBoostingClassifier(random_state=random_state)
        trees.fit(codes_train, factors_train[:, factor])
        right = trees.predict(codes_test) == factors_test[:, factor]
        return np.abs(trees.feature_importances_), np.mean(right)

    num_factors = factors_train.shape[1]
    seeds = np.random.default_rng(seed).integers(2**31, size=num_factors)
    # Factors of many values take longest: they go first.
    order = np.argsort([-len(np.unique(v)) for v in factors_train.T])
    learned = Parallel(n_jobs=jobs, prefer="threads")(
        delayed(learn)(k, int(seeds[k])) for k in order
    )
    matrix = np.empty([codes_train.shape[1], num_factors])
    accuracy = np.empty(num_factors)
    for k, (column, right) in zip(order, learned, strict=True):
        matrix[:, k], accuracy[k] = column, right
    return Importance(matrix, accuracy)


def dci_from_importance(importance):
    """`DCI` of an `Importance` that was learned before (see `dci`)."""
    matrix = importance.matrix
    return DCI(
        disentanglement=_concentration(matrix),
        completeness=_concentration(matrix.T),
        informativeness=float(np.mean(importance.accuracy)),
    )


def _concentration(matrix):
    # 1 - entropy of every row, base its length, weighted by the row's mass.
    mass = matrix.sum(axis=1)
    if not mass.any():
        return 0.0
    shares = matrix + _EPSILON
    shares /= shares.sum(axis=1, keepdims=True)
    entropy = -np.sum(shares * np.log(shares), axis=1) / np.log(shares.shape[1])
    return float(np.sum((1 - entropy) * mass) / mass.sum())
