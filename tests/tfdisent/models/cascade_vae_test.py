import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import noise
from tfdisent import testing
from tfdisent.models.cascade_vae import BASES

IMAGE = testing.random_images((32, 32, 1), 6)
SEED = tf.constant([0, 7])


def penalty_of(model):
    """The regulariser's penalty of a pass, as the loss takes it."""
    run, _ = model.run(tf.constant(IMAGE), SEED)
    return model.regularisers[-1].penalty(model, run)


def moved(gradients):
    return [g is not None and bool(np.any(g)) for g in gradients]


@pytest.mark.parametrize("stop_grad_xhat", [False, True])
def test_the_penalty_reaches_both_networks_or_the_encoder_alone(
    stop_grad_xhat,
):
    model = testing.tiny_model("cascade_vae", stop_grad_xhat=stop_grad_xhat)
    with tf.GradientTape(persistent=True) as tape:
        penalty = penalty_of(model)
    encoder = tape.gradient(penalty.value, model.encoder.trainable_variables)
    decoder = tape.gradient(penalty.value, model.decoder.trainable_variables)
    assert all(moved(encoder))
    assert moved(decoder) == [not stop_grad_xhat] * len(decoder)


def test_every_step_is_the_gradient_of_its_own_loss():
    model = testing.tiny_model("cascade_vae", structure_weight=30.0)
    own = {n: model.variables_of(n) for n in model.default_optimizers()}
    assert list(own) == ["main", "structure_critic"]
    assert sum(map(len, own.values())) == len(model.trainable_variables)
    with tf.GradientTape(persistent=True) as tape:
        scalars, rivals = model.objective(
            tf.constant(IMAGE), model.noise_seed(0)
        )
    expected = {
        "main": tape.gradient(scalars["loss"], own["main"]),
        "structure_critic": tape.gradient(
            rivals["structure_critic"], own["structure_critic"]
        ),
    }
    assert all(moved(expected["structure_critic"]))
    model.compile({name: keras.optimizers.SGD(1.0) for name in own})
    before = {n: [v.numpy() for v in own[n]] for n in own}
    model.update({"image": tf.constant(IMAGE)})
    for name, variables in own.items():
        for old, variable, gradient in zip(
            before[name], variables, expected[name], strict=True
        ):
            np.testing.assert_allclose(
                old - variable.numpy(),
                gradient,
                rtol=1e-3,
                atol=1e-4 * np.abs(gradient).max() + 1e-6,
            )


@pytest.mark.parametrize("base", BASES)
def test_the_loss_is_the_bases_and_the_penalty(base):
    model = testing.tiny_model(
        "cascade_vae", base=base, structure_weight=30.0, data_size=50
    )
    other = testing.tiny_model(base, data_size=50)
    other.encoder.set_weights(model.encoder.get_weights())
    other.decoder.set_weights(model.decoder.get_weights())
    for mine, theirs in zip(
        model.regularisers, other.regularisers, strict=False
    ):
        theirs.set_weights(mine.get_weights())
    own, _ = model.objective(tf.constant(IMAGE), SEED)
    plain, _ = other.objective(tf.constant(IMAGE), SEED)
    assert set(own) - set(plain) == {"structure_critic", "structure_kl"}
    for name in set(plain) - {"loss"}:
        np.testing.assert_allclose(own[name], plain[name], rtol=1e-5)
    np.testing.assert_allclose(
        own["loss"] - plain["loss"], 30 * own["structure_kl"], rtol=1e-3
    )
    assert abs(float(own["structure_kl"])) > 1e-3


def test_weights_of_the_base_and_their_defaults():
    model = testing.tiny_model("cascade_vae", base="beta_tcvae")
    assert model.regularisers[0].beta == 6
    model = testing.tiny_model("cascade_vae", beta=4.0)
    assert model.regularisers[0].beta == 4
    model = testing.tiny_model("cascade_vae", base="factor_vae", gamma=35.0)
    assert [model.regularisers[0].beta, model.regularisers[1].gamma] == [1, 35]


def test_the_cascade_encodes_decoded_samples_of_the_prior():
    model = testing.tiny_model("cascade_vae")
    regulariser = model.regularisers[-1]
    run, _ = model.run(tf.constant(IMAGE), SEED)
    seed = noise.fold(SEED, 3)
    z = noise.normal([6, 4], seed)
    posterior = model.posterior(tf.sigmoid(model.decoder(z)))
    reencoded = model.draw(posterior, noise.fold(seed, 1))["z"]
    np.testing.assert_allclose(
        regulariser.penalty(model, run).value,
        regulariser.compare(z, reencoded, seed).value,
        rtol=1e-5,
    )


def test_the_structure_is_declared_with_its_names():
    model = testing.tiny_model(
        "cascade_vae", structure="hair=colour+length", latent_dim=4
    )
    assert model.graph.names == ("hair", "colour", "length", "z4")
    assert list(model.units) == ["z[0]", "z[1]", "z[2]", "z[3]"]
    assert model.get_config()["structure"] == "hair=colour+length"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base": "vae"}, "base must be one of"),
        ({"structure": "1->5"}, "leaves the latents 1 .. 4"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        testing.tiny_model("cascade_vae", **wrong)
