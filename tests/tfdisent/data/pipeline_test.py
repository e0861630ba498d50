import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfdisent.data import pipeline
from tfdisent.data.base import ArraySplit
from tfdisent.errors import InputError


def numbered(count, labelled=True):
    """A split whose labels are the indices."""
    images = np.zeros((count, 4, 4, 1), np.uint8)
    return ArraySplit(images, np.arange(count) if labelled else None)


def indices(split, batch_size, count, start=0, seed=0, context=None):
    """The indices of the first batches, `[count, share]`."""
    batches = pipeline.batches(
        split, batch_size, split.image_shape, seed, start, context
    )
    return np.stack([b["label"].numpy() for b in batches.take(count)])


def context(replicas, workers=1, worker=0):
    return tf.distribute.InputContext(workers, worker, replicas)


def test_batch_is_a_function_of_seed_and_step():
    split = numbered(10)
    whole = indices(split, 4, 20)
    np.testing.assert_array_equal(indices(split, 4, 6, start=14), whole[14:])
    assert (indices(split, 4, 20, seed=1) != whole).any()


def test_every_epoch_is_a_permutation_of_its_own():
    epochs = indices(numbered(10), 4, 20).reshape(8, 10)
    np.testing.assert_array_equal(np.sort(epochs), [np.arange(10)] * 8)
    assert len({tuple(epoch) for epoch in epochs}) == 8


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_batch_may_be_larger_than_the_split(size):
    epochs = indices(numbered(size), 2 * size, 3).reshape(6, size)
    np.testing.assert_array_equal(np.sort(epochs), [np.arange(size)] * 6)


def test_shuffle_is_uniform():
    size, epochs = 7, 7000
    drawn = pipeline.shuffled_indices(0, size * epochs, size, seed=1)
    places = np.zeros((size, size))
    for epoch in drawn.reshape(epochs, size):
        places[np.arange(size), epoch] += 1
    # Every index is equally often at every place of an epoch.
    assert stats.chisquare(places, axis=None).pvalue > 1e-3


def test_neighbouring_epochs_and_seeds_are_unrelated():
    size = 2000
    orders = [
        *pipeline.shuffled_indices(0, 20 * size, size, 0).reshape(20, size),
        *(pipeline.shuffled_indices(0, size, size, s) for s in range(1, 20)),
        np.arange(size),
    ]
    correlation = np.corrcoef(orders) - np.eye(len(orders))
    assert abs(correlation).max() < 5 / np.sqrt(size)


def test_shares_of_replicas_make_up_the_batch():
    split = numbered(30)
    whole = indices(split, 8, 5, start=2)
    shares = indices(split, 8, 10, start=2, context=context(2))
    np.testing.assert_array_equal(shares.reshape(5, 8), whole)


def test_shares_of_workers_make_up_the_batch():
    split = numbered(30)
    whole = indices(split, 8, 5)
    shares = [
        indices(split, 8, 10, context=context(4, workers=2, worker=w))
        for w in range(2)
    ]
    # [worker, step, local replica, 2]
    shares = np.reshape(shares, (2, 5, 2, 2)).swapaxes(0, 1)
    np.testing.assert_array_equal(shares.reshape(5, 8), whole)


def test_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(InputError, match="batch_size=5 cannot be shared by 2"):
        indices(numbered(9), 5, 1, context=context(2))
    with pytest.raises(InputError, match="batch_size=0"):
        indices(numbered(9), 0, 1)
    with pytest.raises(InputError, match="no image"):
        indices(numbered(9).subset([]), 2, 1)


def test_batches_have_static_shapes():
    split = ArraySplit(np.zeros((9, 28, 28, 1), np.uint8), np.arange(9))
    spec = pipeline.batches(split, 6, (32, 32, 1)).element_spec
    assert spec["image"] == tf.TensorSpec((6, 32, 32, 1), tf.float32)
    assert spec["label"] == tf.TensorSpec((6,), tf.int32)


@pytest.mark.parametrize("size", [1, 10, 12])
def test_in_order_gives_every_image_once(size):
    split = numbered(size)
    batches = pipeline.in_order(split, split.image_shape, batch_size=4)
    labels = [b["label"].numpy() for b in batches]
    assert np.concatenate(labels).tolist() == list(range(size))
    assert not list(pipeline.in_order(split.subset([]), (4, 4, 1)))


def test_bytes_are_scaled_and_floats_kept():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    scaled = pipeline.to_float(images).numpy()
    np.testing.assert_array_equal(scaled, images.astype(np.float32) / 255)
    np.testing.assert_array_equal(pipeline.to_float(scaled), scaled)
    assert pipeline.to_float(scaled.astype(np.float64)).dtype == tf.float32
    with pytest.raises(InputError, match="Received int64"):
        pipeline.to_float(images.astype(np.int64))


def test_28_is_padded_to_32_and_no_pixel_changes():
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    fitted = pipeline.fit_images(images, (32, 32, 1)).numpy()
    np.testing.assert_array_equal(
        fitted, np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    )


@pytest.mark.parametrize("side", [8, 27, 33, 64])
def test_other_sizes_are_resized(side):
    step = np.zeros((2, side, side, 3), np.float32)
    step[:, :, side // 2 :] = 1
    fitted = pipeline.fit_images(step, (32, 32, 3)).numpy()
    assert fitted.shape == (2, 32, 32, 3)
    assert fitted.min() == 0 and fitted.max() == 1
    assert (np.diff(fitted, axis=2) >= -1e-6).all()
    np.testing.assert_allclose(fitted.mean(), step.mean(), atol=0.01)


def test_equal_sizes_are_left_alone():
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    fitted = pipeline.fit_images(images, (32, 32, 3))
    np.testing.assert_array_equal(fitted, images)


def test_other_channels_are_refused():
    with pytest.raises(InputError, match="3 channels, received shape"):
        pipeline.fit_images(np.zeros((1, 8, 8, 1), np.uint8), (8, 8, 3))


def test_a_pipeline_of_other_channels_is_refused_in_one_line():
    split = numbered(10)
    shape = (*split.image_shape[:2], 3)
    for build in (
        lambda: pipeline.batches(split, 4, shape),
        lambda: next(pipeline.in_order(split, shape)),
    ):
        with pytest.raises(InputError, match="3 channels, received") as caught:
            build()
        assert "\n" not in str(caught.value)


def test_order_survives_parallel_reading():
    split = numbered(1000)
    batches = pipeline.in_order(split, split.image_shape, batch_size=7)
    labels = itertools.chain.from_iterable(b["label"].numpy() for b in batches)
    assert list(labels) == list(range(1000))
