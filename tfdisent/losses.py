"""Pure functions: tensors in, scalar (or per-example) losses out."""

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
