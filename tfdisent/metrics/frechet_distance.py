"""Frechet distance between two sets of features."""

import numpy as np

from tfdisent.metrics import validate


def frechet_distance(features_a, features_b):
    """Frechet distance between the Gaussians of two sets of features.

    `|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`, a squared distance as
    the field reports it. Call it "FID" only where the features are those of
    the ImageNet Inception network; otherwise name the network.

    Args:
        features_a: Floats `[N, D]`. 10,000 rows or more: fewer raise it.
        features_b: Floats `[M, D]`.

    Returns:
        A float >= 0, in squared units of the features; 0 for equal moments.

    Raises:
        ValueError: If an argument has a wrong shape, NaN or one row.

    Reference: Heusel et al., GANs Trained by a Two Time-Scale Update Rule,
    NeurIPS 2017, equation 6.
    """
    features_a = validate.codes("features_a", features_a)
    features_b = validate.codes("features_b", features_b)
    validate.same_width(features_a=features_a, features_b=features_b)
    root_a, root_b = _root(features_a), _root(features_b)
    shift = features_a.mean(axis=0) - features_b.mean(axis=0)
    # With C_a = A A' and C_b = B B', the trace of (C_a C_b)^(1/2) is the sum
    # of the singular values of A'B. Unlike the root of the product it needs
    # no complex numbers and stands rank-deficient covariances (dead units,
    # fewer rows than features).
    from scipy.linalg import svdvals

    cross = svdvals(root_a.T @ root_b).sum()
    spread = np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross
    return float(max(shift @ shift + spread, 0.0))


def _root(features):
    # A matrix A with A A' = covariance of the features.
    from scipy.linalg import eigh

    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    variances, directions = eigh(covariance)
    return directions * np.sqrt(np.maximum(variances, 0.0))
