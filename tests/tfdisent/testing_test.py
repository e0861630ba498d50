import numpy as np
import pytest
import tensorflow as tf

from tfdisent import models
from tfdisent import testing
from tfdisent.models import base


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_our_models_keep_the_contract(name, narrow_ali):
    testing.check_model(testing.tiny_model(name))


def test_tiny_models_are_all_of_them(narrow_ali):
    tiny = testing.tiny_models()
    assert set(tiny) == set(models.MODELS)
    assert all(isinstance(m, base.PartsModel) for m in tiny.values())


class Theirs(base.PartsModel):
    """What a user might write: two parts, a label, a prior, no posterior."""

    takes_label = True
    needs = frozenset({"label"})

    def __init__(self, image_shape=(2, 2, 1), classes=3, seed=0, **kwargs):
        super().__init__(image_shape, seed, **kwargs)
        self.classes = classes
        self.gain = self.add_weight(shape=(4,), initializer="ones", name="gain")
        self.built = True

    @property
    def parts(self):
        return {"z": (4,), "label": (self.classes,)}

    @property
    def units(self):
        return {"z[0]": ("z[0]",), "rest": ("z[1]", "z[2]", "z[3]", "label")}

    def encode(self, image, label):
        flat = tf.reshape(image, [-1, 4])
        return {"z": flat * self.gain, "label": tf.one_hot(label, self.classes)}

    def decode(self, z, label):
        shade = tf.reduce_sum(label, axis=1, keepdims=True)
        return tf.reshape(tf.sigmoid(z * shade), [-1, *self.image_shape])

    def sample(self, seed):
        count = tf.shape(seed)[0]
        z = tf.cast(tf.concat([seed, seed], axis=1), tf.float32)
        return self.decode(z, tf.one_hot(tf.zeros([count], tf.int32), 3))

    def update(self, batch):
        with tf.GradientTape() as tape:
            scalars = self.evaluate_batch(batch)
            scaled = self.scaled(scalars["loss"])
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return scalars

    def evaluate_batch(self, batch):
        image = self.decode(**self.encode(batch["image"], batch["label"]))
        error = tf.reduce_mean(tf.square(image - batch["image"]))
        return {"loss": error}

    def get_config(self):
        return {
            "image_shape": self.image_shape,
            "classes": self.classes,
            "seed": self.seed,
        }


def test_a_users_model_passes():
    testing.check_model(Theirs())
    batch = {
        "image": testing.random_images((2, 2, 1), 3),
        "label": np.array([0, 2, 2]),
    }
    testing.check_model(Theirs(), batch)


BROKEN = {
    "no parts": ({"parts": {}}, "parts is empty"),
    "a unit of nothing": (
        {"units": {"y": ("y",)}},
        r"'y' refers to 'y'; expected one of \['z', 'label'\]",
    ),
    "an index too large": (
        {"units": {"a": ("z[4]",)}},
        r"'z\[4\]' is no entry",
    ),
    "an entry twice": (
        {"units": {"a": ("z",), "b": ("z[1]",)}},
        r"'z\[1\]' is in two",
    ),
    "an entry never": (
        {"units": {"a": ("z[0]",), "b": ("label",)}},
        r"units do not cover \['z'\]",
    ),
    "parts in another order": (
        {
            "encode": lambda self, image, label: {
                "label": tf.one_hot(label, 3),
                "z": tf.reshape(image, [-1, 4]),
            }
        },
        r"encode gives \['label', 'z'\]",
    ),
    "a wrong type": (
        {
            "encode": lambda self, image, label: {
                "z": tf.reshape(image, [-1, 4]),
                "label": tf.one_hot(label, 3, dtype=tf.float64),
            }
        },
        "part 'label' is float64",
    ),
    "a random encoder": (
        {
            "encode": lambda self, image, label: {
                "z": tf.random.normal([len(image), 4]),
                "label": tf.one_hot(label, 3),
            }
        },
        "encode a second time: part 'z'",
    ),
    "a code of the batch": (
        {
            "encode": lambda self, image, label: {
                "z": tf.reshape(image - tf.reduce_mean(image), [-1, 4]),
                "label": tf.one_hot(label, 3),
            }
        },
        "encode of the first image alone",
    ),
    "an image out of range": (
        {"decode": lambda self, z, label: tf.reshape(4 * z - 2, [-1, 2, 2, 1])},
        r"decode gives pixels from -.* expected \[0, 1\]",
    ),
    "a swap the wrong way round": (
        {
            "mix": lambda self, source, target, mix: base.PartsModel.mix(
                self, target, source, mix
            )
        },
        "swap with mix 0 differs",
    ),
    "a unit that takes all": (
        {
            "mix": lambda self, source, target, mix: base.PartsModel.mix(
                self, source, target, mix[:, :1] * tf.ones([1, 2])
            )
        },
        r"only unit 'z\[0\]' from the target gives another part 'z'",
    ),
    "a swap in steps": (
        {
            "mix": lambda self, source, target, mix: base.PartsModel.mix(
                self, source, target, tf.round(mix)
            )
        },
        "mix between 0 and 1",
    ),
    "samples of the batch": (
        {
            "sample": lambda self, seed: tf.fill(
                [len(seed), 2, 2, 1], 1 / len(seed)
            )
        },
        "sample of one seed alone",
    ),
    "a report too few": (
        {"tracked": ("loss", "kl")},
        r"update reports \['loss'\], tracked has \['kl', 'loss'\]",
    ),
    "a loss that is none": (
        {
            "evaluate_batch": lambda self, batch: {
                "loss": tf.reduce_sum(self.gain) * float("nan")
            }
        },
        "'loss' is nan",
    ),
    "nothing learned": (
        {"update": lambda self, batch: {"loss": tf.constant(0.0)}},
        "train_step changes no weight",
    ),
    "a step of its own": (
        {"test_step": lambda self, data: self.step.assign_add(1)},
        "test_step raises",
    ),
    "a forgotten argument": (
        {"get_config": lambda self: {"image_shape": (2, 2, 1), "seed": 0}},
        r"get_config forgets \['classes'\]",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_it_finds(case):
    changes, message = BROKEN[case]
    broken = type("Broken", (Theirs,), changes)
    with pytest.raises(AssertionError, match=message):
        testing.check_model(broken())


def test_a_posterior_that_disagrees(narrow_ali):
    model = testing.tiny_model("beta_vae")
    encode = model.encode
    model.encode = lambda image: {"z": encode(image)["z"] + 1}
    with pytest.raises(AssertionError, match="the mean of posterior 'z'"):
        testing.check_model(model)


def test_needs_that_cannot_be_made_up():
    hierarchical = type("H", (Theirs,), {"needs": frozenset({"hierarchy"})})
    with pytest.raises(ValueError, match="give check_model a batch"):
        testing.check_model(hierarchical())


def test_random_batches():
    images = testing.random_batch(testing.tiny_model("autoencoder"), 3)["image"]
    assert images.shape == (3, 32, 32, 1)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    np.testing.assert_array_equal(images, testing.random_images((32, 32, 1), 3))
    episodes = testing.random_batch(testing.tiny_model("fden"), 2)
    assert episodes["support"].shape == (2, 3, 2, 8)
    assert episodes["query"].shape == (2, 2, 8)
    assert set(np.unique(episodes["target"])) <= {0, 1, 2}


def test_a_model_without_a_file_form_is_not_asked_for_one():
    def refuse(self):
        raise ValueError("lives in its run directory only")

    testing.check_model(type("NoFile", (Theirs,), {"get_config": refuse})())


def test_a_likelihood_of_another_shape_or_without_a_posterior(narrow_ali):
    model = testing.tiny_model("beta_vae")
    model.log_likelihood = lambda image, z: tf.zeros_like(z)
    with pytest.raises(AssertionError, match=r"log_likelihood is .*\(4, 4\)"):
        testing.check_model(model)
    model = testing.tiny_model("autoencoder")
    model.log_likelihood = lambda image, z: tf.zeros(len(image))
    with pytest.raises(AssertionError, match="without a posterior"):
        testing.check_model(model)
