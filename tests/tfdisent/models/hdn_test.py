"""HDN: what recombination draws, what each loss reaches, exact resume."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent import networks
from tfdisent import testing
from tfdisent.models.hdn import HDN

CELEB_A = (2, 2, 2, 3, 3, 3, 3)
RATE = 0.01


def tiny(**arguments):
    return testing.tiny_model("hdn", **{"mirror": False, **arguments})


@pytest.fixture
def shallow(monkeypatch):
    """One residual block in the place of three: quicker to trace."""
    monkeypatch.setattr(networks, "HDN_BLOCKS", 1)


def batch_of(model, count=6, seed=0):
    batch = testing.random_batch(model, count, seed)
    return {name: tf.constant(value) for name, value in batch.items()}


@pytest.mark.parametrize(
    ("side", "channels", "content", "style_sides"),
    [(28, 1, (7, 7, 128), None), (128, 3, (32, 32, 256), [128, 64, 32, 16, 8])],
)
def test_the_papers_two_forms(side, channels, content, style_sides):
    model = HDN(image_shape=(side, side, channels))
    assert model.parts == {"root": content, "level2": (8,), "level3": (8,)}
    assert model.units == {name: (name,) for name in model.parts}
    shape, sides = (None, side, side, channels), []
    for block in model.style_encoder.blocks:
        shape = block.compute_output_shape(shape)
        if type(block).__name__ == "ReflectConv2D":
            sides.append(shape[1])
    assert sides == (style_sides or [28, 14, 7])
    assert len(model.critics) == (3 if side == 128 else 1)
    # A.1.1 and MUNIT's MLP: 3 blocks, 2 normalisations, scale and shift.
    widths = [block.units for block in model.decoder.mlp.blocks]
    assert widths == [content[-1], content[-1], 12 * content[-1]]
    shape, sides = (None, side, side, channels), []
    for block in model.critics[0].trunk.blocks:
        shape = block.compute_output_shape(shape)
        sides.append(shape[1:])
    filters = content[-1] // 4
    assert sides[::2] == [
        (s, s, filters * 2**n)
        for n, s in enumerate([14, 7, 3, 1] if side == 28 else [64, 32, 16, 8])
    ] + [sides[-1]]


def test_sizes_between_and_options_are_checked():
    for side in (32, 60, 64, 96):
        assert HDN(image_shape=(side, side, 3), filters=2).parts["root"] == (
            side // 4,
            side // 4,
            8,
        )
    with pytest.raises(ValueError, match="HDN takes images of 16x16 or"):
        HDN(image_shape=(30, 30, 1))
    with pytest.raises(ValueError, match="a critic needs 16"):
        tiny(scales=2)
    with pytest.raises(ValueError, match="feature_recon must be one of"):
        tiny(feature_recon="mine")


def test_recombination_takes_codes_with_their_categories():
    model = tiny(tree=CELEB_A)
    rows = 400
    # Row i's code says i, at every level.
    styles = tf.tile(tf.range(rows, dtype=tf.float32)[:, None, None], [1, 3, 3])
    leaves = np.random.default_rng(0).integers(0, 12, rows)
    nodes = tf.constant(model.paths[leaves])
    mixed, mixed_nodes = model.recombine(styles, nodes, 1)
    donors = mixed.numpy()[..., 0].astype(int)
    np.testing.assert_array_equal(mixed[..., 0], mixed[..., 2])
    for level in range(3):
        np.testing.assert_array_equal(
            mixed_nodes[:, level], nodes.numpy()[donors[:, level], level]
        )
    own = donors == np.arange(rows)[:, None]
    # Bernoulli(1/2), independent by row and level, 4 standard deviations.
    np.testing.assert_allclose(own.mean(axis=0), 0.5, atol=4 * 0.5 / 20)
    both = np.mean(own[:, 0] & own[:, 1])
    assert both == pytest.approx(0.25, abs=4 * 0.43 / 20)
    # One partner a row, whichever levels it gives.
    for row in range(rows):
        assert len(set(donors[row][~own[row]])) <= 1
    np.testing.assert_array_equal(model.recombine(styles, nodes, 1)[0], mixed)
    assert np.any(model.recombine(styles, nodes, 2)[0] != mixed)
    model.step.assign_add(1)
    assert np.any(model.recombine(styles, nodes, 1)[0] != mixed)


def expected_losses(model, batch):
    """(7) and (8) written out; a dict of scalars."""
    image = 2 * batch["image"] - 1
    nodes = tf.gather(model.paths, batch["label"])
    content = model.content_encoder(image)
    styles = model.style_encoder(image)

    def cross_entropy(images, nodes):
        logits = model.classify((images + 1) / 2)
        total = 0.0
        for level, parents in enumerate(model.parents):
            for row, node in enumerate(nodes[:, level].numpy()):
                among = np.flatnonzero(parents == parents[node])
                for scale in range(len(model.critics)):
                    local = tf.nn.log_softmax(
                        tf.gather(logits[level][scale, row], among)
                    )
                    total -= local[list(among).index(node)]
        return total / len(nodes)

    def away_from(target, images):
        maps = model._criticise(images)[0]
        return sum(tf.reduce_mean((target - score) ** 2) for score in maps)

    mixed, mixed_nodes = model.recombine(styles, nodes, 2)
    generated = model.decoder(content, mixed)
    classification = cross_entropy(generated, mixed_nodes)
    adversarial = away_from(1, generated)
    image_recon = tf.reduce_mean(abs(model.decoder(content, styles) - image))
    feature_recon = tf.reduce_mean(
        abs(model.content_encoder(generated) - content)
    ) + tf.reduce_mean(abs(model.style_encoder(generated) - mixed))
    critic_styles, _ = model.recombine(styles, nodes, 1)
    fake = tf.stop_gradient(model.decoder(content, critic_styles))
    return {
        "loss": classification + adversarial + 10 * image_recon + feature_recon,
        "classification": classification,
        "adversarial": adversarial,
        "image_recon": image_recon,
        "feature_recon": feature_recon,
        "critic": away_from(1, image) + away_from(0, fake),
        "critic_classification": cross_entropy(image, nodes),
    }


def test_each_update_is_the_gradient_of_its_own_loss():
    model = tiny(weight_decay=0.5)
    # Deviations of .02 make critics of four filters blind.
    for variable in model.variables_of("critic"):
        variable.assign(
            tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.1)
        )
    batch = batch_of(model)
    rates = {"main": 0.0, "critic": RATE}
    model.compile({n: keras.optimizers.SGD(r) for n, r in rates.items()})
    critic, main = model.variables_of("critic"), model.variables_of("main")
    owned = {id(v) for v in critic} | {id(v) for v in main}
    assert owned == {id(v) for v in model.trainable_variables}
    assert len(critic) + len(main) == len(model.trainable_variables)

    with tf.GradientTape() as tape:
        wanted = expected_losses(model, batch)
        loss = wanted["critic"] + wanted["critic_classification"]
    gradients = tape.gradient(loss, critic)
    before = [v.numpy() for v in critic]
    kept = [v.numpy() for v in main]
    reports = model.update(batch)
    for name in ("critic", "critic_classification"):
        np.testing.assert_allclose(reports[name], wanted[name], rtol=1e-4)
    for variable, old, gradient in zip(critic, before, gradients, strict=True):
        np.testing.assert_allclose(
            variable.numpy(),
            old - RATE * (gradient + 0.5 * old),
            atol=1e-4 * RATE * np.abs(gradient).max() + 1e-6,
        )
    # The critics' step leaves encoders and decoder alone.
    for variable, old in zip(main, kept, strict=True):
        np.testing.assert_array_equal(variable, old)

    # The critics' half is done; now the other one, with critics that stay.
    model.compile({n: keras.optimizers.SGD(RATE - r) for n, r in rates.items()})
    with tf.GradientTape() as tape:
        wanted = expected_losses(model, batch)
    gradients = tape.gradient(wanted["loss"], main)
    kept = [v.numpy() for v in critic]
    before = [v.numpy() for v in main]
    reports = model.update(batch)
    for name, value in wanted.items():
        np.testing.assert_allclose(reports[name], value, rtol=1e-4)
    for variable, old, gradient in zip(main, before, gradients, strict=True):
        np.testing.assert_allclose(
            variable.numpy(),
            old - RATE * (gradient + 0.5 * old),
            atol=1e-3 * RATE * np.abs(gradient).max() + 1e-6,
        )
    for variable, old in zip(critic, kept, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_losses_of_three_scales(shallow):
    model = tiny(image_shape=(64, 64, 1), scales=3, filters=2)
    assert len(model.critics) == 3
    model.compile({n: keras.optimizers.SGD(0.0) for n in ("main", "critic")})
    batch = batch_of(model, 2)
    wanted = expected_losses(model, batch)
    reports = model.update(batch)
    for name, value in wanted.items():
        np.testing.assert_allclose(reports[name], value, rtol=1e-4)


@pytest.mark.parametrize("feature_recon", ["recombined", "own"])
def test_evaluated_features_are_those_of_training(feature_recon, shallow):
    model = tiny(feature_recon=feature_recon)
    batch = batch_of(model)
    content, styles = model._encode(2 * batch["image"] - 1)
    if feature_recon == "recombined":
        styles = styles[::-1]
    again = model._encode(model.decoder(content, styles))
    wanted = np.mean(abs(again[0] - content)) + np.mean(abs(again[1] - styles))
    found = model.evaluate_batch(batch)["feature_recon"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_own_features_and_total_variation(shallow):
    """What the options add to the loss, written out."""
    model = tiny(feature_recon="own", w_tv=0.5, beta=2.0)
    batch = batch_of(model)
    image = 2 * batch["image"] - 1
    nodes = tf.gather(model.paths, batch["label"])
    content, styles = model._encode(image)
    loss, reports = model._main_losses(image, content, styles, nodes)
    restored = model.decoder(content, styles)
    own = np.mean(abs(model.content_encoder(restored) - content))
    own += np.mean(abs(model.style_encoder(restored) - styles))
    np.testing.assert_allclose(reports["feature_recon"], own, rtol=1e-4)
    mixed, _ = model.recombine(styles, nodes, 2)
    generated = model.decoder(content, mixed).numpy()
    variation = np.mean(abs(np.diff(generated, axis=1)))
    variation += np.mean(abs(np.diff(generated, axis=2)))
    rest = reports["classification"] + reports["adversarial"]
    rest += 10 * reports["image_recon"] + 2 * own
    np.testing.assert_allclose(loss, rest + 0.5 * variation, rtol=1e-5)


def test_half_of_the_training_images_are_mirrored(monkeypatch):
    class SeenError(Exception):
        pass

    def seen(image):
        raise SeenError(image.numpy())

    def encoded(mirror):
        model = tiny(mirror=mirror)
        given = batch_of(model, 32)
        monkeypatch.setattr(model, "_encode", seen)
        with pytest.raises(SeenError) as caught:
            model.update(given)
        (found,) = caught.value.args
        return 2 * given["image"].numpy() - 1, found

    image, found = encoded(True)
    same = np.all(found == image, axis=(1, 2, 3))
    turned = np.all(found == image[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(same ^ turned)
    # 4 standard deviations.
    assert abs(turned.sum() - 16) < 4 * np.sqrt(8)
    image, found = encoded(False)
    np.testing.assert_array_equal(found, image)


def test_no_exchange_gives_the_reconstruction():
    """With every code its own, I^g is I^r: one code, one image."""
    model = tiny()
    image = testing.random_images(model.image_shape)
    parts = model.encode(image)
    np.testing.assert_array_equal(
        model.swap(image, image[::-1], np.zeros((4, 3), np.float32)),
        model.decode(**parts),
    )
    # A level's code comes from the target and nothing else does.
    swapped = model.swap(
        image, image[::-1], np.tile(np.float32([0, 0, 1]), (4, 1))
    )
    parts["level3"] = parts["level3"][::-1]
    np.testing.assert_allclose(swapped, model.decode(**parts), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"feature_recon": "own"},
        {"w_tv": 0.5},
        {"w_disent_cls": 0.5, "w_disent_ent": 0.25},
        {"mirror": True},
        {"style_layers": "strided"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_change_the_loss(options, shallow):
    plain, model = tiny(), tiny(**options)
    batch = batch_of(model)
    if "style_layers" not in options:
        for old, new in zip(plain.variables, model.variables, strict=False):
            new.assign(old)
    first, second = (
        m._main_losses(
            2 * batch["image"] - 1,
            *m._encode(2 * batch["image"] - 1),
            tf.gather(m.paths, batch["label"]),
        )
        for m in (plain, model)
    )
    if "mirror" not in options:
        assert abs(float(first[0] - second[0])) > 1e-4
    model.compile()
    reports = model.train_step(batch)
    assert np.isfinite(float(reports["loss"]))


def test_feature_losses_in_closed_form():
    """Blind linear classifiers: log of the siblings, and its negative."""
    model = tiny(w_disent_cls=1.0)
    for classifier in model.style_classifiers:
        classifier.kernel.assign(tf.zeros_like(classifier.kernel))
    styles = tf.ones([1, 2, 3])
    nodes = tf.constant(model.paths[:1])
    certain = model._feature_losses(styles, nodes)
    np.testing.assert_allclose(certain, np.log(2) + np.log(3), rtol=1e-6)
    model.w_disent_cls, model.w_disent_ent = 0.0, 1.0
    # What reads other levels is as wrong as they are unsure.
    unsure = model._feature_losses(styles, nodes)
    np.testing.assert_allclose(unsure, 0, atol=1e-6)


def test_codes_not_classifiers_make_other_levels_unsure():
    model = tiny(w_disent_ent=1.0)
    rng = np.random.default_rng(0)
    styles = tf.constant(rng.normal(size=(4, 2, 3)), tf.float32)
    nodes = tf.constant(model.paths[:4])
    second, third = model.style_classifiers

    def gradients():
        kernels = [second.kernel.value, third.kernel.value]
        with tf.GradientTape() as tape:
            tape.watch([styles, *kernels])
            loss = model._feature_losses(styles, nodes)
        return tape.gradient(loss, [styles, *kernels])

    of_styles, *of_kernels = gradients()
    both = 0
    for level, (reader, found) in enumerate(
        zip((second, third), of_kernels, strict=True)
    ):
        truth = nodes[:, level], model.parents[level]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([styles, reader.kernel.value])
            alone = styles * tf.one_hot(1 - level, 2)[:, None]
            read = reader(tf.reshape(alone, [4, 6]))
            wrong = tf.reduce_mean(losses.local_cross_entropy(read, *truth))
            sure = -tf.reduce_mean(losses.local_entropy(read, *truth))
        # Readers learn to tell; codes, and they alone, to hide.
        expected = tape.gradient(wrong, reader.kernel.value)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        both += tape.gradient(sure, styles)
    np.testing.assert_allclose(of_styles, both, atol=1e-6)
    assert np.all(np.any(of_styles != 0, axis=(0, 2)))


@pytest.mark.parametrize(
    ("options", "halvings"),
    [
        ({"halve_every": 10}, [0, 0, 1, 1, 2, 2]),
        ({"schedule_steps": 30}, [0, 0, 1, 1, 2, 2]),
        ({"schedule_steps": 60, "halve_every": 10}, [0, 0, 1, 1, 2, 2]),
        ({"schedule_steps": 60}, [0, 0, 0, 0, 1, 2]),
        ({}, [0] * 6),
    ],
)
def test_learning_rate_halves_twice_and_stays(options, halvings):
    model = tiny(**options)
    model.compile()
    rates = []
    for step in (0, 10, 11, 20, 21, 1000):
        model.optimizer_of["main"].iterations.assign(step)
        rates.append(float(model.optimizer_of["main"].learning_rate))
    np.testing.assert_allclose(rates, 1e-4 * 0.5 ** np.array(halvings))


def test_two_replicas_train_as_one(mirrored, shallow):
    from tfdisent.data import ArraySplit
    from tfdisent.data import pipeline

    arguments = {"mirror": True, "weight_decay": 0.01}
    rng = np.random.default_rng(0)
    images = rng.random((24, 16, 16, 1), np.float32)
    split = ArraySplit(images, rng.integers(0, 5, 24))

    def trained(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            model = tiny(**arguments)
            model.compile(
                {n: keras.optimizers.SGD(1e-2) for n in ("main", "critic")}
            )
        batches = strategy.distribute_datasets_from_function(
            lambda context: pipeline.batches(
                split, 8, (16, 16, 1), 0, 0, context
            )
        )
        step = tf.function(
            lambda batch: strategy.run(model.train_step, args=(batch,)),
            jit_compile=False,
        )
        iterator = iter(batches)
        for _ in range(2):
            step(next(iterator))
        return [v.numpy() for v in model.trainable_variables]

    single = trained(tf.distribute.OneDeviceStrategy("/cpu:0"))
    for one, two in zip(single, trained(mirrored), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5)


def test_bfloat16_keeps_codes_and_images_float32(shallow):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny(image_shape=(64, 64, 3), scales=3, filters=2)
        model.compile()
        batch = batch_of(model, 2)
        reports = model.train_step(batch)
        parts = model.encode(batch["image"])
        image = model.decode(**parts)
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(np.isfinite(float(v)) for v in reports.values())
    assert {p.dtype for p in parts.values()} == {tf.float32}
    assert image.dtype == tf.float32
    # The styles are sums of float32, not rounded to 8 bits.
    codes = parts["level2"].numpy()
    assert np.any(codes != tf.cast(tf.cast(codes, tf.bfloat16), tf.float32))
    reference = tiny(image_shape=(64, 64, 3), scales=3, filters=2)
    reference.set_weights(model.get_weights())
    np.testing.assert_allclose(
        reference.encode(batch["image"])["level2"], codes, atol=0.1
    )


def test_scales_are_summed():
    model = tiny(image_shape=(64, 64, 1), scales=3, filters=2)
    images = tf.constant(testing.random_images((64, 64, 1), 2))
    maps, logits = model._criticise(2 * images - 1)
    assert [m.shape[1] for m in maps] == [4, 2, 1]
    assert [tuple(level.shape) for level in logits] == [(3, 2, 2), (3, 2, 5)]
    nodes = tf.constant(model.paths[[0, 4]])
    total = sum(
        tf.reduce_mean(
            losses.local_cross_entropy(
                logits[level][scale], nodes[:, level], model.parents[level]
            )
        )
        for level in range(2)
        for scale in range(3)
    )
    np.testing.assert_allclose(
        model._classification(logits, nodes), total, rtol=1e-6
    )
