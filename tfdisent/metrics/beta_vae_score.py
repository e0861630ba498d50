"""Beta-VAE score: can a linear classifier tell which factor was shared?"""

import numpy as np

from tfdisent.metrics import factor_grid
from tfdisent.metrics import validate

# Batches of pairs whose codes are in memory at once.
_BATCHES_AT_ONCE = 1000


def beta_vae_score(
    code_table,
    factor_sizes,
    *,
    batch_size=64,
    train_points=10000,
    eval_points=5000,
    seed=0,
):
    """Beta-VAE score: accuracy of naming the factor that pairs share.

    A point: draw a factor, draw `batch_size` pairs that agree in it, each
    pair in a value of its own, and average `abs(z1 - z2)` over the pairs.
    A logistic regression names the factor; the score is its accuracy on
    fresh points.

    Args:
        code_table: Floats `[prod(factor_sizes), D]`, the code of every point
            of the grid, row-major (the last factor fastest).
        factor_sizes: Number of values of each factor, K >= 2 ints, each >= 2.
        batch_size: Pairs behind one point.
        train_points: Points the classifier learns from.
        eval_points: Points that are scored.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        A float in [0, 1]; chance is about 1 / K.

    Raises:
        ValueError: If the table is not the whole grid, holds NaN, there is
            one factor only, or a number is out of range.

    Reference: Higgins et al., beta-VAE, ICLR 2017, section 3; counts as in
    Locatello et al., ICML 2019.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    table, sizes = validate.code_table(code_table, factor_sizes)
    if len(sizes) < 2:
        raise ValueError(
            "factor_sizes must name at least 2 factors for the beta-VAE "
            f"score. Received: {sizes.tolist()}"
        )
    batch_size = validate.count("batch_size", batch_size)
    # Fewer points may all come from one factor: nothing to classify.
    train_points = validate.count("train_points", train_points, at_least=20)
    eval_points = validate.count("eval_points", eval_points)
    rng = np.random.default_rng(seed)

    train = _draw(table, sizes, batch_size, train_points, rng)
    held_out = _draw(table, sizes, batch_size, eval_points, rng)
    classifier = LogisticRegression(max_iter=1000)
    # Products this small only get slower on several threads.
    with threadpool_limits(1):
        classifier.fit(*train)
    return float(classifier.score(*held_out))


def _draw(table, sizes, batch_size, count, rng):
    differences = np.empty([count, table.shape[1]])
    shared = rng.integers(len(sizes), size=count)
    for start in range(0, count, _BATCHES_AT_ONCE):
        stop = min(start + _BATCHES_AT_ONCE, count)
        factor = shared[start:stop, None]
        first, second = rng.integers(
            len(table), size=[2, stop - start, batch_size]
        )
        value = factor_grid.value_of(first, factor, sizes)
        second = factor_grid.with_value(second, factor, value, sizes)
        distance = np.abs(table[first] - table[second])
        differences[start:stop] = distance.mean(axis=1, dtype=np.float64)
    return differences, shared
