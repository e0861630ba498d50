"""Pure functions: tensors in, scalar (or per-example) losses out."""

from typing import NamedTuple

import tensorflow as tf


def cross_entropy_per_image(images, logits):
    """Bernoulli negative log-likelihood, summed over pixels and channels.

    Args:
      images: float32 `[B, H, W, C]` in [0, 1].
      logits: the same shape.

    Returns:
      float32 `[B]`, nats.
    """
    per_pixel = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=images, logits=tf.cast(logits, tf.float32)
    )
    return tf.reduce_sum(per_pixel, axis=[1, 2, 3])


def squared_error_per_image(images, reconstructions):
    """Squared error summed over pixels and channels, float32 `[B]`."""
    difference = images - tf.cast(reconstructions, tf.float32)
    return tf.reduce_sum(tf.square(difference), axis=[1, 2, 3])


def ali_discriminator_loss(encoder_logits, decoder_logits):
    """mean softplus(-D(x, E(x))) + softplus(D(G(z), z)); ALI, eq. of V(D, G).

    Args:
      encoder_logits: `[B]`, the critic on pairs (x, E(x)).
      decoder_logits: `[B]`, the critic on pairs (G(z), z).
    """
    return tf.reduce_mean(
        tf.nn.softplus(-encoder_logits) + tf.nn.softplus(decoder_logits)
    )


def ali_generator_loss(encoder_logits, decoder_logits):
    """The same pairs with the labels exchanged (ALI, section 2.1)."""
    return ali_discriminator_loss(-encoder_logits, -decoder_logits)


def donsker_varadhan(joint_scores, product_scores):
    """Lower bound on mutual information; seed 002, eq. (2) and (4).

    E_joint[T] - log E_product[exp T], the latter as logsumexp - log B.

    Args:
      joint_scores: `[B]`, the statistic on pairs that belong together.
      product_scores: `[B']`, the statistic on shuffled pairs.

    Returns:
      float32 scalar, nats.
    """
    joint_scores = tf.cast(joint_scores, tf.float32)
    product_scores = tf.cast(product_scores, tf.float32)
    count = tf.cast(tf.size(product_scores), tf.float32)
    return (
        tf.reduce_mean(joint_scores)
        - tf.reduce_logsumexp(product_scores)
        + tf.math.log(count)
    )


class Decomposition(NamedTuple):
    """The parts of E KL(q(z|x) || p(z)), nats (Chen et al. 2018, eq. 2).

    Attributes:
      mutual_information: I(x; z).
      total_correlation: KL(q(z) || prod_k q(z_k)).
      dimension_kl: sum_k KL(q(z_k) || p(z_k)).
    """

    mutual_information: tf.Tensor
    total_correlation: tf.Tensor
    dimension_kl: tf.Tensor


def decompose_kl(log_densities, log_weights, log_posterior, log_prior):
    """Splits the KL by estimates of q(z) and q(z_k) from a minibatch.

    Every q is estimated as sum_j w_ij q(z_i | x_j). Whatever the weights, the
    three parts add up to the mean of log q(z|x) - log p(z).

    Args:
      log_densities: `[B, N, d]`, log q(z_ik | x_j).
      log_weights: `[B, N]`, log w_ij.
      log_posterior: `[B]`, log q(z_i | x_i).
      log_prior: `[B]`, log p(z_i).

    Returns:
      A `Decomposition` of float32 scalars, means over B.
    """
    joint = tf.reduce_logsumexp(
        log_weights + tf.reduce_sum(log_densities, axis=-1), axis=1
    )
    marginals = tf.reduce_logsumexp(
        log_weights[..., None] + log_densities, axis=1
    )
    product = tf.reduce_sum(marginals, axis=-1)
    return Decomposition(
        tf.reduce_mean(log_posterior - joint),
        tf.reduce_mean(joint - product),
        tf.reduce_mean(product - log_prior),
    )


def minibatch_weights(batch, data_size):
    """Minibatch-weighted sampling (Chen et al. 2018, eq. 5), `[B, B]` logs.

    Args:
      batch: B, an int scalar.
      data_size: N, images in the data set.
    """
    batch = tf.cast(batch, tf.float32)
    weight = -tf.math.log(batch) - tf.math.log(tf.cast(data_size, tf.float32))
    return tf.fill(tf.cast([batch, batch], tf.int32), weight)


def stratified_weights(batch, data_size):
    """Minibatch stratified sampling (Chen et al. 2018, eq. S6), `[B, B]` logs.

    The estimate of q(z_i) is unbiased when the other M = B - 1 images of the
    batch are drawn from the other N - 1 of the data: 1/N for the image's own
    posterior, (N - M) / (N M) for one other, 1/M for the rest.

    Args:
      batch: B, an int scalar.
      data_size: N, at least B.
    """
    size = tf.cast(data_size, tf.float32)
    others = tf.maximum(tf.cast(batch, tf.float32) - 1, 1.0)
    own = tf.eye(batch, dtype=tf.bool)
    weights = tf.where(
        tf.roll(own, shift=1, axis=1),
        (size - others) / (size * others),
        1 / others,
    )
    return tf.math.log(tf.where(own, 1 / size, weights))


def label_cross_entropy(label, logits):
    """Cross-entropy of independent sigmoids, summed over the classes.

    Seed 003, eq. (5), with the sign that its text asks for: at least 0, and
    n ln 2 where all n logits are 0.

    Args:
      label: `[B, n]`, one-hot.
      logits: `[B, n]`.

    Returns:
      float32 `[B]`, nats.
    """
    by_class = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(label, tf.float32), logits=tf.cast(logits, tf.float32)
    )
    return tf.reduce_sum(by_class, axis=-1)


def capacity_gap(kl, capacity, step, ramp_steps):
    """|mean KL - C|, C rising linearly (Burgess et al., 2018; seed 003, (4)).

    Args:
      kl: `[B]`, of the whole global batch.
      capacity: C in the end, nats; at 0 the gap is the KL itself.
      step: of training, any number type.
      ramp_steps: steps until C is reached.

    Returns:
      float32 scalar, nats.
    """
    done = tf.cast(step, tf.float32) / max(1, ramp_steps)
    return tf.abs(tf.reduce_mean(kl) - capacity * tf.minimum(1.0, done))
