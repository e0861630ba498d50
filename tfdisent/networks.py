"""Encoders, decoders and critics: tensors in, parameter tensors out.

Networks return parameters, never distributions, which cannot cross a Keras
layer boundary. Heads that parameterise distributions, logits and images are
float32 under every precision policy.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tfdisent import layers

# The plain convolutional networks: filters of the stride-2 convolutions.
CONV_FILTERS = {32: (32, 32, 64), 64: (32, 32, 64, 64)}


def conv_encoder(image_shape, outputs, filters=None, hidden=256, name=None):
    """Stride-2 4x4 convolutions, one dense layer, a linear float32 head.

    Args:
      image_shape: `(H, W, C)`, sides divisible by `2 ** len(filters)`.
      outputs: size of the head.
      filters: of each convolution; by image side when None.
      hidden: width of the dense layer.
      name: of the network.

    Returns:
      A built `Stack`: `[B, H, W, C]` -> float32 `[B, outputs]`.
    """
    filters = filters or CONV_FILTERS[image_shape[0]]
    blocks = []
    for count in filters:
        blocks.append(keras.layers.Conv2D(count, 4, 2, padding="same"))
        blocks.append(layers.activation("relu"))
    blocks += [
        keras.layers.Flatten(),
        keras.layers.Dense(hidden),
        layers.activation("relu"),
        keras.layers.Dense(outputs, dtype="float32"),
    ]
    return built(layers.Stack(blocks, name=name), image_shape)


def conv_decoder(image_shape, inputs, filters=None, hidden=256, name=None):
    """The mirror of `conv_encoder`: `[B, inputs]` -> logits `[B, H, W, C]`."""
    filters = filters or CONV_FILTERS[image_shape[0]]
    side = image_shape[0] // 2 ** len(filters)
    blocks = [
        keras.layers.Dense(hidden),
        layers.activation("relu"),
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


# ---- HDN (seed 000, A.1.1) --------------------------------------------------

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
            shifts, scales = tf.unstack(tf.unstack(own, axis=2), axis=0)
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
