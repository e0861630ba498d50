"""The information every code holds about every factor, from histograms."""

import numpy as np

from tfdisent.metrics import validate


def information_matrix(factors, codes, *, bins=20):
    """Mutual information of every code with every factor, codes binned.

    A code is cut into `bins` bins of equal width between its minimum and its
    maximum; factors are taken as they are. MIG, MIG-sup and modularity are
    read off this matrix.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        codes: Floats `[N, D]`, the representation (posterior means).
        bins: Bins per code, an int, at least 2.

    Returns:
        Float64 `[D, K]` in nats; column k is at most the entropy of factor k.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or a fractional factor.

    Reference: Locatello et al., Challenging Common Assumptions in the
    Unsupervised Learning of Disentangled Representations, ICML 2019.
    """
    factors, codes = validate.factors_and_codes(factors, codes)
    binned = discretize(codes, validate.count("bins", bins, at_least=2))
    dense = _dense(factors)
    information = [
        [_mutual_information(code, factor) for factor in dense.T]
        for code in binned.T
    ]
    return np.array(information)


def factor_entropies(factors):
    """Entropy of every factor, nats: integers `[N, K]` -> float64 `[K]`."""
    factors = validate.factors("factors", factors)
    return np.array([_entropy(np.bincount(v)) for v in _dense(factors).T])


def discretize(values, bins):
    """Bin numbers 1 .. `bins`, column by column: `[N, D]` -> int64 `[N, D]`.

    The bins have equal width between a column's minimum and maximum; a
    constant column falls into one bin.
    """
    edges = np.linspace(values.min(axis=0), values.max(axis=0), bins + 1)
    columns = zip(values.T, edges[:-1].T, strict=True)
    return np.stack([np.digitize(v, e) for v, e in columns], axis=1)


def largest_gap(matrix, axis):
    """Largest minus second largest along `axis`; a missing second is 0."""
    if matrix.shape[axis] == 1:
        return np.max(matrix, axis=axis)
    ordered = np.sort(matrix, axis=axis)
    return np.take(ordered, -1, axis=axis) - np.take(ordered, -2, axis=axis)


def _dense(factors):
    # Values become 0 .. n-1, so a factor counted in years costs no memory.
    columns = [np.unique(v, return_inverse=True)[1] for v in factors.T]
    return np.stack(columns, axis=1)


def _entropy(counts):
    shares = counts[counts > 0] / counts.sum()
    return -np.sum(shares * np.log(shares))


def _mutual_information(a, b):
    width = b.max() + 1
    joint = np.bincount(a * width + b, minlength=(a.max() + 1) * width)
    joint = joint.reshape(-1, width)
    information = (
        _entropy(joint.sum(axis=1))
        + _entropy(joint.sum(axis=0))
        - _entropy(joint)
    )
    return max(information, 0.0)
