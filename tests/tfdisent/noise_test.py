import numpy as np
import pytest
import tensorflow as tf

from tfdisent import noise

SEED = tf.constant([1, 2])


def on_replicas(strategy, function):
    """Its results on every replica, in order."""
    run = tf.function(lambda: strategy.run(function))
    return [np.array(r) for r in strategy.experimental_local_results(run())]


def test_moments():
    draw = noise.normal([1000, 100], SEED).numpy()
    np.testing.assert_allclose(draw.mean(), 0, atol=0.02)
    np.testing.assert_allclose(draw.std(), 1, atol=0.02)
    draw = noise.uniform([1000, 100], SEED).numpy()
    np.testing.assert_allclose(draw.mean(), 0.5, atol=0.01)
    assert 0 <= draw.min()
    assert draw.max() < 1


@pytest.mark.parametrize("draw", [noise.normal, noise.uniform])
def test_replicas_share_one_global_draw(draw, mirrored):
    shares = on_replicas(mirrored, lambda: draw([3, 4], SEED))
    np.testing.assert_array_equal(np.concatenate(shares), draw([6, 4], SEED))


def test_permutation():
    order = noise.permutation(50, SEED).numpy()
    np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert np.any(order != np.arange(50))
    np.testing.assert_array_equal(order, noise.permutation(50, SEED))


def test_replicas_share_one_permutation(mirrored):
    shares = on_replicas(mirrored, lambda: noise.permutation(5, SEED))
    np.testing.assert_array_equal(
        np.concatenate(shares), noise.permutation(10, SEED)
    )


def test_gather_keeps_global_order_and_passes_gradients_back(mirrored):
    weights = tf.constant([1.0, 2.0, 3.0, 4.0])

    def slopes():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        own = 10.0 * tf.cast(replica, tf.float32) + tf.constant([0.0, 1.0])
        with tf.GradientTape() as tape:
            tape.watch(own)
            rows = noise.gather(own)
            # Twice the first row: its gradient comes as slices.
            loss = tf.reduce_sum(weights * rows) + tf.gather(rows, 0)
        return tf.concat([rows, tape.gradient(loss, own)], axis=0)

    first, second = on_replicas(mirrored, slopes)
    np.testing.assert_array_equal(first[:4], [0, 1, 10, 11])
    np.testing.assert_array_equal(second[:4], [0, 1, 10, 11])
    # Both replicas had the whole loss, so it counts twice.
    np.testing.assert_array_equal(first[4:], [4, 4])
    np.testing.assert_array_equal(second[4:], [6, 8])


def test_one_replica_gathers_itself():
    values = tf.ones([3, 2])
    assert noise.gather(values) is values


def test_shape_of_a_batch_of_unknown_size():
    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def draw(values):
        shape = noise.shape_of(values)
        assert shape[1] == 3
        return noise.normal(shape, SEED)

    np.testing.assert_array_equal(
        draw(tf.zeros([5, 3])), noise.normal([5, 3], SEED)
    )


def test_rows_do_not_depend_on_their_batch():
    seeds = np.array([[0, 1], [0, 2], [7, 1]], np.int64)
    rows = noise.rowwise_normal(seeds, 6)
    assert rows.shape == (3, 6)
    for row, seed in zip(rows, seeds, strict=True):
        np.testing.assert_array_equal(row, noise.rowwise_normal([seed], 6)[0])
    assert len(np.unique(rows)) == 18


def test_fold_makes_distinct_seeds():
    seeds = {tuple(noise.fold(SEED, salt).numpy()) for salt in range(100)}
    assert len(seeds) == 100


def test_permuted_columns_keep_their_values_and_lose_their_rows():
    values = tf.reshape(tf.range(100.0), [50, 2])
    permuted = noise.permuted_columns(values, SEED).numpy()
    for column in (0, 1):
        np.testing.assert_array_equal(
            np.sort(permuted[:, column]), values[:, column]
        )
    # Each column by another permutation.
    assert np.mean(permuted[:, 1] == permuted[:, 0] + 1) < 0.2


def test_replicas_share_permuted_columns(mirrored):
    def share():
        own = 8.0 * tf.cast(
            tf.distribute.get_replica_context().replica_id_in_sync_group,
            tf.float32,
        )
        values = own + tf.reshape(tf.range(8.0), [4, 2])
        return noise.permuted_columns(values, SEED)

    shares = on_replicas(mirrored, share)
    whole = noise.permuted_columns(tf.reshape(tf.range(16.0), [8, 2]), SEED)
    np.testing.assert_array_equal(np.concatenate(shares), whole)
