import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import networks
from tfdisent import testing


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_conv_networks_mirror_each_other(side, channels):
    shape = (side, side, channels)
    encoder = networks.conv_encoder(shape, 7)
    decoder = networks.conv_decoder(shape, 5)
    codes = encoder(testing.random_images(shape, 2))
    assert (codes.shape, codes.dtype) == ((2, 7), tf.float32)
    logits = decoder(tf.zeros([2, 5]))
    assert (logits.shape, logits.dtype) == ((2, *shape), tf.float32)


def test_conv_network_of_the_literature():
    """Locatello et al.'s sizes at 64x64."""
    encoder = networks.conv_encoder((64, 64, 1), 20)
    kernels = [v.shape for v in encoder.trainable_variables if len(v.shape) > 1]
    assert kernels == [
        (4, 4, 1, 32),
        (4, 4, 32, 32),
        (4, 4, 32, 64),
        (4, 4, 64, 64),
        (1024, 256),
        (256, 20),
    ]


def kernels(network):
    return [v.shape for v in network.trainable_variables if len(v.shape) > 1]


def test_burgess_network():
    """1Konny's model B at 64x64 and at 32x32."""
    encoder, decoder = networks.FLAT["burgess"]
    first = [(4, 4, 1, 32)] + [(4, 4, 32, 32)] * 3
    dense = [(512, 256), (256, 256), (256, 20)]
    assert kernels(encoder((64, 64, 1), 20)) == first + dense
    assert kernels(encoder((32, 32, 1), 20)) == first[:3] + dense
    assert kernels(decoder((64, 64, 3), 10)) == [
        (10, 256),
        (256, 256),
        (256, 512),
        *[(4, 4, 32, 32)] * 3,
        (4, 4, 3, 32),
    ]


@pytest.mark.parametrize(("side", "base"), [(32, 2), (64, 4)])
def test_ladder_network_of_one_code(side, base):
    """pro-VLAE's trunk and deepest ladder."""
    encoder, decoder = networks.FLAT["ladder"]
    size = base * base * 32
    assert kernels(encoder((side, side, 3), 18)) == [
        (4, 4, 3, 32),
        *[(4, 4, 32, 32)] * 3,
        (size, 256),
        (256, 18),
    ]
    assert kernels(decoder((side, side, 3), 9)) == [
        (9, 256),
        (256, size),
        *[(4, 4, 32, 32)] * 3,
        (4, 4, 3, 32),
    ]


def test_code_critic_is_six_wide_layers():
    assert kernels(networks.code_critic(10)) == [
        (10, 1000),
        *[(1000, 1000)] * 5,
        (1000, 2),
    ]


def test_filters_and_hidden_can_be_given():
    decoder = networks.conv_decoder((16, 16, 1), 3, filters=(8, 4), hidden=6)
    kernels = [v.shape for v in decoder.trainable_variables if len(v.shape) > 1]
    assert kernels == [(3, 6), (6, 64), (4, 4, 8, 4), (4, 4, 1, 8)]
    assert decoder(tf.zeros([1, 3])).shape == (1, 16, 16, 1)


def test_heads_are_float32_under_mixed_precision(narrow_ali):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        image = tf.zeros([1, 32, 32, 1])
        outputs = [
            networks.conv_encoder((32, 32, 1), 4)(image),
            networks.conv_decoder((32, 32, 1), 4)(tf.zeros([1, 4])),
            networks.ladder_encoder((32, 32, 1), 4)(image),
            networks.ladder_decoder((32, 32, 1), 4)(tf.zeros([1, 4])),
            networks.code_critic(4, 8)(tf.zeros([1, 4])),
            networks.mlp_encoder((32, 32, 1), 4)(image),
            networks.mlp_decoder((32, 32, 1), 4)(tf.zeros([1, 4])),
            networks.label_encoder((32, 32, 1), 4, 2)(image, tf.ones([1, 2])),
            networks.label_decoder((64, 64, 1), 4)(tf.zeros([1, 4])),
            networks.ali_encoder((32, 32, 1), 4)(image),
            networks.ali_generator((32, 32, 1), 4)(tf.zeros([1, 4])),
            networks.ali_critic_dense(4, (8,), 0.01, output=1)(
                tf.zeros([1, 4])
            ),
        ]
    finally:
        keras.config.set_dtype_policy("float32")
    assert {o.dtype for o in outputs} == {tf.float32}


@pytest.mark.parametrize(
    ("side", "size"), [(28, 64), (32, 256), (64, 1024), (84, 1600), (8, 64)]
)
def test_conv4_sizes(side, size):
    network = networks.conv4((side, side, 1))
    assert network.compute_output_shape((None, side, side, 1)) == (None, size)
    assert network(tf.zeros([1, side, side, 1])).shape == (1, size)


def test_ali_initialisation_and_norm(narrow_ali):
    encoder = networks.ali_encoder((32, 32, 1), 300)
    head = encoder.blocks[-1].kernel.numpy()
    np.testing.assert_allclose(head.std(), 0.01, rtol=0.1)
    norms = [
        b
        for b in encoder.blocks
        if isinstance(b, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 6
    assert norms[0].momentum == 0.95
    plain = networks.ali_encoder((32, 32, 1), 4, norm=None)
    assert plain.blocks[0].use_bias
    assert not encoder.blocks[0].use_bias
    assert not any(
        isinstance(b, keras.layers.BatchNormalization) for b in plain.blocks
    )


def test_mlp_networks_mirror_each_other():
    shape = (28, 28, 1)
    encoder, decoder = (
        networks.mlp_encoder(shape, 6),
        networks.mlp_decoder(shape, 3),
    )
    sizes = [
        [v.shape for v in network.trainable_variables[::2]]
        for network in (encoder, decoder)
    ]
    assert sizes == [
        [(784, 400), (400, 400), (400, 6)],
        [(3, 400), (400, 400), (400, 784)],
    ]
    assert decoder(encoder(tf.zeros([2, *shape]))[:, :3]).shape == (2, *shape)


@pytest.mark.parametrize("side", [28, 64])
def test_label_networks(side):
    shape = (side, side, 3)
    images = testing.random_images(shape, 2)
    plain = networks.label_encoder(shape, 7)
    assert plain(images).shape == (2, 7)
    encoder = networks.label_encoder(shape, 7, label_size=3)
    first, second = (encoder(images, tf.eye(3)[i : i + 2]) for i in (0, 1))
    assert np.all(np.abs(first - second) > 0)
    assert networks.label_decoder(shape, 5)(tf.zeros([2, 5])).shape == (
        2,
        *shape,
    )


def test_halved_images_are_means_of_what_is_there():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    halved = networks.halved(tf.constant(image)).numpy()[0, :, :, 0]
    rows = ((0, 1), (1, 2, 3))
    wanted = [[image[0][np.ix_(i, j)].mean() for j in rows] for i in rows]
    np.testing.assert_allclose(halved, wanted, rtol=1e-6)
    assert networks.halved(tf.ones([1, 7, 5, 2])).shape == (1, 4, 3, 2)
    np.testing.assert_allclose(networks.halved(tf.ones([1, 7, 5, 2])), 1.0)


def test_hdn_decoder_takes_its_normalisations_from_the_styles():
    decoder = networks.hdn_decoder((4, 4, 8), (2, 3), 1, 2, 8, "decoder")
    content = tf.random.stateless_normal([2, 4, 4, 8], [1, 2])
    styles = tf.random.stateless_normal([2, 2, 3], [3, 4])
    images = decoder(content, styles)
    assert (images.shape, images.dtype) == ((2, 16, 16, 1), tf.float32)
    assert np.abs(images).max() <= 1
    # The last dense layer's bias: block 0, first normalisation, shift before
    # scale. With all scales at 0 the content is added to shifts only.
    last = decoder.mlp.blocks[-1]
    last.kernel.assign(tf.zeros_like(last.kernel))
    bias = np.zeros((3, 2, 2, 8), np.float32)
    bias[2, 1, 0] = 0.5
    last.bias.assign(bias.ravel())
    np.testing.assert_allclose(
        decoder(content, styles), decoder.up(content + 0.5), atol=1e-6
    )


def test_hdn_critic_heads():
    (critic,) = networks.hdn_critics((28, 28, 1), (2, 5), 4, 1)
    score, logits = critic(testing.random_images((28, 28, 1), 3))
    assert score.shape == (3, 1, 1, 1)
    assert [level.shape for level in logits] == [(3, 2), (3, 5)]
    kernel = critic.trunk.blocks[0].kernel.numpy()
    assert kernel.std() == pytest.approx(0.02, rel=0.5)
    wide = networks.hdn_critics((64, 64, 3), (2, 5), 2, 3)
    sides = [
        c(tf.zeros([1, s, s, 3]))[0].shape[1]
        for c, s in zip(wide, (64, 32, 16), strict=True)
    ]
    assert sides == [4, 2, 1]
