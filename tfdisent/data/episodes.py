"""C-way K-shot episodes, each a function of (seed, number)."""

import numpy as np
import tensorflow as tf

from tfdisent.data import pipeline
from tfdisent.errors import InputError


def sample_distinct(rng, sizes, count):
    """Draws `count` distinct integers below each size, in random order.

    Floyd's algorithm over all rows at once, then a shuffle, since Floyd's
    order is not uniform.

    Args:
      rng: `numpy.random.Generator`.
      sizes: int array `[...]`.
      count: int.

    Returns:
      int64 `[..., count]`; of a smaller size all its integers, then -1.
    """
    sizes = np.asarray(sizes, np.int64)
    chosen = np.full((*sizes.shape, count), -1, np.int64)
    for i in range(count):
        last = sizes - count + i
        drawn = rng.integers(0, np.maximum(last, 0) + 1)
        taken = (chosen == drawn[..., None]).any(axis=-1)
        chosen[..., i] = np.where(taken | (last < 0), last, drawn)
    chosen = np.maximum(rng.permuted(chosen, axis=-1), -1)
    missing_last = np.argsort(chosen < 0, axis=-1, kind="stable")
    return np.take_along_axis(chosen, missing_last, axis=-1)


class EpisodeSampler:
    """Draws episodes from labels: C classes, K shots, queries beside them.

    Args:
      labels: int `[N]` class of every item.
      ways: C, distinct classes an episode.
      shots: K, support items a class.
      queries: query items an episode, of random classes of its C; none is in
        the support. They may ask one class for more queries than its items
        allow; only then does a query occur twice.
      seed: int of at least 0; batch t of episodes is a function of (seed, t).
      class_names: one name a class, for messages; its number when None.
      copies: of every item; item `i + c N` is copy c of item i, and every
        draw picks one.

    Raises:
      InputError: a count below 1, fewer classes than ways, or a class with
        too few items.
    """

    def __init__(
        self,
        labels,
        ways=5,
        shots=1,
        queries=1,
        seed=0,
        class_names=None,
        copies=1,
    ):
        counts = {"ways": ways, "shots": shots, "queries": queries}
        for name, count in counts.items():
            if count < 1:
                raise InputError(f"{name} must be at least 1, got {count}.")
        labels = np.asarray(labels)
        self.order = np.argsort(labels, kind="stable")
        classes, starts, counts = np.unique(
            labels[self.order], return_index=True, return_counts=True
        )
        needed = shots + 1
        if len(classes) < ways:
            raise InputError(
                f"{ways}-way episodes need at least {ways} classes; there are "
                f"{len(classes)}."
            )
        if counts.min() < needed:
            short = classes[counts.argmin()]
            short = repr(class_names[short]) if class_names else short
            raise InputError(
                f"{shots}-shot episodes need at least {needed} images a "
                f"class; class {short} has {counts.min()}."
            )
        self.starts, self.counts = starts, counts
        self.ways, self.shots, self.queries = ways, shots, queries
        self.seed = seed
        self.copies = copies

    def sample(self, batch, episodes):
        """Episodes of batch number `batch`.

        Args:
          batch: int; the position in the endless stream.
          episodes: how many, E.

        Returns:
          A dict: `support` int64 `[E, C, K]` and `query` int64 `[E, Q]` item
          indices, `target` int32 `[E, Q]` in [0, C).
        """
        rng = np.random.default_rng((self.seed, int(batch)))
        sizes = np.full(episodes, len(self.counts))
        classes = sample_distinct(rng, sizes, self.ways)
        target = rng.integers(0, self.ways, (episodes, self.queries))
        # All queries may fall into one class, which may be too small.
        most = min(self.queries, int(self.counts.max()) - self.shots)
        sizes = self.counts[classes]
        items = sample_distinct(rng, sizes, self.shots + most)
        items = self.order[self.starts[classes][..., None] + items]
        rows = np.arange(episodes)[:, None]
        if self.copies > 1:
            drawn = rng.integers(0, self.copies, items.shape)
            items = items + len(self.order) * drawn
        left = np.take_along_axis(sizes, target, axis=1) - self.shots
        place = self.shots + _rank(target) % np.minimum(left, most)
        return {
            "support": items[..., : self.shots],
            "query": items[rows, target, place],
            "target": target.astype(np.int32),
        }

    def batches(self, take, episodes, start=0, context=None):
        """An endless pipeline of episode batches.

        Args:
          take: int64 indices `[M]` -> array `[M, ...]` of items (cached codes
            or images).
          episodes: episodes a global batch.
          start: the first step.
          context: a `tf.distribute.InputContext`, or None.

        Returns:
          A `tf.data.Dataset` of dicts: `support` `[E, C, K, ...]`, `query`
          `[E, Q, ...]`, `target` int32 `[E, Q]`; E is one replica's share.
          uint8 images become float32 in [0, 1], codes stay as they are.

        Raises:
          InputError: episodes that replicas cannot share equally.
        """
        share = pipeline.replica_share(episodes, context)
        example = take(np.zeros(1, np.int64))
        item_shape, dtype = example.shape[1:], tf.as_dtype(example.dtype)
        support_shape = [share, self.ways, self.shots, *item_shape]
        query_shape = [share, self.queries, *item_shape]

        def read(step, replica):
            drawn = self.sample(step, episodes)
            rows = slice(replica * share, (replica + 1) * share)
            support, query = drawn["support"][rows], drawn["query"][rows]
            items = take(np.concatenate([support.ravel(), query.ravel()]))
            return (
                items[: support.size].reshape(support_shape),
                items[support.size :].reshape(query_shape),
                drawn["target"][rows],
            )

        def make(step, replica):
            support, query, target = tf.numpy_function(
                read, [step, replica], [dtype, dtype, tf.int32]
            )
            support.set_shape(support_shape)
            query.set_shape(query_shape)
            target.set_shape([share, self.queries])
            if dtype == tf.uint8:
                support = pipeline.to_float(support)
                query = pipeline.to_float(query)
            return {"support": support, "query": query, "target": target}

        return pipeline.replica_batches(make, context, start)


def _rank(target):
    """How often a query's class occurred before, int `[E, Q]` as given."""
    same = target[:, :, None] == target[:, None, :]
    return np.tril(same, k=-1).sum(axis=-1)
