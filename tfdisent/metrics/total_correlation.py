"""Total correlation of the codes, as if they were Gaussian."""

import numpy as np

from tfdisent.metrics import validate


def total_correlation(codes):
    """Total correlation of the Gaussian with the codes' covariance.

    `0.5 (sum log diag(C) - log det C)`: 0 for uncorrelated codes. A constant
    code depends on nothing and is left out; codes of which one is a linear
    function of others have no bound.

    Args:
        codes: Floats `[N, D]`, the representation (posterior means).

    Returns:
        A float in [0, inf], nats; 0 is best.

    Raises:
        ValueError: If `codes` has a wrong shape, NaN or one row.

    Reference: Locatello et al., Challenging Common Assumptions in the
    Unsupervised Learning of Disentangled Representations, ICML 2019.
    """
    codes = validate.codes("codes", codes)
    codes = codes[:, np.ptp(codes, axis=0) > 0]
    if codes.shape[1] < 2:
        return 0.0
    # The correlation matrix holds the same ratio, whatever the codes' units.
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(codes, rowvar=False))
    rounding = len(eigenvalues) * np.finfo(np.float64).eps
    if eigenvalues[0] <= rounding * eigenvalues[-1]:
        return float("inf")
    return float(max(-0.5 * np.sum(np.log(eigenvalues)), 0.0))
