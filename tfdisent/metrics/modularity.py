"""Modularity: does a code depend on one factor at most?"""

import numpy as np

from tfdisent.metrics.information_matrix import information_matrix


def modularity(factors, codes, *, bins=20):
    """Modularity: how far each code is from knowing a single factor.

    Per code, with its information I about each of the K factors:
    `1 - (sum I^2 - max I^2) / (max I^2 (K - 1))`; a code without any
    information counts 0.

    Args:
        factors: Integers `[N, K]`, K >= 2. No column is constant.
        codes: Floats `[N, D]`, the representation (posterior means).
        bins: Bins per code, an int, at least 2.

    Returns:
        A float in [0, 1], the mean over all codes; 1 is best.

    Raises:
        ValueError: If there is one factor only, or an argument has a wrong
            shape, NaN, one row, a constant or a fractional factor.

    Reference: Ridgeway and Mozer, Learning Deep Disentangled Embeddings with
    the F-Statistic Loss, NeurIPS 2018, section 3.
    """
    squares = information_matrix(factors, codes, bins=bins) ** 2
    if squares.shape[1] < 2:
        raise ValueError(
            "factors must have at least 2 columns for modularity. "
            "Received: 1 column"
        )
    largest = squares.max(axis=1)
    alive = largest > 0
    others = squares.sum(axis=1) - largest
    spread = others[alive] / (largest[alive] * (squares.shape[1] - 1))
    return float(np.sum(1 - spread) / len(squares))
