"""MIG-sup from the aggregated posterior: differential entropies, no bins."""

from tfdisent.metrics.aggregated_posterior import aggregate_information_matrix
from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.mig_sup import mig_sup_from_shares


def mig_sup_aggregate(
    factors, means, stddevs, *, samples=10000, active_variance=1e-2, seed=0
):
    """MIG-sup from the aggregated posterior, the convention of pro-VLAE.

    As `mig_sup`, with the information matrix of `mig_aggregate`.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        means: Floats `[N, D]`, of the posterior q(z|x), a diagonal Gaussian.
        stddevs: Positive floats `[N, D]`.
        samples: Draws, an int.
        active_variance: A code counts if the variance of its means is above
            this; `None` counts all codes.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        A float in [0, 1] up to sampling error, the mean over the active
        codes; 0.0 if no code is active.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or fractional factor, or a standard deviation is not positive.

    Reference: Li et al., Progressive Learning and Disentanglement of
    Hierarchical Representations (pro-VLAE), ICLR 2020, equation 12.
    """
    information = aggregate_information_matrix(
        factors, means, stddevs, samples=samples, seed=seed
    )
    shares = information / factor_entropies(factors)
    return mig_sup_from_shares(shares, means, active_variance=active_variance)
