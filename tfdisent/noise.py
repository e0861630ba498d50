"""Random draws that follow a seed alone, on any number of replicas.

Under `tf.distribute` every replica draws the noise of the whole global batch
and takes its own rows, so two replicas train exactly as one device does with
the same global batch.
"""

import tensorflow as tf


def _rows_of_replica(draw, shape):
    """The rows of this replica out of `draw(global shape)`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return draw(shape)
    rows = shape[0]
    whole = draw([rows * context.num_replicas_in_sync, *shape[1:]])
    start = context.replica_id_in_sync_group * rows
    return whole[start : start + rows]


def normal(shape, seed):
    """Standard normal draws.

    Args:
      shape: `[B, ...]`, B the batch of this replica.
      seed: int32 `[2]`.

    Returns:
      float32 of this shape.
    """
    return _rows_of_replica(
        lambda s: tf.random.stateless_normal(s, seed), shape
    )


def uniform(shape, seed):
    """Draws from [0, 1); arguments as `normal`."""
    return _rows_of_replica(
        lambda s: tf.random.stateless_uniform(s, seed), shape
    )


def fold(seed, salt):
    """A seed of its own for `salt`; int32 `[2]`."""
    return tf.random.fold_in(seed, salt)


def shape_of(values):
    """A shape for the draws above: numbers where known, tensors elsewhere.

    `fit` does not tell how many rows a batch has until it comes.
    """
    return [
        tf.shape(values)[axis] if size is None else size
        for axis, size in enumerate(values.shape)
    ]


def permutation(rows, seed):
    """This replica's share of a permutation of the global batch's rows.

    Args:
      rows: B, the batch of this replica.
      seed: int32 `[2]`.

    Returns:
      int32 `[B]`; over all replicas, every row of the global batch once.
    """
    return _rows_of_replica(
        lambda s: tf.argsort(tf.random.stateless_uniform(s, seed)), [rows]
    )


def permuted_columns(values, seed):
    """Every column permuted over the global batch by itself.

    Args:
      values: `[B, n]` of this replica.
      seed: int32 `[2]`.

    Returns:
      `[B, n]`, this replica's share; gradients do not flow back.
    """
    everyone = tf.transpose(gather(tf.stop_gradient(values)))
    draw = uniform(shape_of(values), seed)
    order = tf.argsort(tf.transpose(gather(draw)), axis=1)
    return own_rows(tf.transpose(tf.gather(everyone, order, batch_dims=1)))


def own_rows(values):
    """This replica's rows of what all replicas hold alike; see `gather`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    rows = tf.shape(values)[0] // context.num_replicas_in_sync
    start = context.replica_id_in_sync_group * rows
    return values[start : start + rows]


def gather(values):
    """The rows of all replicas, in global order; itself on one replica.

    Args:
      values: `[B, ...]` of this replica.

    Returns:
      `[replicas * B, ...]`; gradients flow back to every replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    rows = context.all_gather(values, axis=0)
    # The way back needs a dense gradient, which `reshape` makes of any; and
    # collectives of a plain MirroredStrategy forget the shape.
    return tf.reshape(rows, [-1, *values.shape[1:]])


def rowwise_normal(seed, size):
    """One standard normal vector a row, whatever batch the row stands in.

    Args:
      seed: int32 `[B, 2]`, a seed a row.
      size: length of each vector.

    Returns:
      float32 `[B, size]`.
    """
    return tf.map_fn(
        lambda row: tf.random.stateless_normal([size], row),
        tf.cast(seed, tf.int32),
        fn_output_signature=tf.TensorSpec([size], tf.float32),
    )
