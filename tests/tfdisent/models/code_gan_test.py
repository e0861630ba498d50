import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import networks
from tfdisent import testing
from tfdisent.models import code_gan

SEED = tf.constant([0, 7])


def normals(count, size, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.standard_normal((count, size)), tf.float32)


# ---- codes -------------------------------------------------------------------


def test_categories_are_one_hot_and_equally_likely():
    code = code_gan.category(4)
    drawn = code.draw(normals(20_000, 4)).numpy()
    assert set(np.unique(drawn)) == {0, 1}
    np.testing.assert_array_equal(drawn.sum(axis=1), 1)
    np.testing.assert_allclose(drawn.mean(axis=0), 0.25, atol=0.012)
    outputs = np.log([[0.1, 0.2, 0.3, 0.4]]).astype(np.float32)
    np.testing.assert_allclose(code.read(outputs), [[0.1, 0.2, 0.3, 0.4]], 1e-5)
    truth = np.array([[0, 0, 1, 0]], np.float32)
    np.testing.assert_allclose(code.error(outputs, truth), -np.log(0.3), 1e-5)


def test_uniform_codes_fill_their_interval():
    drawn = code_gan.uniform(2).draw(normals(20_000, 2)).numpy()
    assert np.abs(drawn).max() <= 1
    quantiles = np.quantile(drawn, [0.1, 0.5, 0.9], axis=0)
    np.testing.assert_allclose(
        quantiles, [[-0.8] * 2, [0] * 2, [0.8] * 2], atol=0.03
    )


def test_normal_codes_are_found_by_their_mean():
    code = code_gan.normal(2)
    drawn = np.array([[1.0, -2.0]], np.float32)
    np.testing.assert_array_equal(code.draw(drawn), drawn)
    np.testing.assert_array_equal(code.read(drawn), drawn)
    # -log N(code; mean, 1), but for its constant.
    error = code.error(np.array([[0.0, 1.0]], np.float32), drawn)
    np.testing.assert_allclose(error, [0.5 * (1 + 9)])


# ---- networks ----------------------------------------------------------------


def sides(stack, kind, shape):
    found = []
    for block in stack.blocks:
        shape = block.compute_output_shape(shape)
        if type(block).__name__ == kind:
            found.append(tuple(shape[1:]))
    return found


@pytest.mark.parametrize(
    ("side", "down", "dense"),
    [
        (28, [(14, 14, 64), (7, 7, 128)], [1024]),
        (32, [(16, 16, 64), (8, 8, 128)], [1024]),
        (
            64,
            [(32, 32, 32), (16, 16, 32), (8, 8, 32), (4, 4, 32)],
            [256, 256],
        ),
    ],
)
def test_sizes_of_the_papers_networks(side, down, dense):
    layout = (networks.GAN_FILTERS[side], networks.GAN_HIDDEN[side], "batch")
    trunk = networks.gan_trunk((side, side, 1), *layout)
    image = (None, side, side, 1)
    assert sides(trunk, "Conv2D", image) == down
    assert [n for (n,) in sides(trunk, "Dense", image)] == dense
    generator = networks.gan_generator((side, side, 1), 74, *layout)
    up = sides(generator, "Conv2DTranspose", (None, 74))
    assert up == [*down[-2::-1], (side, side, 1)]
    widths = [n for (n,) in sides(generator, "Dense", (None, 74))]
    assert widths == [*dense, np.prod(down[-1])]
    # Neither the first convolution nor the last is normalised.
    count = len(sides(trunk, "BatchNormalization", image))
    assert count == len(down) - 1 + len(dense)
    count = len(sides(generator, "BatchNormalization", (None, 74)))
    assert count == len(down) - 1 + len(dense) + 1


# ---- training ----------------------------------------------------------------


def test_an_image_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="3 filters .* 28 pixels cannot be"):
        testing.tiny_model(
            "infogan", image_shape=(28, 28, 1), filters=(4, 4, 4)
        )


@pytest.fixture(params=["infogan", "cascade_infogan"])
def model(request):
    model = testing.tiny_model(request.param, norm=None)
    # Weights of .02 make networks of four filters blind.
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(
            tf.random.stateless_normal(variable.shape, [1, number], stddev=0.3)
        )
    return model


def gradients_of(model, name, parts):
    """Whether a scalar's gradient reaches each of some networks."""
    image = tf.constant(testing.random_images(model.image_shape, 6))
    with tf.GradientTape(persistent=True) as tape:
        scalars, goals = model.objective(image, SEED)
    chosen = (scalars | goals)[name]
    return [
        any(
            g is not None and np.any(g)
            for g in tape.gradient(chosen, part.trainable_variables)
        )
        for part in parts
    ]


def test_what_reaches_what(model):
    parts = (model.generator, model.trunk, model.head, model.finder)
    reached = gradients_of(model, "code_error", parts)
    assert reached == [True, True, False, True]
    reached = gradients_of(model, "generator", parts)
    assert reached == [True, True, True, True]
    for regulariser in model.regularisers:
        reached = gradients_of(
            model, "structure_kl", (*parts, regulariser.critic)
        )
        assert reached == [True, True, False, True, True]


def test_every_step_is_the_gradient_of_its_own_loss(model):
    image = tf.constant(testing.random_images(model.image_shape, 6))
    own = {n: model.variables_of(n) for n in model.default_optimizers()}
    assert list(own)[:2] == ["generator", "discriminator"]
    assert sum(map(len, own.values())) == len(model.trainable_variables)
    with tf.GradientTape(persistent=True) as tape:
        _, goals = model.objective(image, model.noise_seed(0))
    assert set(goals) == set(own)
    expected = {n: tape.gradient(goals[n], own[n]) for n in own}
    model.compile({name: keras.optimizers.SGD(0.1) for name in own})
    before = {n: [v.numpy() for v in own[n]] for n in own}
    model.update({"image": image})
    for name, variables in own.items():
        for old, variable, gradient in zip(
            before[name], variables, expected[name], strict=True
        ):
            np.testing.assert_allclose(
                old - variable.numpy(),
                0.1 * gradient,
                rtol=1e-3,
                atol=1e-4 * np.abs(gradient).max() + 1e-6,
            )


def test_losses_by_hand(model):
    image = tf.constant(testing.random_images(model.image_shape, 6))
    scalars, goals = model.objective(image, SEED)
    count = model.noise_dim + sum(c.size for c in model.codes.values())
    drawn, codes = model.latents(tf.random.stateless_normal([6, count], SEED))
    flat = tf.concat(list(codes.values()), axis=-1)
    features = model.trunk(2 * model.generate(drawn, flat) - 1)
    real = model.head(model.trunk(2 * image - 1)).numpy()
    fake = model.head(features).numpy()
    softplus = lambda x: np.mean(np.log1p(np.exp(x)))  # noqa: E731
    np.testing.assert_allclose(scalars["generator"], softplus(-fake), 1e-4)
    np.testing.assert_allclose(
        scalars["discriminator"], softplus(-real) + softplus(fake), rtol=1e-4
    )
    shared = scalars["code_error"] + scalars.get("structure_kl", 0.0)
    np.testing.assert_allclose(
        goals["generator"], scalars["generator"] + shared, rtol=1e-4
    )
    np.testing.assert_allclose(
        goals["discriminator"], scalars["discriminator"] + shared, rtol=1e-4
    )


# ---- the contract ------------------------------------------------------------


def test_pictures_are_decoded_with_noise_drawn_once(model):
    codes = {
        n: np.zeros((2, c.size), np.float32) for n, c in model.codes.items()
    }
    first, second = model.decode(**codes)
    np.testing.assert_allclose(first, second, atol=1e-6)
    before = model.decode(**codes).numpy()
    model.fixed_noise.assign(model.fixed_noise + 1.0)
    assert np.abs(model.decode(**codes) - before).max() > 1e-3


def test_the_fixed_noise_follows_the_seed():
    drawn = [
        testing.tiny_model("infogan", seed=seed, noise_dim=50).fixed_noise
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 0.5
    assert 0.5 < np.std(drawn[0]) < 1.5
