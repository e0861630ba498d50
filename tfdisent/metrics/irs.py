"""Interventional robustness score (IRS)."""

import numpy as np

from tfdisent.metrics import validate
from tfdisent.metrics.information_matrix import discretize


def irs(factors, codes, *, quantile=0.99):
    """IRS: how still a code keeps while its factor is held.

    For each value of a factor the `quantile` of `abs(z - mean)` within the
    rows of that value, averaged over values and divided by the code's largest
    deviation from its mean; 1 minus that. A code belongs to its best factor;
    codes are weighted by their largest deviation. Constant codes are left
    out. Factors are cut into 20 bins of equal width, as codes are for MIG.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        codes: Floats `[N, D]`, the representation (posterior means).
        quantile: A float in (0, 1]; 1 is the paper's maximum.

    Returns:
        A float in [0, 1]; 1 is best, 0.0 if all codes are constant.

    Raises:
        ValueError: If `quantile` is out of range, or an argument has a wrong
            shape, NaN, one row, a constant or a fractional factor.

    Reference: Suter et al., Robustly Disentangled Causal Mechanisms, ICML
    2019; quantile and bins as in Locatello et al., ICML 2019.
    """
    factors, codes = validate.factors_and_codes(factors, codes)
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1]. Received: {quantile}")
    codes = codes[:, np.ptp(codes, axis=0) > 0]
    if not codes.shape[1]:
        return 0.0
    deviation = np.empty([factors.shape[1], codes.shape[1]])
    for k, values in enumerate(discretize(factors, bins=20).T):
        held = [_deviations(codes[values == v]) for v in np.unique(values)]
        quantiles = [np.quantile(rows, quantile, axis=0) for rows in held]
        deviation[k] = np.mean(quantiles, axis=0)
    largest = _deviations(codes).max(axis=0)
    robustness = 1 - deviation / largest
    return float(np.average(robustness.max(axis=0), weights=largest))


def _deviations(codes):
    return np.abs(codes - codes.mean(axis=0))
