import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent import testing

LAMBDA, BETA, GAMMA = 2.0, 3.0, 5.0


def make(**arguments):
    return testing.tiny_model("class_vae", **arguments)


@pytest.fixture
def model():
    return make(
        beta=BETA,
        gamma=GAMMA,
        class_weight=LAMBDA,
        capacity_generic=8.0,
        capacity_specific=40.0,
        ramp_steps=10,
    )


@pytest.fixture
def batch(model):
    return {k: tf.constant(v) for k, v in testing.random_batch(model).items()}


def values(model, name):
    return [v.numpy() for v in model.variables_of(name)]


def changed(before, after):
    return [
        not np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    ]


def without_spread(model):
    """Samples become means, so that sums can be done by hand."""
    for encoder in (model.encoder_generic, model.encoder_specific):
        head = encoder.head.blocks[-1]
        size = model.latent_dim
        head.kernel.assign(
            np.concatenate(
                [head.kernel.numpy()[:, :size], 0 * head.kernel[:, size:]], 1
            )
        )
        head.bias.assign([0.0] * size + [-30.0] * size)


@pytest.mark.parametrize("step", [0, 5, 10, 20])
def test_equation_4_and_the_adversary_by_hand(model, batch, step):
    without_spread(model)
    model.step.assign(step)
    scalars, _ = model.objective(batch, model.noise_seed(0))
    parts = model.encode(**batch)
    kl = {
        part: np.mean(
            np.sum(0.5 * (np.square(parts[part]) + 30.0 - 1.0), axis=-1)
        )
        for part in ("generic", "specific")
    }
    reconstruction = np.mean(
        losses.cross_entropy_per_image(batch["image"], model.logits(**parts))
    )
    logits = model.classifier(parts["generic"]).numpy()
    # BCE of sigmoids, written out.
    chance = 1 / (1 + np.exp(-logits))
    label = parts["label"].numpy()
    fooled = -np.mean(
        np.sum(label * np.log(chance) + (1 - label) * np.log(1 - chance), 1)
    )
    ramp = min(1.0, step / 10)
    expected = (
        reconstruction
        + BETA * abs(kl["generic"] - 8 * ramp)
        + GAMMA * abs(kl["specific"] - 40 * ramp)
        - LAMBDA * fooled
    )
    np.testing.assert_allclose(scalars["kl_generic"], kl["generic"], rtol=1e-4)
    np.testing.assert_allclose(
        scalars["kl_specific"], kl["specific"], rtol=1e-4
    )
    np.testing.assert_allclose(scalars["fooled"], fooled, rtol=1e-4)
    np.testing.assert_allclose(scalars["loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("step, opened", [(0, 0), (6, 0), (8, 0.2), (30, 1)])
def test_the_specific_part_can_be_shut_at_first(batch, step, opened):
    sizes = {"capacity_generic": 0.0, "capacity_specific": 40.0}
    model = make(gamma=1.0, ramp_steps=10, specific_start=6, **sizes)
    model.beta = model.class_weight = 0.0
    model.step.assign(step)
    scalars, _ = model.objective(batch, model.noise_seed(0))
    gap = abs(scalars["kl_specific"] - 40 * opened)
    np.testing.assert_allclose(
        scalars["loss"], scalars["reconstruction"] + gap, rtol=1e-6
    )


def test_capacity_zero_is_the_plain_kl(batch):
    model = make(beta=1.0, gamma=1.0, class_weight=0.0)
    model.capacity_generic = model.capacity_specific = 0.0
    scalars, _ = model.objective(batch, model.noise_seed(0))
    elbo = [scalars[n] for n in ("reconstruction", "kl_generic", "kl_specific")]
    np.testing.assert_allclose(scalars["loss"], sum(elbo), rtol=1e-6)


def test_the_variables_are_shared_out(model):
    main, own = model.variables_of("main"), model.variables_of("classifier")
    names = {id(v) for v in [*main, *own]}
    assert len(names) == len(main) + len(own)
    assert names == {id(v) for v in model.trainable_variables}
    assert {id(v) for v in own} == {
        id(v) for v in model.classifier.trainable_variables
    }


def test_step_1_fools_and_leaves_the_classifier_alone(batch):
    model = make(class_weight=1e3, classifier_learning_rate=0.0)
    model.compile()
    before, own = values(model, "main"), values(model, "classifier")
    fooled = [float(model.update(batch)["fooled"]) for _ in range(20)]
    assert fooled[-1] > fooled[0] + 0.5
    assert not any(changed(own, values(model, "classifier")))
    assert all(changed(before, values(model, "main")))


@pytest.mark.parametrize("step2_input", ["w", "z", "both"])
def test_step_2_trains_the_classifier_alone(batch, step2_input):
    model = make(
        step2_input=step2_input,
        learning_rate=0.0,
        classifier_learning_rate=1e-2,
    )
    model.compile()
    before, own = values(model, "main"), values(model, "classifier")
    reports = [float(model.update(batch)["classifier"]) for _ in range(20)]
    assert reports[-1] < reports[0] - 0.5
    assert not any(changed(before, values(model, "main")))
    assert all(changed(own, values(model, "classifier")))


def test_what_step_2_reads(model, batch):
    label = model.one_hot(batch["label"])
    codes = {
        "generic": tf.random.stateless_normal([4, 3], [1, 2]),
        "specific": tf.random.stateless_normal([4, 3], [3, 4]),
    }
    found = {}
    for name in ("w", "z", "both"):
        model.step2_input = name
        found[name] = float(model.classifier_loss(codes, label))
    for name, part in (("w", "specific"), ("z", "generic")):
        expected = losses.label_cross_entropy(
            label, model.classifier(codes[part])
        )
        np.testing.assert_allclose(found[name], np.mean(expected), rtol=1e-6)
    np.testing.assert_allclose(
        found["both"], (found["w"] + found["z"]) / 2, rtol=1e-6
    )


def gradient_of_fooling(model, batch):
    own = model.encoder_generic.trainable_variables
    with tf.GradientTape() as tape:
        scalars, _ = model.objective(batch, model.noise_seed(0))
    gradients = tape.gradient(scalars["fooled"], own)
    return sum(float(tf.reduce_sum(tf.abs(g))) for g in gradients), scalars


def test_the_adversary_has_a_gradient_from_the_first_step(model, batch):
    size, scalars = gradient_of_fooling(model, batch)
    assert size > 1e-3
    assert float(scalars["capped"]) == 0.0


def test_the_cap_bites_and_is_logged(model, batch):
    # Every class but the image's own is called certain.
    model.classifier.blocks[-1].bias.assign([50.0] * 4)
    size, scalars = gradient_of_fooling(model, batch)
    assert size == 0.0
    assert float(scalars["capped"]) == 1.0
    # Three wrong classes pay the cap, the right one next to nothing.
    np.testing.assert_allclose(scalars["fooled"], 3 * 10.0, rtol=1e-3)


def test_step_2_may_reach_the_encoders(model, batch):
    plain, _ = model.objective(batch, model.noise_seed(0))
    model.step2_train_encoder = True
    joint, posterior = model.objective(batch, model.noise_seed(0))
    codes = model.draw(posterior, model.noise_seed(0))
    added = model.classifier_loss(codes, model.one_hot(batch["label"]))
    np.testing.assert_allclose(
        joint["loss"] - plain["loss"], added, rtol=1e-3, atol=1e-4
    )


def test_the_label_reaches_the_specific_part_alone(model, batch):
    first = model.encode(batch["image"], tf.zeros(4, tf.int32))
    second = model.encode(batch["image"], tf.ones(4, tf.int32))
    np.testing.assert_array_equal(first["generic"], second["generic"])
    assert np.all(np.abs(first["specific"] - second["specific"]) > 0)
    np.testing.assert_array_equal(first["label"], [[1, 0, 0, 0]] * 4)
    codes = {k: first[k] for k in ("generic", "specific")}
    images = [model.decode(**codes, label=x["label"]) for x in (first, second)]
    assert np.mean(np.abs(images[0] - images[1])) > 1e-4


def test_calling_it_reconstructs(model, batch):
    given = (batch["image"], batch["label"])
    expected = model.decode(**model.encode(*given))
    np.testing.assert_allclose(model(given), expected, atol=1e-6)


def test_swap_takes_both_labels(model, batch):
    image = batch["image"]
    labels = tf.constant([0, 1, 2, 3]), tf.constant([3, 2, 1, 0])
    mix = tf.constant([[0.0, 1.0]] * 4)
    swapped = model.swap(image, image[::-1], mix, *labels)
    source = model.encode(image, labels[0])
    target = model.encode(image[::-1], labels[1])
    expected = model.decode(
        source["generic"], target["specific"], target["label"]
    )
    np.testing.assert_allclose(swapped, expected, atol=1e-6)


def test_the_prior_draws_every_class(model, monkeypatch):
    seen = []

    def logits(generic, specific, label):
        seen.append((generic, specific, label))
        return tf.zeros([len(label), 28, 28, 1])

    monkeypatch.setattr(model, "logits", logits)
    seeds = np.stack([np.zeros(800), np.arange(800)], 1).astype(np.int32)
    model.sample(seeds)
    generic, specific, label = (np.asarray(x) for x in seen[0])
    assert np.all(label.sum(axis=1) == 1) and set(label.ravel()) == {0, 1}
    assert np.all(np.abs(label.mean(axis=0) - 0.25) < 0.06)
    for code in (generic, specific):
        np.testing.assert_allclose(code.std(axis=0), 1, atol=0.1)


def test_networks_at_both_sizes():
    """Specs 4.3: 784-400-400-20, the label beside; convolutions at 64x64."""
    small = make(latent_dim=10, num_classes=10)
    shapes = [v.shape for v in small.encoder_specific.trainable_variables[::2]]
    assert shapes == [(794, 400), (400, 400), (400, 20)]
    shapes = [v.shape for v in small.decoder.trainable_variables[::2]]
    assert shapes == [(30, 400), (400, 400), (400, 784)]
    shapes = [v.shape for v in small.classifier.trainable_variables[::2]]
    assert shapes == [(10, 64), (64, 10)]
    large = make(image_shape=(64, 64, 3), latent_dim=10, num_classes=2)
    shapes = [v.shape for v in large.encoder_specific.trainable_variables[::2]]
    assert shapes == [
        (4, 4, 3, 32),
        *[(4, 4, 32, 32)] * 3,
        (514, 256),
        (256, 256),
        (256, 20),
    ]
    large.compile()
    batch = testing.random_batch(large, 2)
    assert np.isfinite(float(large.update(batch)["loss"]))
    assert large.decode(**large.encode(**batch)).shape == (2, 64, 64, 3)


def test_other_sizes_and_inputs_are_refused():
    with pytest.raises(ValueError, match="28x28 or 64x64"):
        make(image_shape=(32, 32, 1))
    with pytest.raises(ValueError, match="Received: y"):
        make(step2_input="y")


@pytest.mark.parametrize("decay, half_way", [(False, 1e-3), (True, 5e-4)])
def test_the_classifiers_rate_stays_when_the_others_falls(decay, half_way):
    optimizers = make(decay=decay, schedule_steps=200).default_optimizers()
    for name, rate in {"main": half_way, "classifier": 1e-3}.items():
        optimizers[name].iterations.assign(100)
        np.testing.assert_allclose(
            optimizers[name].learning_rate, rate, atol=1e-7
        )
