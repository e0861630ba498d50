"""Bounds of the likelihood against a model whose likelihood is known."""

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import distributions
from tfdisent import testing
from tfdisent.data.base import ArraySplit
from tfdisent.models import base
from trainers import likelihood

# x = DIRECTION z + CENTRE + SCALE noise, z of N(0, 1).
DIRECTION = np.array([0.1, -0.2, 0.05, 0.15], np.float32)
CENTRE, SCALE = 0.5, 0.1


class Linear(base.PartsModel):
    """Probabilistic PCA with one component; its exact posterior, moved."""

    parts = {"z": (1,)}
    units = {"z": ("z",)}

    def __init__(self, moved=0.0, widened=1.0, **kwargs):
        super().__init__((2, 2, 1), **kwargs)
        self.moved, self.widened = moved, widened

    def exact(self, image):
        flat = tf.reshape(image, [-1, 4]) - CENTRE
        precision = 1 + np.sum(DIRECTION**2) / SCALE**2
        mean = flat @ DIRECTION[:, None] / SCALE**2 / precision
        return mean, tf.ones_like(mean) * precision**-0.5

    def posterior(self, image):
        mean, stddev = self.exact(image)
        return {
            "z": distributions.diagonal_normal(
                mean + self.moved, tf.math.log(self.widened * stddev)
            )
        }

    def encode(self, image):
        return {"z": self.posterior(image)["z"].mean()}

    def log_likelihood(self, image, z):
        mean = tf.reshape(z @ DIRECTION[None], [-1, 2, 2, 1]) + CENTRE
        return distributions.gaussian(mean, SCALE).log_prob(image)


def log_evidence(images):
    """log N(x; CENTRE, DIRECTION DIRECTION' + SCALE^2 I), nats an image."""
    flat = images.reshape(-1, 4).astype(np.float64) - CENTRE
    covariance = np.outer(DIRECTION, DIRECTION) + SCALE**2 * np.eye(4)
    distance = np.sum(flat @ np.linalg.inv(covariance) * flat, axis=1)
    return -0.5 * (distance + np.linalg.slogdet(2 * np.pi * covariance)[1])


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40, 1))
    pixels = z * DIRECTION + CENTRE + SCALE * rng.normal(size=(40, 4))
    return pixels.clip(0, 1).reshape(40, 2, 2, 1).astype(np.float32)


def test_with_the_exact_posterior_both_are_the_evidence(images):
    found = likelihood.evidence_bounds(Linear(), ArraySplit(images), samples=7)
    expected = log_evidence(images)
    assert found["elbo"] == pytest.approx(expected.mean(), abs=1e-4)
    assert found["importance_weighted"] == pytest.approx(
        expected.mean(), abs=1e-4
    )
    assert found["elbo_error"] == pytest.approx(
        expected.std() / np.sqrt(40), rel=1e-3
    )
    assert (found["images"], found["samples"]) == (40, 7)


def test_the_elbo_falls_short_by_the_kl_and_weights_make_it_good(images):
    moved, widened = 0.3, 1.3
    model = Linear(moved=moved, widened=widened)
    found = likelihood.evidence_bounds(model, ArraySplit(images), samples=2000)
    _, stddev = model.exact(images)
    gap = moved / float(stddev[0, 0])
    kl = (widened**2 + gap**2 - 1) / 2 - np.log(widened)
    expected = log_evidence(images).mean()
    assert found["elbo"] == pytest.approx(expected - kl, abs=0.02)
    assert found["importance_weighted"] == pytest.approx(expected, abs=0.02)


def test_it_is_seeded_and_bounds_are_in_order():
    model = testing.tiny_model("beta_vae")
    split = ArraySplit(testing.random_images(model.image_shape, 5))
    reported = []
    first, second = (
        likelihood.evidence_bounds(
            model, split, report=lambda *done: reported.append(done)
        )
        for _ in range(2)
    )
    assert first == second
    assert first["importance_weighted"] > first["elbo"]
    assert reported[-1] == (5, 5)
