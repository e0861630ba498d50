"""I(x; z): how many nats about the image a group of codes carries."""

from typing import NamedTuple

import numpy as np

from tfdisent.metrics import aggregated_posterior
from tfdisent.metrics import validate


class Overlap(NamedTuple):
    """Nats: `groups` I(x; z_l) in order, `total` I(x; z), and `overlap`."""

    groups: tuple[float, ...]
    total: float
    overlap: float


def mutual_information(means, stddevs, *, samples=10000, seed=0):
    """I(x; z_l) of one group of codes, taken jointly.

    `E log q(z_l|x) - E log q(z_l)` over draws, q(z_l) being the aggregated
    posterior of all rows. With all codes of a model, this is I(x; z).

    Args:
        means: Floats `[N, d]`, of the posterior q(z_l|x), a diagonal Gaussian.
        stddevs: Positive floats `[N, d]`.
        samples: Draws, an int. Time grows with samples and N.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        A float, nats, at most log N; 0 up to sampling error if the posterior
        does not depend on the image.

    Raises:
        ValueError: If an argument has a wrong shape, NaN or one row, or a
            standard deviation is not positive.

    Reference: Li et al., Progressive Learning and Disentanglement of
    Hierarchical Representations (pro-VLAE), ICLR 2020, section 4; estimator
    of Chen et al., NeurIPS 2018.
    """
    means, stddevs = validate.posterior(means, stddevs)
    every_code = [np.arange(means.shape[1])]
    return _estimate(means, stddevs, every_code, samples, seed)[0]


def mutual_information_per_code(means, stddevs, *, samples=10000, seed=0):
    """I(x; z_j) of every single code, all from the same draws.

    Arguments and errors are those of `mutual_information`.

    Returns:
        Float64 `[d]`, nats, each at most log N.
    """
    means, stddevs = validate.posterior(means, stddevs)
    single_codes = np.arange(means.shape[1])[:, None]
    return np.array(_estimate(means, stddevs, single_codes, samples, seed))


def information_overlap(means, stddevs, group_sizes, *, samples=10000, seed=0):
    """How much the groups of codes tell twice: sum_l I(x; z_l) - I(x; z).

    Args:
        means: Floats `[N, D]`, the groups' codes one after another.
        stddevs: Positive floats `[N, D]`.
        group_sizes: Codes in each group, ints that add up to D.
        samples: Draws, an int, the same for all estimates.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        `Overlap(groups, total, overlap)`, nats. Independent groups have
        overlap 0; it is never negative, up to sampling error.

    Raises:
        ValueError: If `group_sizes` does not add up, an argument has a wrong
            shape, NaN or one row, or a standard deviation is not positive.

    Reference: Li et al., pro-VLAE, ICLR 2020, section 4 and figure 5.
    """
    means, stddevs = validate.posterior(means, stddevs)
    sizes = validate.labels("group_sizes", group_sizes)
    if np.any(sizes < 1) or sizes.sum() != means.shape[1]:
        raise ValueError(
            "group_sizes must be positive and add up to the columns of means, "
            f"{means.shape[1]}. Received: {sizes.tolist()}"
        )
    codes = np.arange(means.shape[1])
    groups = np.split(codes, np.cumsum(sizes)[:-1])
    *parts, total = _estimate(means, stddevs, [*groups, codes], samples, seed)
    return Overlap(tuple(parts), total, sum(parts) - total)


def _estimate(means, stddevs, groups, samples, seed):
    samples = validate.count("samples", samples)
    rows, draws = aggregated_posterior.draw(means, stddevs, samples, seed)
    estimates = []
    for codes in groups:
        z, m, s = draws[:, codes], means[:, codes], stddevs[:, codes]
        conditional = aggregated_posterior.log_conditional(z, m[rows], s[rows])
        marginal = aggregated_posterior.log_aggregate(z, m, s)
        estimates.append(float(np.mean(conditional - marginal)))
    return estimates
