import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent import testing
from tfdisent.models.ali import ALI

# Spatial sizes of the tables of FDEN's paper, before the last 1x1 pixel
# and after the first: those are dense layers.
ENCODER_SIZES = {32: [28, 13, 10, 4], 64: [63, 29, 13, 4]}
GENERATOR_SIZES = {32: [10, 13, 28, 32], 64: [13, 29, 63, 64]}


def sides(stack, kind, shape):
    """Output sides of the layers of one kind, from shapes alone."""
    found = []
    for block in stack.blocks:
        shape = block.compute_output_shape(shape)
        if type(block).__name__ == kind:
            found.append(shape[1])
    return found


def test_the_code_is_as_large_as_fdens_paper_has_it(narrow_ali):
    assert ALI((32, 32, 1)).parts == {"z": (256,)}
    assert ALI((64, 64, 3)).parts == {"z": (512,)}
    assert ALI((64, 64, 3)).get_config()["latent_dim"] == 512


@pytest.mark.parametrize("side", [32, 64])
def test_spatial_sizes(side, narrow_ali):
    model = ALI((side, side, 3), latent_dim=4)
    image = (None, side, side, 3)
    for network in (model.encoder, model.critic_image):
        assert sides(network, "Conv2D", image) == ENCODER_SIZES[side]
    up = sides(model.generator, "Conv2DTranspose", (None, 4))
    assert up == GENERATOR_SIZES[side]
    assert sides(model.generator, "Reshape", (None, 4)) == [4]
    assert model.encode(testing.random_images(image[1:], 1))["z"].shape == (
        1,
        4,
    )
    assert model.sample([[0, 1]]).shape == (1, side, side, 3)


def test_dense_layers_are_the_papers_convolutions():
    """A kernel of the map's size, and one pixel that is spread out."""
    encoder = networks.ali_encoder((32, 32, 1), 4, norm=None)
    shapes = [tuple(v.shape) for v in encoder.trainable_variables[::2]]
    assert shapes[4:] == [(4 * 4 * 256, 512), (512, 512), (512, 4)]
    dense = encoder.blocks[9]
    maps = tf.random.stateless_normal([2, 4, 4, 256], [1, 2])
    kernel = tf.reshape(dense.kernel, [4, 4, 256, 512])
    np.testing.assert_allclose(
        dense(tf.reshape(maps, [2, -1])),
        tf.nn.conv2d(maps, kernel, 1, "VALID")[:, 0, 0],
        atol=1e-4,
    )
    generator = networks.ali_generator((32, 32, 1), 8, norm=None)
    code = tf.random.stateless_normal([2, 8], [3, 4])
    kernel = tf.reshape(generator.blocks[0].kernel, [8, 4, 4, 256])
    spread = generator.blocks[1](generator.blocks[0](code))
    np.testing.assert_allclose(
        spread,
        tf.nn.conv2d_transpose(
            code[:, None, None],
            tf.transpose(kernel, [1, 2, 3, 0]),
            [2, 4, 4, 256],
            1,
            "VALID",
        ),
        atol=1e-5,
    )


def test_paper_widths():
    critic = networks.ali_critic_image((32, 32, 1))
    assert critic.compute_output_shape((None, 32, 32, 1)) == (None, 512)
    # The first convolution has a bias and no normalisation.
    kinds = [type(block).__name__ for block in critic.blocks[:4]]
    assert kinds == ["Dropout", "Conv2D", "LeakyReLU", "Dropout"]
    assert critic.blocks[1].use_bias
    assert not critic.blocks[4].use_bias


def test_both_updates_of_one_forward_pass(narrow_ali):
    """Each optimizer's step is the gradient of its own loss, no other."""
    model = ALI(latent_dim=4, norm=None, recon_weight=0.5, critic_noise=0.2)
    # Weights of .01 make networks of four filters blind.
    for variable in model.trainable_variables:
        variable.assign(
            tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.2)
        )
    batch = {"image": tf.constant(testing.random_images((32, 32, 1)))}
    prior = noise.normal([4, 4], model.noise_seed(0))
    draw = noise.normal([4, 4], model.noise_seed(1))

    def pair():
        posterior = model.posterior(batch["image"])["z"]
        mean = posterior.mean()
        code = mean + posterior.stddev() * draw
        generated = model.decode(prior)
        return mean, model._critic(batch["image"], code, generated, prior)

    with tf.GradientTape() as tape:
        mean, logits = pair()
        error = losses.squared_error_per_image(
            batch["image"], model.decode(mean)
        )
        loss = losses.ali_generator_loss(*logits) + 0.5 * tf.reduce_mean(error)
    expected = tape.gradient(loss, model.variables_of("main"))
    with tf.GradientTape() as tape:
        critic = losses.ali_discriminator_loss(*pair()[1])
    expected += tape.gradient(critic, model.variables_of("critic"))

    model.compile(
        {name: keras.optimizers.SGD(1.0) for name in model.default_optimizers()}
    )
    variables = model.variables_of("main") + model.variables_of("critic")
    assert {id(v) for v in variables} == {
        id(v) for v in model.trainable_variables
    }
    assert len(variables) == len(model.trainable_variables)
    before = [v.numpy() for v in variables]
    reports = model.update(batch)
    np.testing.assert_allclose(reports["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(reports["critic"], critic, rtol=1e-5)
    for old, variable, gradient in zip(
        before, variables, expected, strict=True
    ):
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(
            old - variable.numpy(),
            gradient,
            rtol=1e-3,
            atol=1e-4 * scale + 1e-6,
        )


def test_scale_of_the_posterior_is_bounded(narrow_ali):
    """Whatever the encoder says: within e^+-2, and e^x for a small x."""
    model = ALI(latent_dim=4, norm=None)
    images = testing.random_images((32, 32, 1))
    last = model.encoder.blocks[-1]
    last.kernel.assign(tf.zeros_like(last.kernel))
    for raw, log_scale in ((1e3, 2.0), (-1e3, -2.0), (0.1, 0.1)):
        last.bias.assign([0.0] * 4 + [raw] * 4)
        np.testing.assert_allclose(
            model.posterior(images)["z"].stddev(),
            np.full((len(images), 4), np.exp(log_scale)),
            rtol=1e-3,
        )


def test_adapt_starts_at_the_mean_image(narrow_ali):
    model = ALI(latent_dim=4, norm=None)
    images = testing.random_images((32, 32, 1), 8)
    images[:, 0] = 0.0
    images[:, 1] = 1.0
    model.adapt(images)
    mean = np.clip(images.mean(axis=0), 0.01, 0.99)
    np.testing.assert_allclose(
        model.generator.blocks[-1].bias, np.log(mean / (1 - mean)), rtol=1e-5
    )
    # At initialisation the generator is little more than that bias.
    picture = model.sample([[0, 0]])[0]
    np.testing.assert_allclose(picture, mean, atol=1e-2)


def test_critic_noise_fades(narrow_ali):
    model = ALI(latent_dim=4, norm=None, critic_noise=50.0, noise_steps=10)
    clean = ALI(latent_dim=4, norm=None, critic_noise=0.0)
    clean.set_weights(model.get_weights())
    arguments = [
        tf.constant(testing.random_images((32, 32, 1), 2)),
        tf.zeros([2, 4]),
    ] * 2

    def gap(step):
        logits = []
        for each in (model, clean):
            each.step.assign(step)
            logits.append(np.concatenate(each._critic(*arguments)))
        return np.abs(logits[0] - logits[1]).max()

    assert gap(0) > gap(9) > 0
    assert gap(10) == gap(1000) == 0


@pytest.mark.parametrize(
    ("shape", "deviation"), [((32, 32, 1), 0.5), ((64, 64, 3), 0.5 * 12**0.5)]
)
def test_critic_noise_grows_with_the_root_of_the_values(
    narrow_ali, shape, deviation
):
    model = ALI(shape, latent_dim=4, norm=None, critic_noise=0.5)
    seen = []

    def record(images, **kwargs):
        seen.append(images)
        return narrow(images, **kwargs)

    narrow, model.critic_image = model.critic_image, record
    images, codes = tf.zeros([4, *shape]), tf.zeros([4, 4])
    model._critic(images, codes, images, codes)
    np.testing.assert_allclose(np.std(seen[0]), deviation, rtol=0.02)


def test_samples_differ_by_seed_once_the_generator_has_weights(narrow_ali):
    model = ALI(latent_dim=4, norm=None)
    for variable in model.generator.trainable_variables:
        variable.assign(
            tf.random.stateless_normal(variable.shape, [1, 2], stddev=0.3)
        )
    images = model.sample([[0, 1], [0, 2], [0, 1]]).numpy()
    np.testing.assert_allclose(images[0], images[2], atol=1e-6)
    assert np.abs(images[0] - images[1]).max() > 1e-3
