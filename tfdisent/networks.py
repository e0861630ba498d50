"""Encoders, decoders and critics: tensors in, parameter tensors out.

Networks return parameters, never distributions, which cannot cross a Keras
layer boundary. Heads that parameterise distributions, logits and images are
float32 under every precision policy.
"""

import math

import keras

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


# ---- perceptrons, and networks that see a label (seed 003) ----------------

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
