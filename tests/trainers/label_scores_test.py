import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import data
from tfdisent import distributions
from tfdisent import testing
from tfdisent.data.base import ArraySplit
from tfdisent.models import base
from trainers import config as configuration
from trainers import evaluate
from trainers import label_scores
from trainers import train

CLASSES = 4


class Leaky(base.PartsModel):
    """`seen` is the image's brightness, `told` nothing but the label."""

    takes_label = True
    parts = {"seen": (1,), "told": (CLASSES,), "label": (CLASSES,)}
    units = {"seen": ("seen",), "class": ("told", "label")}

    def __init__(self, log_scale=-9.0):
        super().__init__((4, 4, 1))
        self.log_scale = log_scale
        self.built = True

    def posterior(self, image, label):
        seen = tf.reduce_mean(image, axis=[1, 2])
        told = tf.one_hot(label, CLASSES)
        return {
            "seen": distributions.diagonal_normal(4 * seen, seen * 0 - 9),
            "told": distributions.diagonal_normal(
                told, told * 0 + self.log_scale
            ),
        }

    def encode(self, image, label):
        codes = {n: q.mean() for n, q in self.posterior(image, label).items()}
        return codes | {"label": tf.one_hot(label, CLASSES)}

    def decode(self, seen, told, label):
        del told
        rows = 0.1 * tf.einsum("bn,hn->bh", label, tf.eye(4))
        image = seen[:, :, None] / 4 * tf.ones([1, 4, 4]) + rows[:, :, None]
        return image[..., None]


def split(count, seed):
    """Images whose brightness is their class, more or less."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    shades = (labels + 0.5) / CLASSES + rng.uniform(-0.05, 0.05, count)
    images = np.zeros((count, 4, 4, 1)) + shades[:, None, None, None]
    return ArraySplit(images.astype(np.float32), labels)


def test_parts_are_drawn_with_noise_of_their_own():
    model, images = testing.tiny_model("class_vae"), np.zeros((6, 28, 28, 1))
    label = tf.range(6) % model.num_classes
    image = tf.constant(images, tf.float32)
    drawn = label_scores._drawing(model)(image, label, tf.constant([3, 1]))
    posterior = model.posterior(image, label)
    generic, specific = (
        (drawn[part] - q.mean()) / q.stddev() for part, q in posterior.items()
    )
    assert np.abs(generic - specific).max() > 0.1


def test_a_leak_of_the_label_is_told_from_what_the_image_says():
    found = label_scores.class_probe(
        Leaky(), CLASSES, split(4000, 1), split(800, 2)
    )
    accuracy = found["accuracy"]
    assert set(accuracy) == {
        "seen",
        "told",
        "told, random label",
        "told, the random label itself",
        "told, averaged over labels",
    }
    assert accuracy["seen"] > 0.95
    # The paper's protocol would call it a perfect code of the image.
    assert accuracy["told"] > 0.99
    assert accuracy["told, the random label itself"] > 0.99
    for row in ("told, random label", "told, averaged over labels"):
        assert accuracy[row] < 0.35
    assert found["chance"] == 0.25
    assert 0.25 <= found["commonest"] < 0.32
    assert found["images"] == [4000, 800]


def test_an_average_over_labels_has_the_noise_of_one_draw():
    model = Leaky(log_scale=0.0)
    images = ArraySplit(np.zeros((2000, 4, 4, 1), np.float32))
    labels = [np.full(2000, label) for label in range(CLASSES)]
    drawn = label_scores._codes(
        label_scores._drawing(model), model, images, labels, 3
    )
    # What labels add is their mean; 5 standard deviations of the estimate.
    np.testing.assert_allclose(
        np.std(drawn["told"], axis=0), 1, atol=5 / np.sqrt(4000)
    )
    np.testing.assert_allclose(
        np.mean(drawn["told"], axis=0), 1 / CLASSES, atol=5 / np.sqrt(2000)
    )


def test_transfer_says_what_stays_and_what_changes():
    found = label_scores.class_transfer(Leaky(), split(300, 3))
    assert found["images"] == 300
    # All grey levels are the source's, but for a line of the class's own.
    assert found["brightness"]["reconstruction"] > 0.99
    assert found["brightness"]["source"] > 0.95
    assert found["brightness"]["target"] < 0.2
    # Shades of other classes are far away, lines are thin.
    assert found["change"]["class"] == pytest.approx(0.05, abs=1e-3)
    assert found["change"]["seen"] > 0.2


def test_partners_are_of_another_class():
    labels = np.repeat([0, 1, 2], [5, 3, 1])
    partner = label_scores.others(labels)
    assert np.all(labels[partner] != labels)
    np.testing.assert_array_equal(label_scores.others(np.zeros(3, int)), -1)


@pytest.mark.parametrize("width", [2, 4, 6])
def test_thickness_of_bars(width):
    image = np.zeros((1, 28, 400, 1))
    image[:, 10 : 10 + width] = 1.0
    # Their ends are round to the measure; they are long.
    assert label_scores.thickness(image)[0] == pytest.approx(width, abs=0.1)
    assert label_scores.thickness(0 * image)[0] == 0


def test_brightness_is_of_what_is_not_black():
    image = np.zeros((2, 4, 4, 1))
    image[0, :2] = 0.8
    image[0, 2] = 0.4
    np.testing.assert_allclose(
        label_scores.brightness(image), [(8 * 0.8 + 4 * 0.4) / 12, 0.0]
    )


def test_correlation():
    rng = np.random.default_rng(0)
    first = rng.normal(size=100)
    assert label_scores.correlation(first, 3 - 2 * first) == pytest.approx(-1)
    assert label_scores.correlation(first, np.ones(100)) == 0.0


@pytest.fixture(scope="module")
def digits():
    """A part of them: scores need not be good here."""
    whole = data.load("digits")
    splits = {n: s.subset(np.arange(200)) for n, s in whole.splits.items()}
    return dataclasses.replace(whole, splits=splits)


def build(model, *settings):
    return configuration.build(
        model,
        "digits",
        settings=[
            "steps=4",
            "batch_size=8",
            "latent_dim=3",
            "log_every=2",
            "checkpoint_every=2",
            *settings,
        ],
    )


def fit(config, workdir, dataset):
    return train.train_images(
        config, workdir, dataset, tf.distribute.get_strategy()
    )[0]


def test_a_run_resumes_exactly_and_is_scored(tmp_path, digits):
    settings = ["num_classes=3", "ramp_steps=3", "classifier_steps=2"]
    whole = fit(build("class_vae", *settings), tmp_path / "whole", digits)
    fit(
        build("class_vae", *settings, "steps=2", "schedule_steps=4"),
        tmp_path / "parts",
        digits,
    )
    resumed = fit(build("class_vae", *settings), tmp_path / "parts", digits)
    for model in (whole, resumed):
        # The data set says how many classes there are.
        assert model.num_classes == 10
        assert model.image_shape == (28, 28, 1)
        assert int(model.step) == 4
    for name in ("main", "classifier"):
        first, second = (
            [*m.variables, *m.optimizer_of[name].variables]
            for m in (whole, resumed)
        )
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    evaluate.evaluate(tmp_path / "whole", dataset=digits)
    stored = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    accuracy = stored["class_probe"]["accuracy"]
    assert set(accuracy) >= {
        "generic",
        "specific",
        "specific, random label",
    }
    assert all(0 <= value <= 1 for value in accuracy.values())
    held_out = stored["held_out"]
    assert {"reconstruction", "kl_generic", "kl_specific"} <= set(held_out)
    assert set(stored["class_transfer"]["change"]) == {"generic", "specific"}
    text = evaluate.table(stored)
    assert "specific, averaged over labels" in text
    assert "pixel change of one swapped unit: generic" in text


def test_the_unconditional_baseline_gets_its_row(tmp_path, digits):
    fit(build("beta_vae", "network=mlp"), tmp_path, digits)
    scores = evaluate.evaluate(tmp_path, dataset=digits)
    assert set(scores["class_probe"]["accuracy"]) == {"z"}
    assert "class_transfer" not in scores


def test_it_asks_for_a_posterior_and_classes(digits):
    images = testing.random_images((32, 32, 1), 4)
    model = testing.tiny_model("beta_vae")
    test = digits.splits["test"]
    assert label_scores.applies(model, digits, test)
    assert not label_scores.applies(model, digits, ArraySplit(images))
    model = testing.tiny_model("autoencoder")
    assert not label_scores.applies(model, digits, test)
