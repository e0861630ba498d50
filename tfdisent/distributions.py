"""Tensors to TFP distributions, and the KL terms between them.

The only module that imports TensorFlow Probability.
"""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def diagonal_normal(mean, log_scale):
    """A Gaussian with independent entries.

    Args:
      mean: `[B, d]`.
      log_scale: `[B, d]`, log of the standard deviation.

    Returns:
      A distribution of batch shape `[B]`, event shape `[d]`, in float32.
    """
    mean = tf.cast(mean, tf.float32)
    scale = tf.exp(tf.cast(log_scale, tf.float32))
    return tfd.MultivariateNormalDiag(loc=mean, scale_diag=scale)


def standard_normal(size):
    """N(0, I) of this many entries; batch shape `[]`, event shape `[d]`."""
    return tfd.MultivariateNormalDiag(loc=tf.zeros([size]))


def kl_to_standard_normal(posterior):
    """KL(posterior || N(0, I)) of every batch row, by entry.

    Args:
      posterior: as `diagonal_normal` gives it.

    Returns:
      float32 `[B, d]`, nats; sums over entries to the whole KL.
    """
    entries = tfd.Normal(loc=posterior.mean(), scale=posterior.stddev())
    return tfd.kl_divergence(entries, tfd.Normal(loc=0.0, scale=1.0))


class _Bernoulli(tfd.Bernoulli):
    """A Bernoulli whose log-probability takes one softplus, not two.

    There is one a pixel, and it is a good part of a small VAE's step.
    """

    def _log_prob(self, event):
        logits = self.logits_parameter()
        return event * logits - tf.math.softplus(logits)


def bernoulli(logits):
    """Independent pixels in {0, 1} or [0, 1]; event shape `[H, W, C]`."""
    return tfd.Independent(
        # As integers, which is TFP's default, pixels of an array would be
        # truncated to 0 on the way in.
        _Bernoulli(logits=tf.cast(logits, tf.float32), dtype=tf.float32),
        reinterpreted_batch_ndims=3,
    )


def gaussian(mean, scale=1.0):
    """Independent Gaussian pixels; event shape `[H, W, C]`."""
    return tfd.Independent(
        tfd.Normal(loc=tf.cast(mean, tf.float32), scale=scale),
        reinterpreted_batch_ndims=3,
    )


def laplace(mean, scale=1.0):
    """Independent Laplace pixels; event shape `[H, W, C]`."""
    return tfd.Independent(
        tfd.Laplace(loc=tf.cast(mean, tf.float32), scale=scale),
        reinterpreted_batch_ndims=3,
    )


# Of pixels, by name: log-odds, or the log-odds of their means, to a
# distribution.
LIKELIHOODS = {
    "bernoulli": bernoulli,
    "gaussian": lambda logits: gaussian(tf.sigmoid(logits)),
    "laplace": lambda logits: laplace(tf.sigmoid(logits), scale=1 / 8),
}


def log_densities(codes, means, stddevs):
    """log q(z_i | x_j) of every entry of every code under every posterior.

    Args:
      codes: `[B, d]`, z_i.
      means: `[N, d]`, of the posteriors of x_j.
      stddevs: `[N, d]`.

    Returns:
      float32 `[B, N, d]`.
    """
    return tfd.Normal(loc=means, scale=stddevs).log_prob(codes[:, None])
