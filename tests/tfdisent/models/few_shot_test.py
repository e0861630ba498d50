import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import testing
from tfdisent.models import few_shot

SUPPORT = np.array([[[[0.0, 1.0], [0.0, 3.0]], [[2.0, 0.0], [4.0, 0.0]]]])
QUERY = np.array([[[1.0, 1.0], [3.0, 0.0], [0.0, 0.5]]])


def test_nearest_neighbour_by_hand():
    logits = few_shot.nearest_neighbour(SUPPORT, QUERY)
    np.testing.assert_allclose(
        logits[0], [[-1, -2], [-10, -1], [-0.25, -4.25]], rtol=1e-6
    )
    cosine = few_shot.nearest_neighbour(SUPPORT, QUERY, "cosine")
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        cosine[0], [[half, half], [0, 1], [1, 0]], atol=1e-6
    )


def test_prototypes_by_hand():
    logits = few_shot.prototypes(tf.constant(SUPPORT), tf.constant(QUERY))
    np.testing.assert_allclose(
        logits[0], [[-2, -5], [-13, 0], [-2.25, -9.25]], rtol=1e-6
    )
    cosine = few_shot.prototypes(SUPPORT, QUERY, distance="cosine")
    assert cosine.shape == (1, 3, 2)
    np.testing.assert_allclose(cosine[0, 1], [0, 1], atol=1e-6)


def test_unknown_distance():
    with pytest.raises(ValueError, match="Received: distance='manhattan'"):
        few_shot.prototypes(SUPPORT, QUERY, "manhattan")


def test_matching_is_attention_over_all_supports():
    model = few_shot.MatchingNetwork(filters=4)
    rng = np.random.default_rng(0)
    support = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    query = rng.normal(size=(2, 6, 5)).astype(np.float32)
    flat = support.reshape(2, 12, 5)
    cosine = np.einsum("eqd,end->eqn", query, flat) / (
        np.linalg.norm(query, axis=-1)[:, :, None]
        * np.linalg.norm(flat, axis=-1)[:, None]
    )
    attention = np.exp(cosine)
    attention /= attention.sum(axis=-1, keepdims=True)
    probability = attention.reshape(2, 6, 3, 4).sum(axis=-1)
    np.testing.assert_allclose(
        tf.nn.softmax(model.classify(support, query)), probability, rtol=1e-5
    )


def test_prototypical_classifies_by_class_means():
    model = few_shot.PrototypicalNetwork(filters=4)
    np.testing.assert_allclose(
        model.classify(SUPPORT, QUERY), few_shot.prototypes(SUPPORT, QUERY)
    )


def test_objective_is_the_loss_of_embedded_episodes():
    model = few_shot.PrototypicalNetwork((20, 20, 3), filters=4)
    batch = testing.random_batch(model)
    support, query = (
        tf.reshape(
            model.embed(tf.reshape(batch[name], [-1, 20, 20, 3])),
            [*batch[name].shape[:-3], -1],
        )
        for name in ("support", "query")
    )
    logits = model.classify(support, query)
    terms = model.evaluate_batch(batch)
    np.testing.assert_allclose(
        terms["loss"],
        tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(
                batch["target"], logits, from_logits=True
            )
        ),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        terms["accuracy"], np.mean(np.argmax(logits, -1) == batch["target"])
    )


def test_embedding_sizes():
    for side, size in ((28, 64), (32, 256), (64, 1024)):
        model = few_shot.MatchingNetwork((side, side, 1))
        images = testing.random_images((side, side, 1), 1)
        assert model.embed(images).shape == (1, size)


def test_optimizers_are_the_papers():
    clipped = few_shot.MatchingNetwork(filters=4).default_optimizers()["main"]
    assert clipped.global_clipnorm == 1.0
    halved = few_shot.PrototypicalNetwork(filters=4, halve_every=10)
    optimizer = halved.default_optimizers()["main"]
    optimizer.build(halved.trainable_variables)
    for step, rate in ((0, 1e-3), (9, 1e-3), (10, 5e-4), (25, 2.5e-4)):
        optimizer.iterations.assign(step)
        np.testing.assert_allclose(float(optimizer.learning_rate), rate)
    with pytest.raises(ValueError, match="halve_every must be at least 1"):
        few_shot.PrototypicalNetwork(filters=4, halve_every=0)


@pytest.mark.parametrize(
    "network", [few_shot.MatchingNetwork, few_shot.PrototypicalNetwork]
)
def test_it_learns_bars_from_squares(network):
    model = network(filters=8, learning_rate=5e-3)
    model.compile()
    rng = np.random.default_rng(0)
    # Two classes: an upright bar or a lying one, anywhere, in noise.
    upright = np.zeros((32, 32, 1), np.float32)
    upright[:, :6] = 1.0
    bars = np.stack([upright, upright.transpose(1, 0, 2)])

    def images(classes):
        shifts = rng.integers(0, 32, len(classes))
        rows = [
            np.roll(bars[c], (s, s), (0, 1))
            for c, s in zip(classes, shifts, strict=True)
        ]
        noisy = np.stack(rows) + 0.2 * rng.random((len(rows), 32, 32, 1))
        return np.clip(noisy, 0, 1).astype(np.float32)

    def batch():
        target = rng.integers(0, 2, (4, 3)).astype(np.int32)
        support = images(np.tile([0, 1], 4))
        return {
            "support": support.reshape(4, 2, 1, 32, 32, 1),
            "query": images(target.ravel()).reshape(4, 3, 32, 32, 1),
            "target": target,
        }

    step = tf.function(model.train_step, jit_compile=False)
    for _ in range(40):
        step(batch())
    hits = [
        float(model.objective(batch(), training=True)["accuracy"])
        for _ in range(5)
    ]
    assert np.mean(hits) > 0.8
