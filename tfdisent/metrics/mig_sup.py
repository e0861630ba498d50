"""MIG-sup: does a code hold one factor alone?"""

import numpy as np

from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.information_matrix import information_matrix
from tfdisent.metrics.information_matrix import largest_gap


def mig_sup(factors, codes, *, bins=20, active_variance=1e-2):
    """MIG-sup, the supplement to MIG, with codes in bins of equal width.

    For every active code: how much more it knows about its best factor than
    about its second best, each as a share of that factor's entropy. Two
    factors in one code lower it; a factor split over two codes does not.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        codes: Floats `[N, D]`, the representation (posterior means).
        bins: Bins per code, an int, at least 2.
        active_variance: A code counts if its variance over the rows is above
            this; `None` counts all codes.

    Returns:
        A float in [0, 1], the mean over the active codes; 1 is best, 0.0 if
        no code is active.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or a fractional factor.

    Reference: Li et al., Progressive Learning and Disentanglement of
    Hierarchical Representations (pro-VLAE), ICLR 2020, equation 12.
    """
    information = information_matrix(factors, codes, bins=bins)
    shares = information / factor_entropies(factors)
    return mig_sup_from_shares(shares, codes, active_variance=active_variance)


def mig_sup_from_shares(shares, codes, *, active_variance=1e-2):
    """`mig_sup` of a matrix `[D, K]` of I(z_j; v_k) / H(v_k), made before."""
    gaps = largest_gap(shares, axis=1)
    if active_variance is not None:
        gaps = gaps[np.var(codes, axis=0) > active_variance]
    return float(np.mean(gaps)) if gaps.size else 0.0
