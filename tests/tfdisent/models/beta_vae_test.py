import numpy as np
import pytest

from tfdisent import losses
from tfdisent import testing


@pytest.fixture
def model():
    return testing.tiny_model("beta_vae", beta=3.0)


def test_objective_is_reconstruction_plus_beta_kl(model):
    image = testing.random_images((32, 32, 1))
    terms, rivals = model.objective(image, model.noise_seed(0))
    np.testing.assert_allclose(
        terms["loss"], terms["reconstruction"] + 3 * terms["kl"], rtol=1e-6
    )
    mean, log_variance = np.split(model.encoder(image).numpy(), 2, axis=-1)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1)
    np.testing.assert_allclose(
        terms["kl"], kl.sum(axis=-1).mean(), rtol=1e-4, atol=1e-6
    )
    assert not rivals


def test_the_capacity_form_takes_the_place_of_beta():
    model = testing.tiny_model("beta_vae", capacity=5.0, gamma=2.0)
    terms, _ = model.objective(
        testing.random_images((32, 32, 1)), model.noise_seed(0)
    )
    # At step 0 the capacity is 0.
    np.testing.assert_allclose(
        terms["loss"], terms["reconstruction"] + 2 * terms["kl"], rtol=1e-6
    )


def test_reconstruction_is_the_summed_cross_entropy_of_a_sample(model):
    image = testing.random_images((32, 32, 1))
    # Without spread the sample is the mean.
    head = model.encoder.blocks[-1]
    head.kernel.assign(0 * head.kernel)
    head.bias.assign([0.5] * 4 + [-40.0] * 4)
    terms, _ = model.objective(image, model.noise_seed(0))
    logits = model.decoder(np.full((4, 4), 0.5, np.float32))
    expected = losses.cross_entropy_per_image(image, logits)
    np.testing.assert_allclose(
        terms["reconstruction"], np.mean(expected), rtol=1e-5
    )


def test_posterior_has_the_half_log_variance_as_log_scale(model):
    image = testing.random_images((32, 32, 1), 2)
    posterior = model.posterior(image)["z"]
    log_variance = model.encoder(image)[:, 4:]
    np.testing.assert_allclose(
        posterior.variance(), np.exp(log_variance), rtol=1e-5
    )
    assert posterior.batch_shape == (2,)
    assert posterior.event_shape == (4,)


def test_unknown_network():
    with pytest.raises(ValueError, match="Received: dense"):
        testing.tiny_model("beta_vae", network="dense")


def test_the_likelihood_is_the_negative_cross_entropy(model):
    image = testing.random_images((32, 32, 1), 3)
    z = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    nats = model.log_likelihood(image, z=z)
    expected = losses.cross_entropy_per_image(image, model.decoder(z))
    np.testing.assert_allclose(nats, -expected, rtol=1e-5)
