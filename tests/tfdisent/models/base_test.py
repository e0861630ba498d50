import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import testing
from tfdisent.models import base
from tfdisent.models import few_shot

MODELS = (
    "autoencoder",
    "beta_vae",
    "factor_vae",
    "beta_tcvae",
    "vlae",
    "pro_vlae",
    "jacobian_vae",
    "cascade_vae",
    "cascade_infogan",
    "infogan",
    "ali",
    "fden",
    "matching",
    "prototypical",
)
NETWORKS = {
    "matching": few_shot.MatchingNetwork,
    "prototypical": few_shot.PrototypicalNetwork,
}


class Toy(base.PartsModel):
    """Two parts, three units, two optimizers; every number by hand."""

    tracked = ("loss", "size")

    def __init__(self, image_shape=(2, 2, 1), seed=0, **kwargs):
        super().__init__(image_shape, seed, **kwargs)
        self.first = self.add_weight(shape=(), initializer="ones", name="a")
        self.second = self.add_weight(shape=(), initializer="ones", name="b")
        self.built = True

    parts = {"map": (2, 1), "code": (3,)}
    units = {
        "map": ("map",),
        "odd": ("code[1]",),
        "even": ("code[0]", "code[2]"),
    }

    def default_optimizers(self):
        return {
            "main": keras.optimizers.SGD(0.1),
            "other": keras.optimizers.SGD(0.5),
        }

    def variables_of(self, name):
        return [self.first if name == "main" else self.second]

    def update(self, batch):
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean(batch["image"]) * self.first.value
            own = self.scaled(loss)
            others = self.scaled(3.0 * self.second.value, "other")
        self.descend(tape.gradient(own, self.variables_of("main")))
        self.descend(tape.gradient(others, self.variables_of("other")), "other")
        return {"loss": loss, "size": tf.reduce_mean(batch["image"])}

    def evaluate_batch(self, batch):
        return {"size": tf.reduce_mean(batch["image"])}


def make(name, **arguments):
    """A tiny model by name, few-shot networks among them."""
    if name in NETWORKS:
        return NETWORKS[name](filters=4, **arguments)
    return testing.tiny_model(name, **arguments)


def assert_same_state(model, other):
    """Weights, optimizers and noise are all that the next step depends on."""
    pairs = [(model.weights, other.weights)]
    for name, optimizer in model.optimizer_of.items():
        pairs.append((optimizer.variables, other.optimizer_of[name].variables))
    for ours, theirs in pairs:
        assert ours
        for one, two in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy())
    np.testing.assert_array_equal(model.noise_seed(3), other.noise_seed(3))


# ---- optimizers, step, trackers ---------------------------------------------


def test_every_optimizer_updates_its_own_variables():
    model = Toy()
    model.compile()
    model.train_step(np.full((4, 2, 2, 1), 0.5, np.float32))
    np.testing.assert_allclose(model.first, 1 - 0.1 * 0.5)
    np.testing.assert_allclose(model.second, 1 - 0.5 * 3)
    assert int(model.step.numpy()) == 1


def test_compile_builds_every_optimizer_and_replaces_by_name():
    model = Toy()
    model.compile({"other": keras.optimizers.SGD(1.0)})
    assert all(o.built for o in model.optimizer_of.values())
    assert list(model.optimizer_of) == ["main", "other"]
    assert model.optimizer is model.optimizer_of["main"]
    model.train_step(np.zeros((4, 2, 2, 1), np.float32))
    np.testing.assert_allclose(model.second, -2.0)


def test_compile_refuses_an_unknown_optimizer():
    with pytest.raises(ValueError, match=r"unknown names \['critic'\].*main"):
        Toy().compile({"critic": keras.optimizers.SGD()})


def test_trackers_weigh_batches_by_size():
    model = Toy()
    model.compile()
    images = np.zeros((5, 2, 2, 1), np.float32)
    images[4] = 1.0
    model.train_step(images[:4])
    logs = model.train_step(images[4:])
    np.testing.assert_allclose(logs["size"], 1 / 5)
    history = model.evaluate(images, batch_size=4, return_dict=True, verbose=0)
    np.testing.assert_allclose(history["size"], 1 / 5)


def test_batches_come_as_dicts_arrays_and_pairs():
    model = Toy()
    images = np.full((3, 2, 2, 1), 51, np.uint8)
    for data in (images, (images,), {"image": images}):
        image = model.as_batch(data)["image"]
        assert image.dtype == tf.float32
        np.testing.assert_allclose(image, 0.2)
    pair = model.as_batch((images, np.arange(3)))
    np.testing.assert_array_equal(pair["label"], [0, 1, 2])
    with pytest.raises(ValueError, match=r"\(2, 2, 1\), received \(4, 4, 1\)"):
        model.as_batch(np.zeros((3, 4, 4, 1), np.float32))


def test_noise_follows_seed_step_and_salt():
    model = Toy(seed=5)
    seeds = [model.noise_seed(0), model.noise_seed(1)]
    model.step.assign_add(1)
    seeds += [model.noise_seed(0), Toy(seed=6).noise_seed(0)]
    assert len({tuple(s.numpy()) for s in seeds}) == 4
    model.step.assign(0)
    np.testing.assert_array_equal(model.noise_seed(0), seeds[0])


def test_an_overflow_on_one_replica_is_skipped_on_all(mirrored):
    with mirrored.scope():
        model = Toy()
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        model.compile({"main": scaled})

    @tf.function(jit_compile=False)
    def step(images):
        mirrored.run(model.train_step, args=(images,))

    for bad in (0, 1):
        images = mirrored.experimental_distribute_values_from_function(
            lambda context, bad=bad: tf.fill(
                [1, 2, 2, 1],
                np.inf if context.replica_id_in_sync_group == bad else 0.5,
            )
        )
        step(images)
        assert float(model.first.numpy()) == 1.0
    step(tf.fill([1, 2, 2, 1], 0.5))
    np.testing.assert_allclose(model.first.numpy(), 1 - 0.1 * 0.5, rtol=1e-6)
    assert int(model.step.numpy()) == 3


# ---- parts and units --------------------------------------------------------


def test_mix_takes_units_and_interpolates_between():
    model = Toy()
    source = {"map": np.zeros((2, 2, 1)), "code": np.zeros((2, 3))}
    target = {"map": np.ones((2, 2, 1)), "code": np.ones((2, 3))}
    source, target = (
        {k: tf.constant(v, tf.float32) for k, v in d.items()}
        for d in (source, target)
    )
    mixed = model.mix(source, target, [[0.0, 1.0, 0.25], [1.0, 0.0, 0.5]])
    np.testing.assert_array_equal(
        mixed["code"], [[0.25, 1.0, 0.25], [0.5, 0.0, 0.5]]
    )
    np.testing.assert_array_equal(mixed["map"][:, :, 0], [[0, 0], [1, 1]])


@pytest.mark.parametrize("shape", [(1, 2), (1, 4), (3,)])
def test_mix_wants_a_number_for_each_unit(shape):
    parts = {"map": tf.zeros([1, 2, 1]), "code": tf.zeros([1, 3])}
    message = (
        rf"\[B, 3\].* map, odd, even. Received shape {re.escape(str(shape))}"
    )
    with pytest.raises(ValueError, match=message):
        Toy().mix(parts, parts, np.zeros(shape, np.float32))


def test_units_must_cover_every_entry(monkeypatch):
    monkeypatch.setattr(Toy, "units", {"odd": ("code[1]",)})
    with pytest.raises(ValueError, match=r"\['map', 'code'\]"):
        Toy().unit_of_entry()


def test_image_sides_are_checked():
    message = r"32x32 or 64x64. Received: image_shape=\(28, 28, 1\)"
    with pytest.raises(ValueError, match=message):
        testing.tiny_model("autoencoder", image_shape=(28, 28, 1))
    with pytest.raises(ValueError, match=r"\(32, 64, 1\)"):
        testing.tiny_model("beta_vae", image_shape=(32, 64, 1))


# ---- every model ------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_fit_takes_arrays_and_a_smaller_last_batch(name, narrow_ali):
    model = make(name)
    model.compile()
    data = testing.random_batch(model, 5)
    if not model.needs & {"episodes", "label"}:
        data = data["image"]
    history = model.fit(data, batch_size=4, epochs=1, verbose=0).history
    assert all(np.isfinite(v).all() for v in history.values())
    assert set(history) == set(model.tracked)
    assert int(model.step.numpy()) == 2


@pytest.mark.parametrize("name", [*MODELS, "class_vae", "cvae", "hdn"])
def test_no_two_weights_start_alike(name, narrow_ali):
    """One seeded initializer gives all kernels of a shape the same numbers."""
    weights = [v.numpy() for v in make(name).trainable_variables]
    random = [w.tobytes() for w in weights if np.ptp(w) > 0]
    assert len(random) > 1
    assert len(set(random)) == len(random)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision_trains(name, precision, narrow_ali):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = make(name)
        model.compile()
    finally:
        keras.config.set_dtype_policy(before)
    scaled = [
        isinstance(o, keras.optimizers.LossScaleOptimizer)
        for o in model.optimizer_of.values()
    ]
    assert all(scaled) == any(scaled) == (precision == "mixed_float16")
    batch = testing.random_batch(model)
    weights = [v.numpy() for v in model.trainable_variables]

    def changed():
        now = [v.numpy() for v in model.trainable_variables]
        return not all(map(np.array_equal, weights, now))

    # The loss scale starts where some gradients overflow, and comes down.
    for _ in range(16):
        logs = model.train_step(batch)
        assert all(np.isfinite(float(v)) for v in logs.values()), logs
        if changed():
            break
    assert changed()
    assert all(v.dtype == "float32" for v in model.trainable_variables)


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_and_loaded_model_can_train_on(name, narrow_ali, tmp_path):
    model = make(name, seed=3)
    model.compile()
    batch = testing.random_batch(model)
    model.train_step(batch)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert int(restored.step.numpy()) == 1
    assert_same_state(model, restored)
    restored.train_step(batch)


def test_a_model_that_was_never_compiled_comes_back_so():
    model = make("autoencoder")
    config = keras.saving.serialize_keras_object(model)
    assert not keras.saving.deserialize_keras_object(config).optimizer_of


# ---- optimizers -------------------------------------------------------------

# Rate, beta 1 and beta 2 of every Adam: a paper's, or its code's, where there
# is one.
ADAMS = {
    "ali": {"main": (1e-4, 0.5, 0.999), "critic": (1e-4, 0.5, 0.999)},
    "autoencoder": {"main": (1e-3, 0.9, 0.999)},
    "beta_tcvae": {"main": (5e-4, 0.9, 0.999)},
    "beta_vae": {"main": (5e-4, 0.9, 0.999)},
    "cascade_infogan": {
        "generator": (1e-3, 0.5, 0.999),
        "discriminator": (2e-4, 0.5, 0.999),
        "structure_critic": (1e-4, 0.5, 0.9),
    },
    "cascade_vae": {
        "main": (1e-4, 0.9, 0.999),
        "structure_critic": (1e-4, 0.5, 0.9),
    },
    "class_vae": {
        "main": (1e-3, 0.9, 0.999),
        "classifier": (1e-3, 0.9, 0.999),
    },
    "cvae": {"main": (1e-3, 0.9, 0.999)},
    "factor_vae": {"main": (1e-4, 0.9, 0.999), "critic": (1e-4, 0.5, 0.9)},
    "fden": {"main": (1e-4, 0.5, 0.999)},
    "hdn": {"main": (1e-4, 0.5, 0.999), "critic": (1e-4, 0.5, 0.999)},
    "infogan": {
        "generator": (1e-3, 0.5, 0.999),
        "discriminator": (2e-4, 0.5, 0.999),
    },
    "jacobian_vae": {"main": (3e-4, 0.9, 0.999)},
    "pro_vlae": {"main": (5e-4, 0.9, 0.999)},
    "vlae": {"main": (5e-4, 0.9, 0.999)},
}


def test_optimizers_are_those_of_the_papers():
    found = {}
    for name in testing.TINY:
        optimizers = testing.tiny_model(name).default_optimizers()
        found[name] = {
            key: (
                pytest.approx(float(adam.learning_rate)),
                adam.beta_1,
                adam.beta_2,
            )
            for key, adam in optimizers.items()
        }
    assert found == ADAMS


# ---- one device and two -----------------------------------------------------

MIRRORED = {
    "autoencoder": {"code_noise": 0.3, "input_noise": 0.1, "code_decay": 0.1},
    "beta_vae": {},
    "factor_vae": {},
    "beta_tcvae": {"data_size": 100},
    "vlae": {},
    # Over all stages in the five steps below.
    "pro_vlae": {"schedule_steps": 5},
    "jacobian_vae": {"schedule_steps": 4},
    "cascade_vae": {"disc_input": "pair"},
    "cascade_infogan": {"norm": None},
    "infogan": {"norm": None},
    "ali": {"norm": None},
    "class_vae": {"step2_input": "both", "classifier_steps": 2},
    "cvae": {},
    "fden": {"norm": None, "dropout": 0.2},
}
# Small enough for losses that are sums over pixels.
SGD_RATE = {
    "ali": 1e-2,
    "cascade_infogan": 1e-1,
    "cascade_vae": 2e-4,
    "class_vae": 1e-5,
    "cvae": 1e-5,
    "fden": 1e-1,
}
# Weights so small that generators would stay where they are.
LARGER = {"infogan": 10.0}
STEPS = 5


def train(strategy, name, batches, sgd):
    """Losses `[STEPS, names]` of some steps, weights before and after them.

    Weights are {optimizer: list of arrays}.
    """
    with strategy.scope():
        keras.utils.set_random_seed(1)
        model = make(name, **MIRRORED[name])
        for variable in model.trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(LARGER.get(name, 1.0) * variable)
        optimizers = {
            key: keras.optimizers.SGD(SGD_RATE.get(name, 1e-4))
            for key in (model.default_optimizers() if sgd else ())
        }
        model.compile(optimizers)
    before = _weights(model)

    @tf.function(jit_compile=False)
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    replicas, losses = strategy.num_replicas_in_sync, []
    for batch in batches:

        def share(context, batch=batch):
            return {
                key: tf.split(value, replicas)[context.replica_id_in_sync_group]
                for key, value in batch.items()
            }

        step(strategy.experimental_distribute_values_from_function(share))
        losses.append(
            [float(model.trackers[n].result()) for n in model.tracked]
        )
        model.reset_metrics()
    assert int(model.step.numpy()) == STEPS
    return np.array(losses), before, _weights(model)


def _weights(model):
    return {
        name: [v.numpy() for v in model.variables_of(name)]
        for name in model.optimizer_of
    }


def _distance(ours, theirs):
    pairs = zip(ours, theirs, strict=True)
    return max(np.max(np.abs(a - b)) for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "sgd"),
    [
        *((name, True) for name in MIRRORED),
        ("autoencoder", False),
        ("fden", False),
    ],
)
def test_two_replicas_train_as_one(name, sgd, mirrored, narrow_ali):
    probe = make(name)
    batches = [testing.random_batch(probe, 4, seed) for seed in range(STEPS)]
    one, before, after = train(tf.distribute.get_strategy(), name, batches, sgd)
    two, _, mirrored_after = train(mirrored, name, batches, sgd)
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)
    if sgd:
        for optimizer, ours in after.items():
            # A part that hardly moves would agree whatever it did.
            moved = _distance(ours, before[optimizer])
            assert moved > 1e-5
            off = _distance(ours, mirrored_after[optimizer])
            assert off < min(1e-5, 0.1 * moved)
