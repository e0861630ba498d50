"""Batches as a function of (seed, step), so that a run resumes by its step."""

import contextlib
import functools
import re

import numpy as np
import tensorflow as tf

from tfdisent.errors import InputError

# Batches a step may wait for; enough to hide the variance of one batch.
PREFETCH = 4


def to_float(images):
    """Images as float32 in [0, 1]; the one place where uint8 is scaled.

    Args:
      images: uint8 `[..., H, W, C]` in 0..255, or float in [0, 1].

    Raises:
      InputError: another type, whose range nobody knows.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255.0
    if not images.dtype.is_floating:
        raise InputError(
            f"images must be uint8 or float. Received {images.dtype.name}."
        )
    return tf.cast(images, tf.float32)


def fit_images(images, image_shape):
    """Images at the size a model takes; the one place that pads and resizes.

    A difference of at most an eighth (28 to 32) is padded with zeros around
    the image, so no pixel changes; everything else is resized, bilinear with
    antialiasing, which stretches images of other proportions.

    Args:
      images: uint8 in 0..255 or float in [0, 1], `[B, h, w, C]`.
      image_shape: `(H, W, C)` of the result.

    Returns:
      float32 `[B, H, W, C]` in [0, 1].

    Raises:
      InputError: another number of channels.
    """
    images = to_float(images)
    height, width, channels = image_shape
    if images.shape[-1] != channels:
        raise InputError(
            f"Expected images with {channels} channels, received shape "
            f"{tuple(images.shape)}."
        )
    h, w = images.shape[-3], images.shape[-2]
    if (h, w) == (height, width):
        return images
    if height * 7 / 8 <= h <= height and width * 7 / 8 <= w <= width:
        return tf.image.pad_to_bounding_box(
            images, (height - h) // 2, (width - w) // 2, height, width
        )
    resized = tf.image.resize(images, (height, width), antialias=True)
    return tf.clip_by_value(resized, 0.0, 1.0)


@functools.lru_cache(maxsize=4)
def _epoch(number, size, seed):
    """The order of epoch `number`, a permutation int64 `[size]`."""
    return np.random.default_rng((seed % 2**64, number)).permutation(size)


def shuffled_indices(step, batch_size, size, seed):
    """Indices of batch `step` of an endless, seeded, epoch-wise shuffle.

    Every epoch is a permutation of its own, drawn when it begins; a batch may
    straddle several. (tf.random.experimental.index_shuffle would need no
    memory, but for neighbouring seeds its orders resemble each other.)

    Args:
      step, batch_size, size: ints; which batch, how many indices, out of how
        many.
      seed: int.

    Returns:
      int64 `[batch_size]` in [0, size).
    """
    epochs, places = np.divmod(
        step * batch_size + np.arange(batch_size, dtype=np.int64), size
    )
    chosen = np.empty_like(places)
    for number in range(epochs[0], epochs[-1] + 1):
        here = epochs == number
        chosen[here] = _epoch(int(number), size, seed)[places[here]]
    return chosen


def take(split, indices, example):
    """`split.take` inside a tf.data graph, shapes and types kept.

    Args:
      split: a `Split`.
      indices: int64 `[B]` tensor.
      example: what `split.take` gives for one index.

    Returns:
      The dict of tensors that `split.take` returns.
    """
    keys = sorted(example)

    def read(chosen):
        batch = split.take(chosen)
        return [batch[key] for key in keys]

    values = tf.numpy_function(
        read, [indices], [tf.as_dtype(example[k].dtype) for k in keys]
    )
    for key, value in zip(keys, values, strict=True):
        value.set_shape([*indices.shape, *example[key].shape[1:]])
    return dict(zip(keys, values, strict=True))


def _fitting_example(split, image_shape):
    """What `split.take` gives for its first image, if `fit_images` takes it.

    Raised while a pipeline is traced, its `InputError` would come out as
    TensorFlow's own, a page long.
    """
    example = split.take([0])
    fit_images(example["image"], image_shape)
    return example


def replica_batches(make, input_context=None, start=0):
    """Endless per-replica batches; element order follows (step, replica).

    Args:
      make: `(step, replica) -> batch`, traced by tf.data; `step` and
        `replica` are int64 scalars.
      input_context: a `tf.distribute.InputContext`, or None for one replica.
      start: the step of the first batch.

    Returns:
      A `tf.data.Dataset`. Successive elements feed successive local replicas.
    """
    local, first = 1, 0
    if input_context is not None:
        workers = input_context.num_input_pipelines
        local = input_context.num_replicas_in_sync // workers
        first = input_context.input_pipeline_id * local
    counter = tf.data.Dataset.counter(start=start * local)
    return counter.map(
        lambda n: make(n // local, first + n % local),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(PREFETCH)


def replica_share(batch_size, context=None):
    """What one replica gets of a global batch.

    Args:
      batch_size: global, at least 1.
      context: a `tf.distribute.InputContext`, or None.

    Raises:
      InputError: the batch cannot be shared equally.
    """
    replicas = 1 if context is None else context.num_replicas_in_sync
    if batch_size < 1 or batch_size % replicas:
        raise InputError(
            f"batch_size={batch_size} cannot be shared by {replicas} replicas."
        )
    return batch_size // replicas


def batches(split, batch_size, image_shape, seed=0, start=0, context=None):
    """An endless pipeline of shuffled training batches.

    Args:
      split: a `Split`.
      batch_size: global batch size.
      image_shape: the model's `(H, W, C)`.
      seed: int; batch t is a function of (seed, t).
      start: the first step.
      context: a `tf.distribute.InputContext`, or None.

    Returns:
      A `tf.data.Dataset` of dicts: `image` float32 `[B, H, W, C]` in [0, 1]
      and the split's `label`, `factors`; B is the share of one replica.

    Raises:
      InputError: no image, images that do not fit the shape, or a batch that
        replicas cannot share equally. A batch of more images than the split
        has is fine: it spans epochs.
    """
    if not len(split):
        raise InputError("The split to train on has no image.")
    share = replica_share(batch_size, context)
    example = _fitting_example(split, image_shape)

    def choose(step, replica):
        chosen = shuffled_indices(int(step), batch_size, len(split), seed)
        return chosen[replica * share : (replica + 1) * share]

    def make(step, replica):
        chosen = tf.numpy_function(choose, [step, replica], tf.int64)
        chosen.set_shape([share])
        batch = take(split, chosen, example)
        batch["image"] = fit_images(batch["image"], image_shape)
        return batch

    return replica_batches(make, context, start)


def in_order(split, image_shape, batch_size=256):
    """Every image of a split once, in order; the last batch may be smaller.

    Args:
      split: a `Split`; an empty one gives nothing.
      image_shape: the model's `(H, W, C)`.
      batch_size: images a batch.

    Yields:
      Dicts of tensors as `batches` gives.

    Raises:
      InputError: images that do not fit the shape; or of the split, for
        instance a file that cannot be read.
    """
    if not len(split):
        return
    starts = tf.data.Dataset.range(0, len(split), batch_size)
    example = _fitting_example(split, image_shape)

    def make(start):
        stop = tf.minimum(start + batch_size, len(split))
        batch = take(split, tf.range(start, stop), example)
        batch["image"] = fit_images(batch["image"], image_shape)
        return batch

    with input_errors():
        yield from starts.map(make, num_parallel_calls=2).prefetch(PREFETCH)


@contextlib.contextmanager
def input_errors():
    """Gives back the `InputError` of a split that TensorFlow wrapped.

    An error inside a pipeline comes out as TensorFlow's own, a page long, with
    the original as text.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        line = re.search("InputError: (.*)", str(error))
        if not line:
            raise
        raise InputError(line[1]) from error
