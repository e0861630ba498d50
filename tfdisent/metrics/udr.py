"""Unsupervised disentanglement ranking (UDR)."""

import numpy as np

from tfdisent.metrics import validate


def udr(codes, *, active_variance=1e-2):
    """UDR: how well a model's codes match those of its siblings, one by one.

    Models that disentangle tend to agree up to order, sign and scale. For two
    models, with R the absolute Spearman correlations of their active codes,
    every row and column gives `max(R)^2 / sum(R)`; the score of the pair is
    the mean over all active codes of both, that of a model the median over its
    pairs. No labels are needed.

    Args:
        codes: A sequence of floats `[N, D_m]`, one array for each of at least
            two models (seeds of one setting): the same N inputs in the same
            order.
        active_variance: A code counts if its variance over the rows is above
            this, the stand-in for the paper's KL above 0.01; `None` counts
            all codes.

    Returns:
        Float64 `[models]`, each in [0, 1]; higher is better, 0 for a model
        without active codes.

    Raises:
        ValueError: If there is one model only, or an array has a wrong shape,
            NaN or one row.

    Reference: Duan et al., Unsupervised Model Selection for Variational
    Disentangled Representation Learning, ICLR 2020, section 4 (with Spearman
    correlation).
    """
    if len(codes) < 2:
        raise ValueError(
            f"codes must hold at least 2 models. Received: {len(codes)}"
        )
    named = {
        f"codes[{m}]": validate.codes(f"codes[{m}]", values)
        for m, values in enumerate(codes)
    }
    validate.same_length(**named)
    ranks = [_standard_ranks(v, active_variance) for v in named.values()]
    pairs = np.array([[_agreement(a, b) for b in ranks] for a in ranks])
    others = [np.delete(row, model) for model, row in enumerate(pairs)]
    return np.median(others, axis=1)


def _standard_ranks(codes, active_variance):
    from scipy.stats import rankdata

    if active_variance is not None:
        codes = codes[:, np.var(codes, axis=0) > active_variance]
    ranks = rankdata(codes, axis=0)
    ranks -= ranks.mean(axis=0)
    length = np.linalg.norm(ranks, axis=0)
    # A constant code has one rank, and correlates with nothing.
    return ranks / np.where(length > 0, length, 1.0)


def _agreement(a, b):
    correlation = np.abs(a.T @ b)
    if not correlation.size:
        return 0.0
    scores = [
        np.max(correlation, axis=axis) ** 2
        / np.maximum(np.sum(correlation, axis=axis), np.finfo(float).tiny)
        for axis in (0, 1)
    ]
    return float(np.mean(np.concatenate(scores)))
