"""MIG from the aggregated posterior: differential entropies, no bins."""

from tfdisent.metrics.aggregated_posterior import aggregate_information_matrix
from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.mig import mig_from_shares


def mig_aggregate(factors, means, stddevs, *, samples=10000, seed=0):
    """Mutual information gap from the aggregated posterior.

    As `mig`, but the information is that of draws from q(z|x), estimated with
    the differential entropies of q(z_j) and q(z_j | v_k). This is the
    convention of beta-TCVAE and pro-VLAE, whose dSprites scores also leave the
    factor *shape* out: give the columns that should count. Its numbers do not
    compare with those of `mig`.

    Args:
        factors: Integers `[N, K]`, the ground truth. No column is constant.
        means: Floats `[N, D]`, of the posterior q(z|x), a diagonal Gaussian.
        stddevs: Positive floats `[N, D]`.
        samples: Draws, an int.
        seed: An int or a `numpy.random.Generator`.

    Returns:
        A float in [0, 1] up to sampling error, the mean over factors.

    Raises:
        ValueError: If an argument has a wrong shape, NaN, one row, a constant
            or fractional factor, or a standard deviation is not positive.

    Reference: Chen et al., Isolating Sources of Disentanglement in VAEs,
    NeurIPS 2018, section 4.
    """
    information = aggregate_information_matrix(
        factors, means, stddevs, samples=samples, seed=seed
    )
    return mig_from_shares(information / factor_entropies(factors))
