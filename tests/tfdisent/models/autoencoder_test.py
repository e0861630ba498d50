import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent import testing


@pytest.fixture
def model():
    return testing.tiny_model("autoencoder", code_decay=0.5, seed=1)


def test_objective_by_hand(model):
    image = testing.random_images((32, 32, 1))
    z = model.encode(image)["z"]
    terms = model.objective(image, z, z)
    cross_entropy = losses.cross_entropy_per_image(image, model.decoder(z))
    np.testing.assert_allclose(
        terms["reconstruction"], np.mean(cross_entropy), rtol=1e-6
    )
    energy = np.mean(np.sum(np.square(z), axis=-1))
    np.testing.assert_allclose(terms["code_energy"], energy, rtol=1e-6)
    np.testing.assert_allclose(
        terms["loss"], np.mean(cross_entropy) + 0.5 * energy, rtol=1e-6
    )


def test_it_learns_two_images():
    model = testing.tiny_model("autoencoder", learning_rate=1e-2)
    model.compile()
    image = np.zeros((2, 32, 32, 1), np.float32)
    image[0, :16] = image[1, :, :16] = 1.0
    step = tf.function(model.train_step, jit_compile=False)
    before = float(model.evaluate_batch({"image": image})["loss"])
    for _ in range(60):
        step(image)
    assert float(model.evaluate_batch({"image": image})["loss"]) < before / 10
    assert np.mean(np.abs(model(image) - image)) < 0.05


@pytest.mark.parametrize("noise", ["code_noise", "input_noise"])
def test_noise_is_for_training_only_and_follows_the_seed(noise):
    image = testing.random_images((32, 32, 1))
    reports = {}
    for size, seed in ((0.0, 1), (5.0, 1), (5.0, 1), (5.0, 2)):
        keras.utils.set_random_seed(0)
        model = testing.tiny_model("autoencoder", seed=seed, **{noise: size})
        model.compile()
        clean = float(model.evaluate_batch({"image": image})["loss"])
        noisy = float(model.update({"image": image})["loss"])
        reports.setdefault((size, seed), []).append((clean, noisy))
    # Evaluated without noise, the weights being equal.
    assert len({clean for r in reports.values() for clean, _ in r}) == 1
    assert reports[5.0, 1][0] == reports[5.0, 1][1]
    losses_seen = {r[0][1] for r in reports.values()}
    assert len(losses_seen) == 3


def test_64_by_64_in_colour():
    model = testing.tiny_model(
        "autoencoder", image_shape=(64, 64, 3), filters=()
    )
    images = testing.random_images((64, 64, 3), 2)
    assert model.encode(images)["z"].shape == (2, 8)
    assert model(images).shape == (2, 64, 64, 3)
