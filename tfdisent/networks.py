"""Encoders, decoders and critics: tensors in, parameter tensors out.

Networks return parameters, never distributions, which cannot cross a Keras
layer boundary. Heads that parameterise distributions, logits and images are
float32 under every precision policy.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

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


# ---- ladders (pro-VLAE) ----------------------------------------------------


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
    """The blocks of a ladder network.

    Attributes:
      activation: of every block.
      levels: from the shallowest on.
      log_variances: the range that the KL sees them in, or None.
    """

    activation: str
    levels: tuple
    log_variances: tuple | None = None


# By number of levels: pro-VLAE's networks for dSprites, 3D Shapes and (at
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
        log_variances=(-100.0, 3.0),
    ),
}
# Of a flat VAE's ladder network, and all its blocks are affine.
FLAT_LEVELS = 3
NORMS = {
    None: lambda: [],
    "affine": lambda: [layers.Affine()],
    # TensorFlow 1's constants, which pro-VLAE's code has.
    "batch": lambda: [layers.BatchNormalization()],
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


@keras.saving.register_keras_serializable("tfdisent")
class LadderNetwork(keras.layers.Layer):
    """A code a level, inferred from and decoded at several depths.

    h_l = f_l^e(h_(l-1)), h_0 the image; mu_l and sigma_l of gain_l h_l; the
    way back g_l = f_l^d([gain_l m_l(z_l); g_(l+1)]) (pro-VLAE, eq. 4-9).

    Args:
      trunk: layers f_1^e .. f_L^e.
      heads: layers, h_l to mean and log variance, `[B, 2 d]`.
      maps: layers m_1 .. m_(L-1), and the start of f_L^d.
      joins: layers of [m_l(z_l), g_(l+1)], for the levels below L.
      ups: layers f_1^d .. f_L^d behind them.
      pixels: layer f_0^d, g_1 to logits.
    """

    def __init__(self, trunk, heads, maps, joins, ups, pixels, **kwargs):
        super().__init__(**kwargs)
        self.trunk, self.heads = trunk, heads
        self.maps, self.joins, self.ups = maps, joins, ups
        self.pixels = pixels
        self.built = True

    def infer(self, image, gains=None, training=False):
        """Mean and log variance of every level.

        Args:
          image: `[B, H, W, C]`.
          gains: scalars, one a level; None for ones.
          training: whether batch statistics are used and updated.

        Returns:
          A list of float32 `[B, 2 d]`, the shallowest level first.
        """
        features, parameters = image, []
        for level, (block, head) in enumerate(
            zip(self.trunk, self.heads, strict=True)
        ):
            features = block(features, training=training)
            seen = _amplified(features, gains, level)
            parameters.append(head(seen, training=training))
        return parameters

    def generate(self, codes, gains=None, training=False):
        """Logits `[B, H, W, C]` of a code `[B, d]` a level."""
        *above, deepest = range(len(codes))
        features = self.maps[deepest](codes[deepest], training=training)
        features = self.ups[deepest](features, training=training)
        for level in reversed(above):
            added = self.maps[level](codes[level], training=training)
            added = _amplified(added, gains, level)
            features = self.joins[level]([added, features])
            features = self.ups[level](features, training=training)
        return self.pixels(features, training=training)


def _amplified(features, gains, level):
    if gains is None:
        return features
    return tf.cast(gains[level], features.dtype) * features


def ladder_network(image_shape, z_dim, levels=3, norm="affine", name=None):
    """pro-VLAE's network: a `LadderNetwork` of codes `[B, z_dim]`.

    Args:
      image_shape: `(H, W, C)`, 32x32 or 64x64.
      z_dim: entries of every level.
      levels: of `LADDERS`.
      norm: of `NORMS`.
      name: of the network.

    Raises:
      ValueError: no such number of levels, or norm.
    """
    if levels not in LADDERS or norm not in NORMS:
        raise ValueError(
            f"levels must be one of {list(LADDERS)}, norm one of "
            f"{list(NORMS)}. Received: levels={levels}, norm={norm!r}"
        )
    spec, counts = LADDERS[levels], range(1, levels + 1)
    side, channels = image_shape[0], image_shape[-1]
    trunk, heads, shape = [], [], (None, *image_shape)
    for level in counts:
        trunk.append(_stack(ladder_trunk(spec, level, norm), shape))
        shape = trunk[-1].compute_output_shape(shape)
        heads.append(_stack(ladder_head(spec, level, 2 * z_dim, norm), shape))
    maps = [
        _stack(ladder_map(spec, level, side, norm), (None, z_dim))
        for level in counts
    ]
    joins = [keras.layers.Concatenate() for _ in counts[:-1]]
    ups = [None] * levels
    for level in reversed(counts):
        own = maps[level - 1].compute_output_shape((None, z_dim))
        if level < levels:
            own = joins[level - 1].compute_output_shape([own, shape])
        ups[level - 1] = _stack(ladder_up(spec, level, norm), own)
        shape = ups[level - 1].compute_output_shape(own)
    pixels = _stack(ladder_pixels(channels), shape)
    return LadderNetwork(trunk, heads, maps, joins, ups, pixels, name=name)


def _stack(blocks, input_shape):
    stack = layers.Stack(blocks)
    stack.build(input_shape)
    return stack


def ladder_encoder(image_shape, outputs, name=None):
    """The trunk of a ladder network and its deepest ladder alone.

    Args:
      image_shape: `(H, W, C)`, 32x32 or 64x64.
      outputs: size of the float32 head.
      name: of the network.

    Returns:
      A built `Stack`.
    """
    spec = LADDERS[FLAT_LEVELS]
    blocks = [
        block
        for level in range(1, FLAT_LEVELS + 1)
        for block in ladder_trunk(spec, level, "affine")
    ]
    blocks += ladder_head(spec, FLAT_LEVELS, outputs, "affine")
    return built(layers.Stack(blocks, name=name), image_shape)


def ladder_decoder(image_shape, inputs, name=None):
    """The decoder of a ladder network that only the deepest code feeds."""
    spec = LADDERS[FLAT_LEVELS]
    blocks = ladder_map(spec, FLAT_LEVELS, image_shape[0], "affine")
    for level in range(FLAT_LEVELS, 0, -1):
        blocks += ladder_up(spec, level, "affine")
    blocks += ladder_pixels(image_shape[-1])
    return built(layers.Stack(blocks, name=name), (inputs,))


# ---- VLAE's own network for MNIST (Zhao et al., ICML 2017, and its code) ----


def _original_block(block, activation="leaky_relu"):
    norm = layers.BatchNormalization()
    return [block, norm, layers.activation(activation, 0.1)]


def _original_weights():
    return keras.initializers.RandomNormal(stddev=0.02)


def _original_dense(width, activation="leaky_relu"):
    return _original_block(
        keras.layers.Dense(width, kernel_initializer=_original_weights()),
        activation,
    )


def original_ladder(image_shape, z_dim, width=1024, name=None):
    """The `LadderNetwork` of three levels that VLAE's authors use for MNIST.

    Batch normalisation before every activation of a hidden layer, weights
    N(0, 0.02^2); the code is added through a gate; every head sees what its
    own layers make of the level below, the first one of the image itself.

    Args:
      image_shape: `(H, W, C)`, sides divisible by 4.
      z_dim: entries of every level.
      width: of the dense layers.
      name: of the network.
    """
    side, channels = image_shape[0] // 4, image_shape[-1]
    linear = keras.layers.Dense

    def convolutions():
        return [
            block
            for filters in (64, 128)
            for block in _original_block(
                keras.layers.Conv2D(
                    filters,
                    4,
                    2,
                    padding="same",
                    kernel_initializer=_original_weights(),
                )
            )
        ] + [keras.layers.Flatten()]

    def two(activation="leaky_relu"):
        return [
            *_original_dense(width, activation),
            *_original_dense(width, activation),
        ]

    def head():
        return [
            linear(2 * z_dim, dtype="float32"),
            layers.BoundedSpread(dtype="float32"),
        ]

    image, hidden, code = (None, *image_shape), (None, width), (None, z_dim)
    trunk = [
        _stack([], image),
        _stack([*convolutions(), linear(width)], image),
        _stack([*two(), linear(width)], hidden),
    ]
    heads = [
        _stack([*convolutions(), *head()], image),
        _stack([*two(), *head()], hidden),
        _stack([*two(), *head()], hidden),
    ]
    maps = [
        _stack(_original_dense(width), code),
        _stack(_original_dense(width, "relu"), code),
        _stack([*two("relu"), linear(width)], code),
    ]
    joins = [layers.GatedSum(), layers.GatedSum()]
    for join in joins:
        join.build([hidden, hidden])
    up = keras.layers.Conv2DTranspose(
        64, 4, 2, padding="same", kernel_initializer=_original_weights()
    )
    ups = [
        _stack(
            [
                *_original_dense(side * side * 128, "relu"),
                keras.layers.Reshape((side, side, 128)),
                *_original_block(up),
            ],
            hidden,
        ),
        _stack([*two("relu"), linear(width)], hidden),
        _stack([], hidden),
    ]
    pixels = _stack(
        ladder_pixels(channels), ups[0].compute_output_shape(hidden)
    )
    return LadderNetwork(trunk, heads, maps, joins, ups, pixels, name=name)


# ---- flat VAEs -------------------------------------------------------------


def _burgess(build):
    """Burgess et al. 2018: 32 filters everywhere, two dense layers of 256."""

    def network(image_shape, size, name=None):
        filters = (32,) * int(math.log2(image_shape[0] // 4))
        return build(image_shape, size, filters, 256, depth=2, name=name)

    return network


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
    return layers.BatchNormalization(momentum=0.95, epsilon=1e-5)


def _ali_block(layer, norm, slope):
    """A convolution, its normalisation, LeakyReLU."""
    blocks = [layer]
    if norm:
        blocks.append(_ali_norm())
    return [*blocks, layers.activation("leaky_relu", slope)]


def _ali_down(convolutions, side, norm, slope, dropout=0.0, bare=0):
    """Blocks from an image down to one flat pixel.

    A convolution whose kernel covers its whole map is a dense layer, which
    takes a fifth of its time on a CPU.

    Args:
      convolutions: (kernel, stride, filters) of each.
      side: of the image.
      norm: `"batch"` or None.
      slope: of LeakyReLU.
      dropout: rate on every input.
      bare: how many convolutions, from the first, go without normalisation.
    """
    blocks = []
    for index, (kernel, stride, filters) in enumerate(convolutions):
        own_norm = norm if index >= bare else None
        given = {
            "use_bias": not own_norm,
            "kernel_initializer": _ali_initializer(),
        }
        if dropout:
            blocks.append(layers.Dropout(dropout))
        if kernel == side:
            blocks.append(keras.layers.Flatten())
            layer = keras.layers.Dense(filters, **given)
        else:
            layer = keras.layers.Conv2D(filters, kernel, stride, **given)
        blocks += _ali_block(layer, own_norm, slope)
        side = (side - kernel) // stride + 1
    return blocks


def ali_encoder(image_shape, outputs, norm="batch", name=None):
    """E: `[B, H, W, C]` -> float32 `[B, outputs]` (means and log stddevs)."""
    spec = ALI[image_shape[0]]
    blocks = _ali_down(spec["encoder"], image_shape[0], norm, spec["slope"])
    # A 1x1 convolution of one pixel is dense, its untied bias too.
    blocks.append(
        keras.layers.Dense(
            outputs, kernel_initializer=_ali_initializer(), dtype="float32"
        )
    )
    return built(layers.Stack(blocks, name=name), image_shape)


def ali_generator(image_shape, inputs, norm="batch", name=None):
    """G: `[B, inputs]` -> logits `[B, H, W, C]`; ends with an untied bias."""
    spec = ALI[image_shape[0]]
    # A transposed convolution of one pixel is a dense layer.
    (side, _, filters), *others = spec["generator"]
    shape = (side, side, filters)
    dense = keras.layers.Dense(
        math.prod(shape),
        use_bias=not norm,
        kernel_initializer=_ali_initializer(),
    )
    reshape = keras.layers.Reshape(shape)
    blocks = [dense, *_ali_block(reshape, norm, spec["slope"])]
    for kernel, stride, filters in others:
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
    # The first convolution is never normalised (the authors' code).
    blocks = _ali_down(
        spec["critic_image"],
        image_shape[0],
        norm,
        spec["slope"],
        ALI_DROPOUT,
        bare=1,
    )
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


# ---- perceptrons, and networks that see a label (ClassVAE) ----------------

MLP_HIDDEN = (400, 400)
# At 64x64 four convolutions of 32 filters (Burgess et al., 2018), else none.
LABEL_FILTERS = (32, 32, 32, 32)
LABEL_HIDDEN = (256, 256)


def perceptron(inputs, widths, outputs, name=None):
    """Dense layers with ReLU, a linear float32 head.

    Args:
      inputs, outputs: sizes.
      widths: of the hidden layers.
      name: of the network.

    Returns:
      A built `Stack`: `[B, inputs]` -> float32 `[B, outputs]`.
    """
    blocks = [*_hidden(widths), keras.layers.Dense(outputs, dtype="float32")]
    return built(layers.Stack(blocks, name=name), (inputs,))


def mlp_encoder(image_shape, outputs, name=None):
    """A perceptron on pixels: `[B, H, W, C]` -> float32 `[B, outputs]`."""
    blocks = [
        keras.layers.Flatten(),
        *_hidden(MLP_HIDDEN),
        keras.layers.Dense(outputs, dtype="float32"),
    ]
    return built(layers.Stack(blocks, name=name), image_shape)


def mlp_decoder(image_shape, inputs, name=None):
    """The mirror of `mlp_encoder`: `[B, inputs]` -> logits `[B, H, W, C]`."""
    blocks = [
        *_hidden(MLP_HIDDEN),
        keras.layers.Dense(math.prod(image_shape), dtype="float32"),
        keras.layers.Reshape(image_shape, dtype="float32"),
    ]
    return built(layers.Stack(blocks, name=name), (inputs,))


def label_encoder(image_shape, outputs, label_size=0, name=None):
    """`mlp_encoder` with a label beside the pixels; 64x64 is convolved first.

    Args:
      image_shape: `(H, W, C)`.
      outputs: size of the head.
      label_size: of the label beside the (flattened) features; 0 for none.
      name: of the network.

    Returns:
      A `Conditioned`: `[B, H, W, C]`, label -> float32 `[B, outputs]`.
    """
    convolved = image_shape[0] == 64
    blocks = []
    for count in LABEL_FILTERS if convolved else ():
        blocks.append(keras.layers.Conv2D(count, 4, 2, padding="same"))
        blocks.append(layers.activation("relu"))
    blocks.append(keras.layers.Flatten())
    trunk = built(layers.Stack(blocks), image_shape)
    features = trunk.compute_output_shape((None, *image_shape))[-1]
    widths = LABEL_HIDDEN if convolved else MLP_HIDDEN
    head = perceptron(features + label_size, widths, outputs)
    return layers.Conditioned(trunk, head, name=name)


def label_decoder(image_shape, inputs, name=None):
    """The mirror of `label_encoder`: `[B, inputs]` -> logits `[B, H, W, C]`.

    Labels are among the inputs.
    """
    if image_shape[0] != 64:
        return mlp_decoder(image_shape, inputs, name)
    smallest = (4, 4, LABEL_FILTERS[-1])
    blocks = [
        *_hidden((*LABEL_HIDDEN, math.prod(smallest))),
        keras.layers.Reshape(smallest),
    ]
    for count in LABEL_FILTERS[-2::-1]:
        blocks.append(keras.layers.Conv2DTranspose(count, 4, 2, padding="same"))
        blocks.append(layers.activation("relu"))
    blocks.append(
        keras.layers.Conv2DTranspose(
            image_shape[-1], 4, 2, padding="same", dtype="float32"
        )
    )
    return built(layers.Stack(blocks, name=name), (inputs,))


def _hidden(widths):
    """Dense layers of these widths, each with its ReLU."""
    blocks = []
    for width in widths:
        blocks += [keras.layers.Dense(width), layers.activation("relu")]
    return blocks


# ---- HDN (its A.1.1) -------------------------------------------------------

HDN_BLOCKS = 3  # Residual blocks of either encoder and of the decoder.


def _hdn_down(filters, norm):
    """c7s1-k, d2k, d4k: to a quarter of the side."""
    blocks = []
    for kernel, stride, factor in ((7, 1, 1), (4, 2, 2), (4, 2, 4)):
        blocks.append(layers.ReflectConv2D(factor * filters, kernel, stride))
        if norm:
            blocks.append(layers.InstanceNorm())
        blocks.append(layers.activation("relu"))
    return blocks


def hdn_content_encoder(image_shape, filters, name=None):
    """E_c: `[B, H, W, C]` -> F_1, float32 `[B, H / 4, W / 4, 4 filters]`."""
    blocks = _hdn_down(filters, "instance")
    for _ in range(HDN_BLOCKS):
        blocks.append(layers.Residual(4 * filters, "instance"))
    blocks.append(keras.layers.Activation("linear", dtype="float32"))
    return built(layers.Stack(blocks, name=name), image_shape)


def hdn_style_encoder(
    image_shape, filters, levels, style_dim, strided, name=None
):
    """E_s: `[B, H, W, C]` -> R_2 .. R_L, float32 `[B, levels, style_dim]`.

    Args:
      image_shape: `(H, W, C)`.
      filters: of the first convolution.
      levels: how many, L - 1.
      style_dim: numbers a level.
      strided: two further stride-2 convolutions, as at 128x128, in the place
        of the residual blocks of the form for 28x28.
      name: of the network.
    """
    blocks = _hdn_down(filters, None)
    if strided:
        for _ in range(2):
            blocks.append(layers.ReflectConv2D(4 * filters, 4, 2))
            blocks.append(layers.activation("relu"))
    else:
        blocks += [layers.Residual(4 * filters) for _ in range(HDN_BLOCKS)]
    blocks += [
        keras.layers.GlobalAveragePooling2D(dtype="float32"),
        # A 1x1 convolution for each level, on one pixel.
        keras.layers.Dense(
            levels * style_dim, kernel_initializer="he_normal", dtype="float32"
        ),
        keras.layers.Reshape((levels, style_dim), dtype="float32"),
    ]
    return built(layers.Stack(blocks, name=name), image_shape)


@keras.saving.register_keras_serializable("tfdisent")
class HDNDecoder(keras.layers.Layer):
    """G: content through AdaIN blocks whose parameters come from the styles.

    Args:
      channels: of the image.
      filters: of the last but one convolution.
      hidden: width of the MLP's two hidden layers.

    Call arguments:
      content: `[B, h, w, 4 filters]`.
      styles: `[B, levels, style_dim]`.
    """

    def __init__(self, channels, filters, hidden, **kwargs):
        # Styles stay float32 under every policy, as far as the AdaIN.
        super().__init__(autocast=False, **kwargs)
        self.channels, self.filters, self.hidden = channels, filters, hidden
        width = 4 * filters
        self.mlp = layers.Stack(
            [
                _hdn_dense(hidden, "relu"),
                _hdn_dense(hidden, "relu"),
                _hdn_dense(HDN_BLOCKS * 2 * 2 * width),
            ],
            dtype="float32",
            name="mlp",
        )
        self.blocks = [
            layers.Residual(width, "instance") for _ in range(HDN_BLOCKS)
        ]
        self.up = layers.Stack(
            [
                layers.UpConv2D(2 * filters),
                layers.ImageNorm(),
                layers.activation("relu"),
                layers.UpConv2D(filters),
                layers.ImageNorm(),
                layers.activation("relu"),
                layers.ReflectConv2D(channels, 7),
                keras.layers.Activation("tanh", dtype="float32"),
            ],
            name="up",
        )

    def build(self, content_shape, styles_shape):
        self.mlp.build((None, styles_shape[1] * styles_shape[2]))
        for block in self.blocks:
            block.build(content_shape)
        self.up.build(content_shape)

    def call(self, content, styles):
        flat = tf.reshape(styles, [-1, styles.shape[1] * styles.shape[2]])
        parameters = tf.reshape(
            self.mlp(flat), [-1, HDN_BLOCKS, 2, 2, 4 * self.filters]
        )
        hidden = tf.cast(content, self.compute_dtype)
        for number, block in enumerate(self.blocks):
            own = parameters[:, number]
            # Of each half the shift comes first (the authors' code).
            shifts, scales = tf.unstack(own, axis=2)
            hidden = block(
                hidden, tf.unstack(scales, axis=1), tf.unstack(shifts, axis=1)
            )
        return self.up(hidden)

    def compute_output_shape(self, content_shape, styles_shape):
        del styles_shape
        return (*self.up.compute_output_shape(content_shape)[:3], self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "filters": self.filters,
            "hidden": self.hidden,
        }


def _hdn_dense(units, activation=None):
    # The parameters of a normalisation are as delicate as logits.
    return keras.layers.Dense(
        units, activation, kernel_initializer="he_normal", dtype="float32"
    )


def hdn_decoder(content_shape, style_shape, channels, filters, hidden, name):
    """A built `HDNDecoder`: content, styles -> float32 images in [-1, 1]."""
    decoder = HDNDecoder(channels, filters, hidden, name=name)
    decoder.build((None, *content_shape), (None, *style_shape))
    return decoder


@keras.saving.register_keras_serializable("tfdisent")
class HDNCritic(keras.layers.Layer):
    """D at one scale: a real/fake map and a classifier for every level.

    Args:
      sizes: categories of every level from the second on.
      filters: of the first of four stride-2 convolutions.

    Call arguments:
      image: `[B, H, W, C]`.

    Output:
      `(map, logits)`: float32 `[B, h, w, 1]`, and a list of `[B, K_l]`.
    """

    def __init__(self, sizes, filters, **kwargs):
        super().__init__(**kwargs)
        self.sizes, self.filters = tuple(sizes), filters
        blocks = []
        for factor in (1, 2, 4, 8):
            blocks.append(
                layers.ReflectConv2D(
                    factor * filters, 4, 2, initializer=_hdn_normal()
                )
            )
            blocks.append(layers.activation("leaky_relu", 0.2))
        blocks.append(keras.layers.Activation("linear", dtype="float32"))
        self.trunk = layers.Stack(blocks, name="trunk")
        self.score, self.classes = (
            keras.layers.Dense(
                units, kernel_initializer=_hdn_normal(), dtype="float32"
            )
            for units in (1, sum(self.sizes))
        )

    def build(self, input_shape):
        self.trunk.build(input_shape)
        features = self.trunk.compute_output_shape(input_shape)
        self.score.build(features)
        self.classes.build((None, features[-1]))

    def call(self, image):
        features = self.trunk(image)
        # A 1x1 convolution and a mean commute.
        pooled = tf.reduce_mean(features, axis=[1, 2])
        logits = tf.split(self.classes(pooled), self.sizes, axis=-1)
        return self.score(features), logits

    def get_config(self):
        own = {"sizes": self.sizes, "filters": self.filters}
        return {**super().get_config(), **own}


def hdn_style_classifiers(style_shape, sizes):
    """A linear classifier of all codes for every level; built."""
    classifiers = []
    for size in sizes:
        classifier = keras.layers.Dense(size, dtype="float32")
        classifier.build((None, style_shape[0] * style_shape[1]))
        classifiers.append(classifier)
    return classifiers


def _hdn_normal():
    return keras.initializers.RandomNormal(stddev=0.02)


def hdn_critics(image_shape, sizes, filters, scales):
    """D: a built `HDNCritic` for every scale, the largest first."""
    height, width, channels = image_shape
    critics = []
    for number in range(scales):
        critic = HDNCritic(sizes, filters, name=f"critic_{number}")
        critic.build((None, height, width, channels))
        critics.append(critic)
        height, width = -(-height // 2), -(-width // 2)
    return critics


def halved(images):
    """Means of 3x3 pixels at every second one, borders not counted in.

    Args:
      images: float `[B, H, W, C]`.

    Returns:
      `[B, ceil(H / 2), ceil(W / 2), C]`.
    """
    _, height, width, _ = images.shape
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    sums = 9 * tf.nn.avg_pool2d(padded, 3, 2, "VALID")
    counts = [
        np.convolve(np.ones(side), np.ones(3), "same")[::2]
        for side in (height, width)
    ]
    counts = np.outer(*counts)[None, :, :, None]
    return sums / tf.constant(counts, images.dtype)


# Encoder and decoder of the flat VAEs by name: `(image_shape, size of head or
# code, name)`.
FLAT = {
    "conv": (conv_encoder, conv_decoder),
    "burgess": (_burgess(conv_encoder), _burgess(conv_decoder)),
    "mlp": (mlp_encoder, mlp_decoder),
    "ladder": (ladder_encoder, ladder_decoder),
}
