"""Encoders, decoders and critics: tensors in, parameter tensors out.

Networks return parameters, never distributions, which cannot cross a Keras
layer boundary. Heads that parameterise distributions, logits and images are
float32 under every precision policy.
"""

import math
from typing import NamedTuple

import keras

from tfdisent import layers

# The plain convolutional networks: filters of the stride-2 convolutions.
CONV_FILTERS = {32: (32, 32, 64), 64: (32, 32, 64, 64)}


def conv_encoder(
    image_shape, outputs, filters=None, hidden=256, depth=1, name=None
):
    """Stride-2 4x4 convolutions, dense layers, a linear float32 head.

    Args:
      image_shape: `(H, W, C)`, sides divisible by `2 ** len(filters)`.
      outputs: size of the head.
      filters: of each convolution; by image side when None.
      hidden: width of the dense layers.
      depth: how many dense layers there are.
      name: of the network.

    Returns:
      A built `Stack`: `[B, H, W, C]` -> float32 `[B, outputs]`.
    """
    filters = filters or CONV_FILTERS[image_shape[0]]
    blocks = []
    for count in filters:
        blocks.append(keras.layers.Conv2D(count, 4, 2, padding="same"))
        blocks.append(layers.activation("relu"))
    blocks.append(keras.layers.Flatten())
    for _ in range(depth):
        blocks += [keras.layers.Dense(hidden), layers.activation("relu")]
    blocks.append(keras.layers.Dense(outputs, dtype="float32"))
    return built(layers.Stack(blocks, name=name), image_shape)


def conv_decoder(
    image_shape, inputs, filters=None, hidden=256, depth=1, name=None
):
    """The mirror of `conv_encoder`: `[B, inputs]` -> logits `[B, H, W, C]`."""
    filters = filters or CONV_FILTERS[image_shape[0]]
    side = image_shape[0] // 2 ** len(filters)
    blocks = []
    for _ in range(depth):
        blocks += [keras.layers.Dense(hidden), layers.activation("relu")]
    blocks += [
        keras.layers.Dense(side * side * filters[-1]),
        layers.activation("relu"),
        keras.layers.Reshape((side, side, filters[-1])),
    ]
    for count in filters[-2::-1]:
        blocks.append(keras.layers.Conv2DTranspose(count, 4, 2, padding="same"))
        blocks.append(layers.activation("relu"))
    blocks.append(
        keras.layers.Conv2DTranspose(
            image_shape[-1], 4, 2, padding="same", dtype="float32"
        )
    )
    return built(layers.Stack(blocks, name=name), (inputs,))


def built(stack, input_shape):
    """The stack with its variables, for inputs `[B, *input_shape]`."""
    stack.build((None, *input_shape))
    return stack


def code_critic(size, width=1000, name=None):
    """Two logits of a code: FactorVAE's six hidden layers, LeakyReLU 0.2."""
    stack = layers.dense_stack(
        (width,) * 6 + (2,), slope=0.2, output_dtype="float32", name=name
    )
    return built(stack, (size,))


# ---- ladders (seed 001) ----------------------------------------------------


class Level(NamedTuple):
    """The blocks of one level of a ladder network, 4x4 convolutions all.

    Attributes:
      trunk: filters of f_l^e, a convolution of stride 2.
      ladder: `(filters, stride)` of mu_l and sigma_l's convolutions.
      ladder_dense: widths of the dense layers behind them.
      code_dense: widths of the dense layers on z_l.
      code_filters: of the map that they end in.
      up: `(filters, stride)` of f_l^d's transposed convolutions.
      decoder_norm: whether the decoder's blocks of this level are normalised.
    """

    trunk: int
    ladder: tuple
    ladder_dense: tuple
    code_dense: tuple
    code_filters: int
    up: tuple
    decoder_norm: bool = True


class Ladder(NamedTuple):
    """The blocks of a ladder network: levels from the shallowest on."""

    activation: str
    levels: tuple


# By number of levels: seed 001's networks for dSprites, 3D Shapes and (at
# 32x32) MNIST, and the one for CelebA.
LADDERS = {
    3: Ladder(
        "elu", (Level(32, ((32, 2),), (256,), (256,), 32, ((32, 2),)),) * 3
    ),
    4: Ladder(
        "leaky_relu",
        (
            Level(64, ((64, 2), (64, 1)), (), (), 64, ((64, 2),), False),
            Level(128, ((128, 2), (256, 2)), (), (), 256, ((128, 2), (64, 1))),
            Level(256, ((256, 2), (512, 2)), (), (), 512, ((512, 1), (256, 2))),
            Level(512, (), (1024, 1024), (1024, 1024), 512, ()),
        ),
    ),
}
NORMS = {
    None: lambda: [],
    "affine": lambda: [layers.Affine()],
    # TensorFlow 1's constants, which seed 001's code has.
    "batch": lambda: [keras.layers.BatchNormalization()],
}


def _ladder_blocks(spec, norm, block):
    """A layer, its activation, its normalisation (in this order)."""
    return [block, layers.activation(spec.activation, 0.2), *NORMS[norm]()]


def _ladder_convolutions(spec, norm, shapes, kind=keras.layers.Conv2D):
    return [
        block
        for filters, stride in shapes
        for block in _ladder_blocks(
            spec, norm, kind(filters, 4, stride, padding="same")
        )
    ]


def _ladder_dense(spec, norm, widths):
    return [
        block
        for width in widths
        for block in _ladder_blocks(spec, norm, keras.layers.Dense(width))
    ]


def ladder_trunk(spec, level, norm):
    """f_l^e as a list of layers; level counts from 1."""
    return _ladder_convolutions(
        spec, norm, ((spec.levels[level - 1].trunk, 2),)
    )


def ladder_head(spec, level, outputs, norm):
    """mu_l and log sigma_l^2 of h_l, `[B, outputs]`, as a list of layers."""
    own = spec.levels[level - 1]
    return [
        *_ladder_convolutions(spec, norm, own.ladder),
        keras.layers.Flatten(),
        *_ladder_dense(spec, norm, own.ladder_dense),
        keras.layers.Dense(outputs, dtype="float32"),
    ]


def ladder_map(spec, level, side, norm):
    """m_l (at the deepest level the start of f_L^d): z_l to a map, layers."""
    own = spec.levels[level - 1]
    norm = norm if own.decoder_norm else None
    # What f_l^d and all after it, f_0^d too, double.
    strides = [s for below in spec.levels[:level] for _, s in below.up]
    side //= 2 * math.prod(strides)
    return [
        *_ladder_dense(
            spec, norm, (*own.code_dense, side * side * own.code_filters)
        ),
        keras.layers.Reshape((side, side, own.code_filters)),
    ]


def ladder_up(spec, level, norm):
    """f_l^d behind the concatenation, as a list of layers."""
    own = spec.levels[level - 1]
    norm = norm if own.decoder_norm else None
    return _ladder_convolutions(
        spec, norm, own.up, keras.layers.Conv2DTranspose
    )


def ladder_pixels(channels):
    """f_0^d: g_1 to logits, a list of layers."""
    return [
        keras.layers.Conv2DTranspose(
            channels, 4, 2, padding="same", dtype="float32"
        )
    ]


def ladder_encoder(image_shape, outputs, levels=3, norm="affine", name=None):
    """The trunk of a ladder network and its deepest ladder alone.

    Args:
      image_shape: `(H, W, C)`, 32x32 or 64x64 (64x64 alone at 4 levels).
      outputs: size of the float32 head.
      levels: of `LADDERS`.
      norm: of `NORMS`.
      name: of the network.

    Returns:
      A built `Stack`.
    """
    spec = LADDERS[levels]
    blocks = [
        block
        for level in range(1, levels + 1)
        for block in ladder_trunk(spec, level, norm)
    ]
    blocks += ladder_head(spec, levels, outputs, norm)
    return built(layers.Stack(blocks, name=name), image_shape)


def ladder_decoder(image_shape, inputs, levels=3, norm="affine", name=None):
    """The decoder of a ladder network that only the deepest code feeds."""
    spec = LADDERS[levels]
    blocks = ladder_map(spec, levels, image_shape[0], norm)
    for level in range(levels, 0, -1):
        blocks += ladder_up(spec, level, norm)
    blocks += ladder_pixels(image_shape[-1])
    return built(layers.Stack(blocks, name=name), (inputs,))


# ---- flat VAEs -------------------------------------------------------------


def _burgess(build):
    """Burgess et al. 2018: 32 filters everywhere, two dense layers of 256."""

    def network(image_shape, size, name=None):
        filters = (32,) * int(math.log2(image_shape[0] // 4))
        return build(image_shape, size, filters, 256, depth=2, name=name)

    return network


# Encoder and decoder by name: `(image_shape, size of head or code, name)`.
FLAT = {
    "conv": (conv_encoder, conv_decoder),
    "burgess": (_burgess(conv_encoder), _burgess(conv_decoder)),
    "ladder": (ladder_encoder, ladder_decoder),
}


# ---- InfoGAN (Chen et al., NeurIPS 2016, appendix C) -----------------------

# By image side, filters of D's stride-2 convolutions and widths of the dense
# layers behind them: the paper's for MNIST, and at 64x64 those of Burgess et
# al. 2018.
GAN_FILTERS = {28: (64, 128), 32: (64, 128), 64: (32, 32, 32, 32)}
GAN_HIDDEN = {28: (1024,), 32: (1024,), 64: (256, 256)}
GAN_SLOPE = 0.1


def _gan_block(kind, *sizes, norm, activation, **options):
    """A layer, its normalisation, its activation."""
    blocks = [
        kind(
            *sizes,
            use_bias=not norm,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            **options,
        )
    ]
    if norm:
        blocks.append(layers.batch_norm())
    return [*blocks, layers.activation(activation, GAN_SLOPE)]


def gan_generator(image_shape, inputs, filters, hidden, norm=None, name=None):
    """G, the mirror of `gan_trunk`: `[B, inputs]` -> images in [-1, 1]."""
    side = image_shape[0] // 2 ** len(filters)
    blocks = []
    for width in (*hidden[::-1], side * side * filters[-1]):
        blocks += _gan_block(
            keras.layers.Dense, width, norm=norm, activation="relu"
        )
    blocks.append(keras.layers.Reshape((side, side, filters[-1])))
    for count in filters[-2::-1]:
        blocks += _gan_block(
            *(keras.layers.Conv2DTranspose, count, 4, 2),
            norm=norm,
            activation="relu",
            padding="same",
        )
    blocks += [
        keras.layers.Conv2DTranspose(
            image_shape[-1],
            4,
            2,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype="float32",
        ),
        keras.layers.Activation("tanh", dtype="float32"),
    ]
    return built(layers.Stack(blocks, name=name), (inputs,))


def gan_trunk(image_shape, filters, hidden, norm=None, name=None):
    """What D and Q share: images in [-1, 1] -> features `[B, hidden[-1]]`."""
    blocks = []
    for index, count in enumerate(filters):
        blocks += _gan_block(
            *(keras.layers.Conv2D, count, 4, 2),
            # The first convolution is never normalised.
            norm=norm if index else None,
            activation="leaky_relu",
            padding="same",
        )
    blocks.append(keras.layers.Flatten())
    for width in hidden:
        blocks += _gan_block(
            keras.layers.Dense, width, norm=norm, activation="leaky_relu"
        )
    return built(layers.Stack(blocks, name=name), image_shape)


def gan_head(inputs, outputs, hidden=(), norm=None, name=None):
    """Dense layers on the trunk's features, float32 `[B, outputs]`."""
    blocks = []
    for width in hidden:
        blocks += _gan_block(
            keras.layers.Dense, width, norm=norm, activation="leaky_relu"
        )
    blocks.append(keras.layers.Dense(outputs, dtype="float32"))
    return built(layers.Stack(blocks, name=name), (inputs,))


# ---- ALI (Dumoulin et al., ICLR 2017, appendix A) -------------------------

# What encoder and image critic share: from the image down to 1x1.
_ALI_DOWN = {
    32: ((5, 1, 32), (4, 2, 64), (4, 1, 128), (4, 2, 256), (4, 1, 512)),
    64: ((2, 1, 64), (7, 2, 128), (5, 2, 256), (7, 2, 256), (4, 1, 512)),
}
# By image side, (kernel, stride, filters) of the encoder's convolutions, of
# the generator's transposed ones and of the image critic's convolutions, all
# with "valid" padding: 32 -> 28, 13, 10, 4, 1 and 64 -> 63, 29, 13, 4, 1.
ALI = {
    32: {
        "encoder": (*_ALI_DOWN[32], (1, 1, 512)),
        "generator": (
            (4, 1, 256),
            (4, 2, 128),
            (4, 1, 64),
            (4, 2, 32),
            (5, 1, 32),
        ),
        "generator_head": 32,
        "critic_image": _ALI_DOWN[32],
        "critic_code": (512, 512),
        "critic_joint": (1024, 1024),
        "slope": 0.01,
    },
    64: {
        "encoder": _ALI_DOWN[64],
        "generator": (
            (4, 1, 512),
            (7, 2, 256),
            (5, 2, 256),
            (7, 2, 128),
            (2, 1, 64),
        ),
        "generator_head": None,
        "critic_image": _ALI_DOWN[64],
        "critic_code": (1024, 1024),
        "critic_joint": (2048, 2048),
        "slope": 0.02,
    },
}
ALI_DROPOUT = 0.2


def _ali_initializer():
    return keras.initializers.RandomNormal(stddev=0.01)


def _ali_norm():
    # Blocks' running average keeps 0.95 of what it had.
    return keras.layers.BatchNormalization(momentum=0.95, epsilon=1e-5)


def _ali_block(layer, norm, slope):
    """A convolution, its normalisation, LeakyReLU."""
    blocks = [layer]
    if norm:
        blocks.append(_ali_norm())
    return [*blocks, layers.activation("leaky_relu", slope)]


def ali_encoder(image_shape, outputs, norm="batch", name=None):
    """E: `[B, H, W, C]` -> float32 `[B, outputs]` (means and log stddevs)."""
    spec = ALI[image_shape[0]]
    blocks = []
    for kernel, stride, filters in spec["encoder"]:
        convolution = keras.layers.Conv2D(
            filters,
            kernel,
            stride,
            use_bias=not norm,
            kernel_initializer=_ali_initializer(),
        )
        blocks += _ali_block(convolution, norm, spec["slope"])
    # A 1x1 convolution on a 1x1 map is a dense layer, its untied bias too.
    blocks += [
        keras.layers.Flatten(),
        keras.layers.Dense(
            outputs, kernel_initializer=_ali_initializer(), dtype="float32"
        ),
    ]
    return built(layers.Stack(blocks, name=name), image_shape)


def ali_generator(image_shape, inputs, norm="batch", name=None):
    """G: `[B, inputs]` -> logits `[B, H, W, C]`; ends with an untied bias."""
    spec = ALI[image_shape[0]]
    blocks = [keras.layers.Reshape((1, 1, inputs))]
    for kernel, stride, filters in spec["generator"]:
        convolution = keras.layers.Conv2DTranspose(
            filters,
            kernel,
            stride,
            use_bias=not norm,
            kernel_initializer=_ali_initializer(),
        )
        blocks += _ali_block(convolution, norm, spec["slope"])
    if spec["generator_head"]:
        convolution = keras.layers.Conv2D(
            spec["generator_head"],
            1,
            use_bias=not norm,
            kernel_initializer=_ali_initializer(),
        )
        blocks += _ali_block(convolution, norm, spec["slope"])
    blocks += [
        keras.layers.Conv2D(
            image_shape[-1],
            1,
            use_bias=False,
            kernel_initializer=_ali_initializer(),
            dtype="float32",
        ),
        layers.UntiedBias(dtype="float32"),
    ]
    return built(layers.Stack(blocks, name=name), (inputs,))


def ali_critic_image(image_shape, norm="batch", name=None):
    """D(x): `[B, H, W, C]` -> features `[B, 512]`, dropout on every input."""
    spec = ALI[image_shape[0]]
    blocks = []
    for index, (kernel, stride, filters) in enumerate(spec["critic_image"]):
        # The first convolution is never normalised (the authors' code).
        own_norm = norm if index else None
        convolution = keras.layers.Conv2D(
            filters,
            kernel,
            stride,
            use_bias=not own_norm,
            kernel_initializer=_ali_initializer(),
        )
        blocks.append(layers.Dropout(ALI_DROPOUT))
        blocks += _ali_block(convolution, own_norm, spec["slope"])
    blocks.append(keras.layers.Flatten())
    return built(layers.Stack(blocks, name=name), image_shape)


def ali_critic_dense(inputs, widths, slope, output=None, name=None):
    """D(z) and D(x, z): dense layers with dropout on every input, no norm."""
    blocks = []
    for width in widths:
        blocks += [
            layers.Dropout(ALI_DROPOUT),
            keras.layers.Dense(width, kernel_initializer=_ali_initializer()),
            layers.activation("leaky_relu", slope),
        ]
    if output:
        blocks += [
            layers.Dropout(ALI_DROPOUT),
            keras.layers.Dense(
                output, kernel_initializer=_ali_initializer(), dtype="float32"
            ),
        ]
    return built(layers.Stack(blocks, name=name), (inputs,))


def conv4(image_shape, filters=64, name=None):
    """[3x3 convolution, batch norm, ReLU, 2x2 max pooling] x 4, flattened.

    The embedding of matching and prototypical networks: 32x32 -> 256 and
    64x64 -> 1,024 numbers.
    """
    blocks = []
    side = math.gcd(*image_shape[:2])
    for _ in range(4):
        blocks += [
            keras.layers.Conv2D(filters, 3, padding="same"),
            layers.batch_norm(),
            layers.activation("relu"),
        ]
        if side > 1:
            blocks.append(keras.layers.MaxPooling2D(2))
            side //= 2
    blocks.append(keras.layers.Flatten())
    return built(layers.Stack(blocks, name=name), image_shape)
