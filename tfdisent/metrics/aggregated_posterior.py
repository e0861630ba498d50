"""Estimates from the aggregated posterior of diagonal Gaussian codes.

The aggregated posterior is the mixture q(z) = 1/N sum_n q(z|x_n) over the
rows of `means` and `stddevs`. Nothing is binned: draws from it are scored
under it. The rows should be the whole data set; from a sample of it, the
estimates are those of the sample, and I(x; z) cannot exceed log N.
"""

import numpy as np

from tfdisent.metrics import validate

# Draws and mixture components of one block of log densities: 8 MB.
_DRAWS_AT_ONCE = 256
_COMPONENTS_AT_ONCE = 4096
# Nats from the prior below which a code is dead: it says nothing of the image
# (Duan et al., ICLR 2020).
DEAD = 0.01


def kl_by_code(means, stddevs):
    """Mean KL of the posteriors of every code from N(0, 1), nats.

    Args:
        means, stddevs: `[N, D]`.

    Returns:
        Float64 `[D]`.
    """
    means, stddevs = np.float64(means), np.float64(stddevs)
    nats = (means**2 + stddevs**2 - 1) / 2 - np.log(stddevs)
    return nats.mean(axis=0)


def draw(means, stddevs, samples, seed):
    """Draws from the aggregated posterior, one after another row.

    Args:
        means: Float64 `[N, D]`.
        stddevs: Float64 `[N, D]`.
        samples: S, the number of draws. Up to N no row is used twice; beyond,
            all rows are used equally often, to within one.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        The draws' rows, int64 `[S]`, and the draws, float64 `[S, D]`.
    """
    rng = np.random.default_rng(seed)
    rows = np.resize(rng.permutation(len(means)), samples)
    noise = rng.standard_normal([samples, means.shape[1]])
    return rows, means[rows] + stddevs[rows] * noise


def log_conditional(draws, means, stddevs):
    """log q(z|x) of every draw under its own row: `[S, D]` each -> `[S]`."""
    standard = (draws - means) / stddevs
    logs = standard**2 / 2 + np.log(stddevs) + np.log(2 * np.pi) / 2
    return -np.sum(logs, axis=1)


def log_aggregate(draws, means, stddevs):
    """log q(z) of every draw, the codes taken jointly.

    Args:
        draws: Float64 `[S, D]`.
        means: Float64 `[N, D]`, of the mixture's components.
        stddevs: Float64 `[N, D]`.

    Returns:
        Float64 `[S]`, nats. Time grows with S N D, memory with S + N.
    """
    # The exponent is a quadratic in z, so a block of them is one product of
    # matrices. Its rounding error is about 1e-16 (range / stddev)^2 nats:
    # centred codes keep it small.
    centre = means.mean(axis=0)
    draws, means = draws - centre, means - centre
    precision = stddevs**-2.0
    terms = np.column_stack([draws**2, draws, np.ones(len(draws))])
    constant = np.sum(
        means**2 * precision / 2 + np.log(stddevs) + np.log(2 * np.pi) / 2,
        axis=1,
    )
    weights = np.column_stack([-precision / 2, means * precision, -constant])
    logs = np.full(len(draws), -np.inf)
    for s in range(0, len(draws), _DRAWS_AT_ONCE):
        block = slice(s, s + _DRAWS_AT_ONCE)
        for n in range(0, len(means), _COMPONENTS_AT_ONCE):
            part = terms[block] @ weights[n : n + _COMPONENTS_AT_ONCE].T
            logs[block] = np.logaddexp(logs[block], _log_sum_exp(part))
    return logs - np.log(len(means))


def aggregate_information_matrix(
    factors, means, stddevs, *, samples=10000, seed=0
):
    """Information of every code about every factor, without bins.

    `I(z_j; v_k) = E log q(z_j | v_k) - E log q(z_j)`, where q(z_j | v_k) is
    the aggregated posterior of the rows of that value. Both expectations are
    over the same draws, which is an average over the values weighted by how
    often they occur: on a complete grid, the plain mean.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        means: Floats `[N, D]`, of the posterior q(z|x), a diagonal Gaussian.
        stddevs: Positive floats `[N, D]`.
        samples: Draws, an int. Time grows with samples, N and D: on one core
            about 4 s for every 10^9 of their product.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        Float64 `[D, K]`, nats, not negative.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or fractional factor, or a standard deviation is not positive.

    Reference: Chen et al., Isolating Sources of Disentanglement in VAEs,
    NeurIPS 2018, section 4.
    """
    factors = validate.factors("factors", factors)
    means, stddevs = validate.posterior(means, stddevs)
    validate.same_length(factors=factors, means=means)
    samples = validate.count("samples", samples)
    rows, draws = draw(means, stddevs, samples, seed)

    information = np.empty([means.shape[1], factors.shape[1]])
    for j in range(means.shape[1]):
        code = draws[:, [j]], means[:, [j]], stddevs[:, [j]]
        marginal = log_aggregate(*code)
        for k, values in enumerate(factors.T):
            conditional = _log_conditional_aggregate(*code, values, rows)
            information[j, k] = np.mean(conditional - marginal)
    return np.maximum(information, 0.0)


def _log_conditional_aggregate(draws, means, stddevs, values, rows):
    # log q(z | v) of every draw, v the value of the row it came from.
    logs = np.empty(len(draws))
    for value in np.unique(values):
        drawn = values[rows] == value
        members = values == value
        logs[drawn] = log_aggregate(
            draws[drawn], means[members], stddevs[members]
        )
    return logs


def _log_sum_exp(block):
    # Over the columns, in place: a block is the largest array there is.
    peak = block.max(axis=1, keepdims=True)
    block -= peak
    np.exp(block, out=block)
    return peak[:, 0] + np.log(block.sum(axis=1))
