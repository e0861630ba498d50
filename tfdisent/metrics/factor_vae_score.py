"""FactorVAE score: which code stays still while a factor is held?"""

import numpy as np

from tfdisent.metrics import factor_grid
from tfdisent.metrics import validate

# Votes whose codes are in memory at once: 1,000 x 64 rows is a few MB.
_VOTES_AT_ONCE = 1000


def factor_vae_score(
    code_table,
    factor_sizes,
    *,
    batch_size=64,
    train_votes=10000,
    eval_votes=5000,
    variance_samples=10000,
    prune_std=0.05,
    seed=0,
):
    """FactorVAE score: accuracy of a majority vote on the stillest code.

    A vote: draw a factor, hold it at one value over a batch, and name the
    code whose variance shrank most against its global variance. Every code
    then stands for the factor most of its training votes came from; the score
    is how often that is right on fresh votes. Variances have `ddof=1`.

    Args:
        code_table: Floats `[prod(factor_sizes), D]`, the code of every point
            of the grid, row-major (the last factor fastest).
        factor_sizes: Number of values of each factor, K ints, each >= 2.
        batch_size: Points in a vote, at least 2.
        train_votes: Votes that name the codes.
        eval_votes: Votes that are scored.
        variance_samples: Points for the global variance, at least 2.
        prune_std: Codes of a smaller global standard deviation do not vote.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        A float in [0, 1]; chance is about 1 / K; 0.0 if no code is active.

    Raises:
        ValueError: If the table is not the whole grid, holds NaN, or a number
            is out of range.

    Reference: Kim and Mnih, Disentangling by Factorising, ICML 2018,
    section 4; pruning and counts as in Locatello et al., ICML 2019.
    """
    table, sizes = validate.code_table(code_table, factor_sizes)
    batch_size = validate.count("batch_size", batch_size, at_least=2)
    train_votes = validate.count("train_votes", train_votes)
    eval_votes = validate.count("eval_votes", eval_votes)
    samples = validate.count("variance_samples", variance_samples, at_least=2)
    rng = np.random.default_rng(seed)

    sample = table[rng.integers(len(table), size=samples)]
    variance = np.var(sample, axis=0, ddof=1, dtype=np.float64)
    active = np.sqrt(variance) >= prune_std
    # A code that never moves divides by 0, even where nothing is pruned.
    active &= variance > 0
    if not active.any():
        return 0.0
    if not active.all():
        table, variance = table[:, active], variance[active]

    train = _count_votes(table, sizes, variance, batch_size, train_votes, rng)
    held_out = _count_votes(table, sizes, variance, batch_size, eval_votes, rng)
    named = np.argmax(train, axis=1)
    right = held_out[np.arange(len(named)), named].sum()
    return float(right / eval_votes)


def _count_votes(table, sizes, variance, batch_size, votes, rng):
    # counts[d, k]: how often code d was stillest while factor k was held.
    counts = np.zeros([table.shape[1], len(sizes)], np.int64)
    for start in range(0, votes, _VOTES_AT_ONCE):
        size = min(_VOTES_AT_ONCE, votes - start)
        factor = rng.integers(len(sizes), size=[size, 1])
        points = rng.integers(len(table), size=[size, batch_size])
        held = factor_grid.value_of(points[:, :1], factor, sizes)
        points = factor_grid.with_value(points, factor, held, sizes)
        local = np.var(table[points], axis=1, ddof=1, dtype=np.float64)
        stillest = np.argmin(local / variance, axis=1)
        np.add.at(counts, (stillest, factor[:, 0]), 1)
    return counts
