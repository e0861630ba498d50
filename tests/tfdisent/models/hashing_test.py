import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent.models import hashing

LABELS = tf.constant([0, 0, 1])


def test_dsh_loss_by_hand():
    codes = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    # Squared distances: 4 (similar), 8 and 4 (dissimilar, margin 6).
    value = losses.dsh_loss(codes, LABELS, margin=6.0, pull=7.0)
    np.testing.assert_allclose(value, (4 + 0 + 2) / 2 / 3)
    half = losses.dsh_loss(codes / 2, LABELS, margin=0.0, pull=7.0)
    np.testing.assert_allclose(half, 1 / 2 / 3 + 7 * 0.5, rtol=1e-6)


def test_hashnet_loss_by_hand():
    codes = tf.constant([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    # theta = 5 <u, v>: 0 (similar), -10 and 0; a third of pairs is similar.
    similar = np.log(2)
    other = (np.log1p(np.exp(-10.0)) + np.log(2)) / 2
    np.testing.assert_allclose(
        losses.hashnet_loss(codes, LABELS), similar + other, rtol=1e-5
    )
    # One kind of pairs only is no division by nothing.
    alone = losses.hashnet_loss(codes, tf.constant([0, 1, 2]))
    assert np.isfinite(alone)


def test_ssdh_loss_by_hand():
    codes = tf.constant([[1.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    value = losses.ssdh_loss(codes, tf.zeros([3, 4]), LABELS)
    decided, uneven = (4 * 0.25 / 6) / 2, (0.25 / 3) / 2
    np.testing.assert_allclose(value, np.log(4) - decided + uneven, rtol=1e-6)


@pytest.mark.parametrize("name", list(hashing.METHODS))
def test_methods_learn_to_tell_dark_from_light(name):
    keras.utils.set_random_seed(0)
    model = hashing.METHODS[name](
        (16, 16, 1), bits=4, classes=2, filters=4, learning_rate=3e-3
    )
    model.compile()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 32).astype(np.int32)
    images = 0.5 * rng.random((32, 16, 16, 1), np.float32)
    images += 0.5 * labels[:, None, None, None].astype(np.float32)
    batch = {"image": tf.constant(images), "label": tf.constant(labels)}
    step = tf.function(model.train_step, jit_compile=False)
    first = model.evaluate_batch(batch)["loss"]
    for _ in range(60):
        step(batch)
    assert model.evaluate_batch(batch)["loss"] < first
    bits = model.encode(images).numpy() > 0
    same = labels[:, None] == labels[None]
    differing = np.sum(bits[:, None] != bits[None], axis=-1)
    assert differing[same].mean() < differing[~same].mean() - 1


def test_hashnet_sharpens_every_two_hundred_steps():
    model = hashing.HashNet((16, 16, 1), bits=2, filters=2)
    values = tf.constant([[0.3, 0.2], [-0.1, 0.2], [0.2, -0.4]])
    reports = []
    for step in (0, 199, 200, 400):
        model.step.assign(step)
        reports.append(float(model.loss_of(values, LABELS)))
    assert reports[0] == reports[1]
    expected = losses.hashnet_loss(tf.tanh(np.sqrt(3.0) * values), LABELS)
    np.testing.assert_allclose(reports[3], expected, rtol=1e-6)
    assert len({*reports}) == 3
