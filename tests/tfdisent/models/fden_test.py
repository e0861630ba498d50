import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import layers
from tfdisent import losses
from tfdisent import testing
from tfdisent.models import fden
from tfdisent.models.fden import FDEN


class Codes:
    """A backbone of eight numbers, its "images" 2x4 pixels."""

    image_shape = (2, 4, 1)
    parts = {"a": (3,), "b": (5,)}
    trainable = True

    def encode(self, image):
        flat = tf.reshape(image, [-1, 8])
        return {"a": flat[:, :3], "b": flat[:, 3:]}

    def decode(self, a, b):
        flat = tf.clip_by_value(tf.concat([a, b], axis=1), 0.0, 1.0)
        return tf.reshape(flat, [-1, 2, 4, 1])


def make(seed=0, **arguments):
    keras.utils.set_random_seed(1)
    return FDEN(Codes(), seed=seed, **arguments)


def norms(gradients):
    return [float(tf.norm(g)) for g in gradients]


# ---- gradients --------------------------------------------------------------


def test_gradients_are_those_of_the_reversal_graph():
    """With no clip active the gradient is g_u + gamma g_m, and T rises."""
    model = make(alpha=2.0, beta=0.5, gamma=0.3, dropout=0.2)
    model.compile()
    batch = testing.random_batch(model)
    reverse = layers.GradientReversal()

    def reversed_statistician(pairs, **call):
        return model.statistician(reverse(pairs), **call)

    theta = model.module_variables("disentangler")
    xi = model.module_variables("statistician")
    rest = model.module_variables("rest")
    with tf.GradientTape() as tape:
        terms = model.objective(
            batch, True, model.noise_seed(0), reversed_statistician
        )
        # The graph of (6): one loss, gamma in front of L_M.
        loss = (
            2.0 * terms["reconstruction"]
            + 0.5 * terms["alignment"]
            - 0.3 * terms["mutual_information"]
        )
    graph = tape.gradient(loss, theta + xi + rest)
    ours, useful, adversarial = model.gradients(batch)
    for name in ("reconstruction", "alignment", "mutual_information"):
        np.testing.assert_allclose(ours[name], terms[name], rtol=1e-5)
    count = len(theta)
    combined = [
        u + 0.3 * m
        for u, m in zip(useful[:count], adversarial[:count], strict=True)
    ]
    # T ascends on L_M; its step is not weighted by gamma.
    combined += [-0.3 * g for g in adversarial[count:]]
    combined += useful[count:]
    assert max(norms(adversarial[:count])) > 1e-4
    for actual, expected in zip(combined, graph, strict=True):
        # Biases before a batch normalisation have nothing but rounding.
        np.testing.assert_allclose(
            actual,
            expected,
            rtol=1e-3,
            atol=1e-4 * np.abs(expected).max() + 1e-6,
        )


def test_update_is_clipped_and_weighted_as_equation_7():
    model = make(gamma=0.5)
    model.compile({"main": keras.optimizers.SGD(1.0)})
    batch = testing.random_batch(model)
    # Batch statistics move with every pass; what they normalise does not.
    _, useful, adversarial = model.gradients(batch)
    theta = model.module_variables("disentangler")
    xi = model.module_variables("statistician")
    rest = model.module_variables("rest")
    count = len(theta)
    clipped = fden.clip_adaptively(useful[:count], adversarial[:count])
    expected = [
        u + 0.5 * a for u, a in zip(useful[:count], clipped, strict=True)
    ]
    expected += useful[count:]
    expected += [-g for g in adversarial[count:]]
    before = [v.numpy() for v in theta + rest + xi]
    reports = model.update(batch)
    for old, variable, step in zip(
        before, theta + rest + xi, expected, strict=True
    ):
        np.testing.assert_allclose(old - variable.numpy(), step, atol=2e-5)
    np.testing.assert_allclose(
        reports["mi_gradient_norm_clipped"],
        tf.linalg.global_norm(clipped),
        rtol=1e-3,
    )
    np.testing.assert_allclose(
        reports["loss"],
        reports["reconstruction"]
        + reports["alignment"]
        - 0.5 * reports["mutual_information"],
        rtol=1e-5,
    )


@pytest.mark.parametrize("role", ["statistician", "disentangler"])
def test_the_two_pull_at_mutual_information(role):
    """L_M rises after a T-only step, falls after a D-only one."""
    model = make(norm=None)
    model.compile()
    batch = testing.random_batch(model, 16)

    def information():
        return float(
            model.objective(batch, True, model.noise_seed(0))[
                "mutual_information"
            ]
        )

    # T must know something before D can take it away.
    xi = model.module_variables("statistician")
    count = len(model.module_variables("disentangler"))
    for _ in range(3):
        for variable, gradient in zip(
            xi, model.gradients(batch)[2][count:], strict=True
        ):
            variable.assign_add(0.1 * gradient)
    before = information()
    gradients = model.gradients(batch)[2]
    if role == "statistician":
        steps = zip(xi, [-g for g in gradients[count:]], strict=True)
    else:
        theta = model.module_variables("disentangler")
        steps = zip(theta, gradients[:count], strict=True)
    for variable, gradient in steps:
        variable.assign_sub(0.01 * gradient)
    change = information() - before
    assert change > 0 if role == "statistician" else change < 0


def test_each_loss_reaches_its_modules_only():
    model = make()
    batch = testing.random_batch(model)
    names = ("disentangler", "statistician", "rest")
    with tf.GradientTape(persistent=True) as tape:
        terms = model.objective(batch, True, model.noise_seed(0))
    reached = {
        term: {
            name
            for name in names
            if any(
                g is not None
                for g in tape.gradient(value, model.module_variables(name))
            )
        }
        for term, value in terms.items()
        if term != "accuracy"
    }
    assert reached == {
        "reconstruction": {"disentangler", "rest"},
        "alignment": {"disentangler", "rest"},
        "mutual_information": {"disentangler", "statistician"},
    }
    everything = [v for name in names for v in model.module_variables(name)]
    assert {id(v) for v in everything} == {
        id(v) for v in model.trainable_variables
    }


def test_clipping_norm_and_direction():
    rng = np.random.default_rng(0)
    useful = [rng.normal(size=s) for s in ((3, 4), (5,), (2,))]
    adversarial = [rng.normal(size=u.shape) for u in useful]
    adversarial[0] *= 100  # clipped
    adversarial[1] *= 0.01  # not
    useful[2] *= 0  # nothing to gain: nothing to lose either
    useful, adversarial = (
        [tf.constant(g, tf.float32) for g in gs] for gs in (useful, adversarial)
    )
    clipped = fden.clip_adaptively(useful, adversarial)
    for u, m, c in zip(useful, adversarial, clipped, strict=True):
        np.testing.assert_allclose(
            tf.norm(c), min(tf.norm(u), tf.norm(m)), rtol=1e-5
        )
        cosine = tf.reduce_sum(c * m) - tf.norm(c) * tf.norm(m)
        np.testing.assert_allclose(cosine, 0, atol=1e-2)
    np.testing.assert_array_equal(clipped[1], adversarial[1])

    whole = fden.clip_adaptively(useful, adversarial, scope="global")
    np.testing.assert_allclose(
        tf.linalg.global_norm(whole), tf.linalg.global_norm(useful), rtol=1e-5
    )
    factor = whole[0][0, 0] / adversarial[0][0, 0]
    for m, c in zip(adversarial, whole, strict=True):
        np.testing.assert_allclose(c, factor * m, rtol=1e-5)

    silent = fden.clip_adaptively(useful, [0 * m for m in adversarial])
    assert not np.any([np.any(c) for c in silent])


def test_an_overflow_of_float16_is_skipped_and_reported_as_finite():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make()
        huge = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1), initial_scale=2.0**60
        )
        model.compile({"main": huge})
    finally:
        keras.config.set_dtype_policy("float32")
    before = [v.numpy() for v in model.trainable_variables]
    reports = model.update(testing.random_batch(model))
    assert all(np.isfinite(float(value)) for value in reports.values())
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


# ---- losses -----------------------------------------------------------------


def test_objective_by_hand():
    model = make(alignment="proto")
    batch = testing.random_batch(model)
    model.adapt(3 + 2 * testing.random_images((8,), 50))
    terms = model.evaluate_batch(batch)
    support, query = (
        np.reshape(
            model.disentangle(batch[n].reshape(-1, 8))[0], batch[n].shape
        )
        for n in ("support", "query")
    )
    logits = model.classify(support, query)
    np.testing.assert_allclose(
        terms["alignment"],
        np.mean(
            keras.losses.sparse_categorical_crossentropy(
                batch["target"], logits, from_logits=True
            )
        ),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        terms["accuracy"], np.mean(np.argmax(logits, -1) == batch["target"])
    )
    z = np.concatenate([batch[n].reshape(-1, 8) for n in ("support", "query")])
    restored = model.entangle(*model.disentangle(z))
    error = (z - restored) / model.code_scale.numpy()
    np.testing.assert_allclose(
        terms["reconstruction"], np.mean(np.square(error)), rtol=1e-4
    )


def test_shuffle_is_a_permutation_of_styles_within_the_batch():
    model = make()
    batch = testing.random_batch(model)
    seen = {}

    def statistician(pairs, **call):
        seen["pairs"] = pairs.numpy().reshape(-1, 2, 16)
        return pairs[:, :1]

    terms = model.objective(batch, True, model.noise_seed(0), statistician)
    joint, product = seen["pairs"][:, 0], seen["pairs"][:, 1]
    assert len(joint) == 4 * (3 * 2 + 2)
    np.testing.assert_array_equal(joint[:, :8], product[:, :8])
    assert np.any(joint[:, 8:] != product[:, 8:])
    np.testing.assert_array_equal(
        np.sort(joint[:, 8:], axis=0), np.sort(product[:, 8:], axis=0)
    )
    np.testing.assert_allclose(
        terms["mutual_information"],
        losses.donsker_varadhan(joint[:, 0], product[:, 0]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("alignment", fden.CHOICES["alignment"])
def test_alignments(alignment):
    model = make(alignment=alignment)
    rng = np.random.default_rng(0)
    support = rng.normal(size=(2, 5, 3, 8)).astype(np.float32)
    query = rng.normal(size=(2, 4, 8)).astype(np.float32)
    logits = model.classify(support, query).numpy()
    assert logits.shape == (2, 4, 5)
    # Classes are a set: another order of them is another order of logits.
    order = [3, 1, 4, 0, 2]
    np.testing.assert_allclose(
        model.classify(support[:, order], query),
        logits[..., order],
        rtol=1e-4,
        atol=1e-5,
    )
    assert bool(model.aligner) == (alignment in ("relation", "siamese"))
    if model.aligner:
        pair = np.concatenate(
            [support[0, 1], np.repeat(query[0, 2][None], 3, axis=0)], axis=-1
        )
        np.testing.assert_allclose(
            logits[0, 2, 1], np.mean(model.aligner(pair)), rtol=1e-4, atol=1e-6
        )


def test_cosine_and_proto_heads_by_hand():
    support = np.array([[[[1.0, 0.0], [0.0, 1.0]], [[-2.0, 0.0], [0.0, 0.0]]]])
    support = np.pad(support, [(0, 0)] * 3 + [(0, 6)]).astype(np.float32)
    query = np.pad([[[3.0, 0.0]]], [(0, 0)] * 2 + [(0, 6)]).astype(np.float32)
    np.testing.assert_allclose(
        make(alignment="cosine").classify(support, query)[0, 0],
        [10 * np.sqrt(0.5), -10],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        make(alignment="proto").classify(support, query)[0, 0],
        [-(2.5**2 + 0.5**2), -16],
        rtol=1e-5,
    )


# ---- the backbone -----------------------------------------------------------


def test_the_backbone_is_frozen_bit_for_bit():
    backbone = testing.tiny_model("autoencoder")
    backbone.compile()
    backbone.train_step(testing.random_images((32, 32, 1)))
    before = [v.numpy() for v in backbone.variables]
    model = FDEN(backbone)
    model.compile()
    batch = testing.random_batch(model)
    step = tf.function(model.train_step, jit_compile=False)
    for _ in range(3):
        step(batch)
    for old, variable in zip(before, backbone.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    ours = {id(v) for v in model.trainable_variables}
    assert not ours & {id(v) for v in backbone.variables}
    assert not ours ^ {id(v) for v in model.variables_of("main")}


def test_codes_concatenate_parts_in_order_and_come_back():
    model = make()
    image = testing.random_images((2, 4, 1))
    codes = model.codes(image)
    np.testing.assert_array_equal(codes, image.reshape(4, 8))
    np.testing.assert_array_equal(model.decode_codes(codes), image)


def test_adapt_standardises_and_spares_dead_entries():
    model = make()
    data = np.random.default_rng(0).normal(5, 3, (1000, 8)).astype(np.float32)
    data[:, 2] = 7.0
    model.adapt(data)
    np.testing.assert_allclose(model.code_mean, data.mean(axis=0), rtol=1e-5)
    assert model.code_scale.numpy()[2] == 1.0
    np.testing.assert_allclose(
        model.code_scale.numpy()[3], data[:, 3].std(), rtol=1e-5
    )
    # Without gain or shift of its own, D sees standardised codes only.
    plain = make()
    plain.set_weights(model.get_weights())
    plain.adapt(np.random.default_rng(1).normal(size=(4, 8)))
    plain.code_mean.assign(np.zeros(8))
    plain.code_scale.assign(np.ones(8))
    standard = (data[:4] - data.mean(axis=0)) / model.code_scale.numpy()
    np.testing.assert_allclose(
        model.disentangle(data[:4])[0],
        plain.disentangle(standard)[0],
        atol=1e-5,
    )


@pytest.mark.parametrize("argument", list(fden.CHOICES))
def test_what_an_argument_cannot_be_is_refused(argument):
    with pytest.raises(ValueError, match=f"{argument} must.*Received: euclid"):
        make(**{argument: "euclid"})


@pytest.mark.parametrize("decay, half_way", [(False, 0.1), (True, 0.05)])
def test_the_rate_falls_where_it_is_asked_to(decay, half_way):
    model = make(learning_rate=0.1, decay=decay, schedule_steps=200)
    optimizer = model.default_optimizers()["main"]
    optimizer.iterations.assign(100)
    np.testing.assert_allclose(optimizer.learning_rate, half_way, atol=1e-7)
