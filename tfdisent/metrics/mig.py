"""Mutual information gap: is a factor held by one code alone?"""

import numpy as np

from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.information_matrix import information_matrix
from tfdisent.metrics.information_matrix import largest_gap


def mig(factors, codes, *, bins=20):
    """Mutual information gap (MIG), with codes in bins of equal width.

    For every factor: how much more the best code knows about it than the
    second best, as a share of the factor's entropy. A factor split over two
    codes lowers it; two factors in one code do not (see `mig_sup`). A single
    code has no rival: its whole information counts.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        codes: Floats `[N, D]`, the representation (posterior means). The
            field uses N = 10,000.
        bins: Bins per code, an int, at least 2.

    Returns:
        A float in [0, 1], the mean over factors; 1 is best.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or a fractional factor.

    Reference: Chen et al., Isolating Sources of Disentanglement in VAEs,
    NeurIPS 2018, section 4; binned as in Locatello et al., ICML 2019.
    """
    information = information_matrix(factors, codes, bins=bins)
    return mig_from_shares(information / factor_entropies(factors))


def mig_from_shares(shares):
    """`mig` of a matrix `[D, K]` of I(z_j; v_k) / H(v_k), made before."""
    return float(np.mean(largest_gap(shares, axis=0)))
