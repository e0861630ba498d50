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
    """Lower bound on mutual information; FDEN, eq. (2) and (4).

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

    ClassVAE, eq. (5), with the sign that its text asks for: at least 0, and
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
    """|mean KL - C|, C rising linearly (Burgess et al., 2018; ClassVAE, (4)).

    Args:
      kl: `[B]`, of the whole global batch.
      capacity: C in the end, nats; at 0 the gap is the KL itself.
      step: of training, any number type.
      ramp_steps: steps until C is reached.

    Returns:
      float32 scalar, nats.
    """
    return tf.abs(tf.reduce_mean(kl) - ramp(capacity, step, ramp_steps))


def ramp(value, step, ramp_steps):
    """What rises linearly from 0 at step 0 to `value`, float32 scalar."""
    done = tf.cast(step, tf.float32) / max(1, ramp_steps)
    return value * tf.minimum(1.0, done)


def local_cross_entropy(logits, labels, parents):
    """Cross-entropy among the siblings under a given parent; HDN, eq. 3.

    The softmax runs over the children of each image's own parent; logits of
    all other nodes have no part in it, nor a gradient.

    Args:
      logits: `[B, K]`, a column for every node of a level.
      labels: int `[B]`, the true node; its parent says which siblings count.
      parents: int `[K]`, every node's parent in the level above.

    Returns:
      float32 `[B]`, nats; 0 for a node without siblings.
    """
    logits = tf.where(
        siblings(labels, parents),
        tf.cast(logits, tf.float32),
        # Far below any logit, yet finite: a gradient of 0, never of NaN.
        tf.constant(-1e9, tf.float32),
    )
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def siblings(labels, parents):
    """Which nodes share a parent with each label: bool `[B, K]`."""
    parents = tf.constant(parents, tf.int32)
    return parents[None] == tf.gather(parents, labels)[:, None]


def local_entropy(logits, labels, parents):
    """Entropy of the softmax among the siblings of `labels`, float32 `[B]`.

    Arguments as `local_cross_entropy`.
    """
    among = siblings(labels, parents)
    logits = tf.where(among, tf.cast(logits, tf.float32), -1e9)
    log_share = tf.nn.log_softmax(logits)
    terms = tf.where(among, tf.exp(log_share) * log_share, 0.0)
    return -tf.reduce_sum(terms, axis=-1)


def least_squares(scores, target):
    """mean (target - D)^2 over images and patches; LSGAN, HDN, eq. 4."""
    return tf.reduce_mean(tf.square(target - tf.cast(scores, tf.float32)))


def mean_absolute_error(first, second):
    """mean |a - b| over everything; HDN, eq. 5 and 6."""
    return tf.reduce_mean(tf.abs(first - second))


def total_variation(images):
    """Mean absolute difference of neighbours, down plus across."""
    return mean_absolute_error(
        images[:, 1:], images[:, :-1]
    ) + mean_absolute_error(images[:, :, 1:], images[:, :, :-1])


def dsh_loss(codes, labels, margin, pull):
    """Deep Supervised Hashing: contrastive pairs, values pulled to +-1.

    Args:
      codes: float32 `[B, bits]`, before the sign.
      labels: int `[B]`; equal ones are similar.
      margin: squared distance from which dissimilar pairs cost nothing.
      pull: weight of mean | |u| - 1 |.

    Returns:
      float32 scalar, a mean over the pairs of different rows.

    Reference: Liu et al., Deep Supervised Hashing for Fast Image Retrieval,
    CVPR 2016, equations 1 and 4.
    """
    similar, pairs = _pairs(labels)
    difference = codes[:, None] - codes[None]
    distances = tf.reduce_sum(tf.square(difference), axis=-1)
    costs = tf.where(similar, distances, tf.nn.relu(margin - distances)) / 2
    mean = tf.reduce_sum(costs * pairs) / tf.reduce_sum(pairs)
    return mean + pull * tf.reduce_mean(tf.abs(tf.abs(codes) - 1))


def hashnet_loss(codes, labels, sharpness=10.0):
    """HashNet: logistic loss of pairs, both kinds weighing the same.

    Args:
      codes: float32 `[B, bits]` in (-1, 1).
      labels: int `[B]`; equal ones are similar.
      sharpness: of the logistic function; divided by the bits.

    Returns:
      float32 scalar, a mean over the pairs of different rows.

    Reference: Cao et al., HashNet: Deep Learning to Hash by Continuation,
    ICCV 2017, equation 4; pairs of a kind are weighed by its share.
    """
    similar, pairs = _pairs(labels)
    products = tf.matmul(codes, codes, transpose_b=True)
    products *= sharpness / codes.shape[-1]
    costs = tf.nn.softplus(products) - tf.where(similar, products, 0.0)
    total = tf.reduce_sum(pairs)
    for kind in (similar, ~similar):
        members = tf.where(kind, pairs, 0.0)
        share = tf.reduce_sum(members) / total
        pairs = tf.where(kind, members / tf.maximum(share, 1e-6), pairs)
    return tf.reduce_sum(costs * pairs) / total


def _pairs(labels):
    """Which pairs share a label, bool `[B, B]`; and 1 off the diagonal."""
    similar = labels[:, None] == labels[None]
    return similar, 1.0 - tf.eye(tf.shape(labels)[0])


def ssdh_loss(codes, logits, labels):
    """SSDH: classification from bits that are decided, and balanced.

    Args:
      codes: float32 `[B, bits]` in (0, 1).
      logits: float32 `[B, classes]`, linear in the codes.
      labels: int `[B]`.

    Returns:
      float32 scalar.

    Reference: Yang et al., Supervised Learning of Semantics-Preserving Hash
    via Deep Convolutional Neural Networks, TPAMI 2018, equation 7; all weights
    are 1, as in its code.
    """
    wrong = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    decided = tf.reduce_mean(tf.square(codes - 0.5)) / 2
    uneven = tf.square(tf.reduce_mean(codes, axis=1) - 0.5)
    return tf.reduce_mean(wrong) - decided + tf.reduce_mean(uneven) / 2
