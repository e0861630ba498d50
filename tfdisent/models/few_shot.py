"""Few-shot classifiers that stand beside FDEN in its tables.

Two networks trained on the images of episodes, and two rules without weights
for codes that are frozen already:

- `MatchingNetwork`: Vinyals et al., Matching Networks for One Shot Learning,
  NeurIPS 2016, eq. (1) and (2), without full-context embeddings.
- `PrototypicalNetwork`: Snell et al., Prototypical Networks for Few-shot
  Learning, NeurIPS 2017, eq. (1) and (2).
- `nearest_neighbour` and `prototypes`, on any codes.

They answer `classify` as FDEN does, so one evaluation serves all.
"""

import keras
import tensorflow as tf

from tfdisent import networks
from tfdisent.models import base
from tfdisent.optimizers import Adam


class EpisodeNetwork(base.StepModel):
    """An embedding of images, trained to tell the classes of episodes apart.

    It trains on episodes of images in [0, 1]: `support` `[E, C, K, H, W, ch]`,
    `query` `[E, Q, H, W, ch]`, `target` int32 `[E, Q]` in [0, C). A subclass
    implements `classify`. Batch statistics are those of a step's support and
    query images together, on each replica its own.

    Args:
      image_shape: `(H, W, ch)`, any size.
      filters: of the four convolutions.
      learning_rate: of Adam, at step 0.
      seed: kept beside the weights; nothing here is random.
    """

    needs = frozenset({"episodes"})
    tracked = ("loss", "accuracy")
    image_sides = None

    def __init__(
        self,
        image_shape=(32, 32, 1),
        filters=64,
        learning_rate=1e-3,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        self.filters = filters
        self.learning_rate = learning_rate
        self.embedding = networks.conv4(
            self.image_shape, filters, name="embedding"
        )
        self.built = True

    def classify(self, support, query):
        """Scores of the classes of episodes.

        Args:
          support: embeddings float32 `[E, C, K, d]`.
          query: embeddings float32 `[E, Q, d]`.

        Returns:
          Logits float32 `[E, Q, C]`.
        """
        raise NotImplementedError

    def embed(self, images, training=False):
        """Embeddings float32 `[N, d]` of images `[N, H, W, ch]` in [0, 1]."""
        return tf.cast(self.embedding(images, training=training), tf.float32)

    def call(self, image, training=False):
        return self.embed(image, training)

    def update(self, batch):
        with tf.GradientTape() as tape:
            scalars = self.objective(batch, training=True)
            scaled = self.scaled(scalars["loss"])
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return scalars

    def evaluate_batch(self, batch):
        return self.objective(batch, training=False)

    def objective(self, batch, training):
        """Cross-entropy and accuracy of the queries' classes."""
        shapes = [_item_axes(batch[name]) for name in ("support", "query")]
        counts = [tf.reduce_prod(shape) for shape in shapes]
        images = tf.concat(
            [
                tf.reshape(batch[name], [-1, *self.image_shape])
                for name in ("support", "query")
            ],
            axis=0,
        )
        codes = tf.split(self.embed(images, training), counts)
        support, query = (
            tf.reshape(code, tf.concat([shape, [code.shape[-1]]], axis=0))
            for code, shape in zip(codes, shapes, strict=True)
        )
        logits, target = self.classify(support, query), batch["target"]
        hits = tf.equal(
            tf.argmax(logits, axis=-1, output_type=tf.int32),
            tf.cast(target, tf.int32),
        )
        return {
            "loss": tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
            ),
            "accuracy": tf.reduce_mean(tf.cast(hits, tf.float32)),
        }


@keras.saving.register_keras_serializable("tfdisent")
class MatchingNetwork(EpisodeNetwork):
    """Attends to the supports by cosine similarity (Vinyals et al., 2016).

    P(class) is the attention that its supports receive from the query, a
    softmax over all supports of the episode.

    Args:
      image_shape, filters, learning_rate, seed: see `EpisodeNetwork`.
      clip_norm: global norm to which gradients are clipped, on each replica;
        None for no clipping.
    """

    def __init__(
        self,
        image_shape=(32, 32, 1),
        filters=64,
        learning_rate=1e-3,
        clip_norm=1.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, filters, learning_rate, seed, **kwargs)
        self.clip_norm = clip_norm

    def classify(self, support, query):
        # log P up to the softmax's constant, which drops out of every use.
        return tf.reduce_logsumexp(_cosine(support, query), axis=-1)

    def default_optimizers(self):
        return {
            "main": Adam(self.learning_rate, global_clipnorm=self.clip_norm)
        }


@keras.saving.register_keras_serializable("tfdisent")
class PrototypicalNetwork(EpisodeNetwork):
    """Compares with the mean of each class's supports (Snell et al., 2017).

    Logits are negative squared Euclidean distances.

    Args:
      image_shape, filters, learning_rate, seed: see `EpisodeNetwork`.
      halve_every: steps after which the learning rate halves, again and again.
    """

    def __init__(
        self,
        image_shape=(32, 32, 1),
        filters=64,
        learning_rate=1e-3,
        halve_every=2000,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, filters, learning_rate, seed, **kwargs)
        if halve_every < 1:
            raise ValueError(
                f"halve_every must be at least 1. Received: {halve_every}"
            )
        self.halve_every = halve_every

    def classify(self, support, query):
        return prototypes(support, query)

    def default_optimizers(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(
            self.learning_rate,
            decay_steps=self.halve_every,
            decay_rate=0.5,
            staircase=True,
        )
        return {"main": Adam(schedule)}


def nearest_neighbour(support, query, distance="euclidean"):
    """The class of the closest support, without training.

    Args:
      support: codes `[E, C, K, d]`, an array or a tensor.
      query: codes `[E, Q, d]`.
      distance: `"euclidean"` or `"cosine"`.

    Returns:
      Logits float32 `[E, Q, C]`: the largest similarity (minus the squared
      distance, or the cosine) to a support of each class. The differences
      take `E * Q * C * K * d` floats at once.

    Raises:
      ValueError: another distance.
    """
    return tf.reduce_max(_similarity(distance)(support, query), axis=-1)


def prototypes(support, query, distance="euclidean"):
    """The class of the closest mean of supports, without training.

    Arguments, errors and result as `nearest_neighbour`, with one mean in place
    of a class's supports.
    """
    means = tf.reduce_mean(_float(support), axis=2, keepdims=True)
    return _similarity(distance)(means, query)[..., 0]


def _squared_euclidean(support, query):
    """Minus the squared distances, `[E, Q, C, K]`.

    Differences first: with |a|^2 - 2ab + |b|^2 the reduced precision of GPU
    products would decide between near neighbours.
    """
    support, query = _float(support), _float(query)
    difference = query[:, :, None, None] - support[:, None]
    return -tf.reduce_sum(tf.square(difference), axis=-1)


def _cosine(support, query):
    """Cosine similarities, `[E, Q, C, K]`."""
    support = tf.math.l2_normalize(_float(support), axis=-1)
    query = tf.math.l2_normalize(_float(query), axis=-1)
    return tf.einsum("eqd,eckd->eqck", query, support)


_SIMILARITIES = {"euclidean": _squared_euclidean, "cosine": _cosine}


def _similarity(distance):
    if distance not in _SIMILARITIES:
        raise ValueError(
            f"distance must be one of {tuple(_SIMILARITIES)}. Received: "
            f"distance={distance!r}"
        )
    return _SIMILARITIES[distance]


def _float(codes):
    return tf.cast(codes, tf.float32)


def _item_axes(images):
    """The axes before an image's own three, int32."""
    return tf.shape(images)[:-3]
