import numpy as np
import pytest

from tfdisent import networks
from tfdisent import testing

FLAT = ("beta_vae", "factor_vae", "beta_tcvae")


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("network", networks.FLAT)
def test_every_network_encodes_and_decodes(network, side):
    shape = (side, side, 3)
    model = testing.tiny_model("beta_vae", network=network, image_shape=shape)
    parts = model.encode(testing.random_images(shape, 2))
    assert parts["z"].shape == (2, 4)
    assert model.decode(**parts).shape == (2, *shape)


@pytest.mark.parametrize("name", FLAT)
def test_variants_share_networks_and_the_elbos_terms(name):
    model = testing.tiny_model(name, network="burgess")
    assert model.tracked[:6] == (
        "loss",
        "reconstruction",
        "kl",
        "mutual_information",
        "total_correlation",
        "dimension_kl",
    )
    names = {v.path.split("/")[0] for v in model.variables_of("main")}
    assert names == {"encoder", "decoder"}


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("wrong", ["network", "likelihood"])
def test_unknown_names_are_refused(name, wrong):
    with pytest.raises(ValueError, match="Received: dense"):
        testing.tiny_model(name, **{wrong: "dense"})


def test_unknown_estimator():
    with pytest.raises(ValueError, match="Received: plain"):
        testing.tiny_model("beta_tcvae", estimator="plain")


def test_gaussian_pixels():
    model = testing.tiny_model("beta_vae", likelihood="gaussian")
    image = testing.random_images((32, 32, 1))
    head = model.encoder.blocks[-1]
    head.kernel.assign(0 * head.kernel)
    head.bias.assign([0.5] * 4 + [-40.0] * 4)
    terms, _ = model.objective(image, model.noise_seed(0))
    error = np.sum(np.square(image - model.decode(z=np.full((4, 4), 0.5))))
    expected = error / 4 / 2 + 32 * 32 * 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(terms["reconstruction"], expected, rtol=1e-5)
