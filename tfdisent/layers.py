"""Blocks that the networks are made of."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfdisent import noise


@keras.saving.register_keras_serializable("tfdisent")
class Dropout(keras.layers.Layer):
    """Dropout whose mask is a function of a seed, not of a hidden state.

    Keras' own keeps a generator that is in no checkpoint and differs between
    replicas; with this one a resumed run and a mirrored run are exact.

    Args:
      rate: share of the inputs set to zero, in [0, 1).

    Call arguments:
      inputs: `[B, ...]`.
      seed: int32 `[2]`, or None for inference (identity).
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must lie in [0, 1). Received: rate={rate}")
        self.rate = rate

    def call(self, inputs, seed=None):
        if seed is None or not self.rate:
            return inputs
        kept = noise.uniform(noise.shape_of(inputs), seed) >= self.rate
        # One factor, so that the way back is one product, too.
        scale = tf.cast(1 / (1 - self.rate), inputs.dtype)
        return inputs * tf.where(kept, scale, tf.zeros_like(scale))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable("tfdisent")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, by TensorFlow's fused kernels in training.

    The same numbers and weights. Step by step, as Keras computes it, a map is
    read and written four times as often; on a CPU that takes the time of a
    convolution.

    Each of several replicas normalises its own inputs. The moving statistics
    are the mean of theirs, where Keras lets them drift apart and keeps the
    first replica's.
    """

    def call(self, inputs, training=None):
        outputs = self._normalised(inputs, training)
        replica = tf.distribute.get_replica_context()
        several = replica and replica.num_replicas_in_sync > 1
        if training and self.trainable and several:
            moving = [self.moving_mean, self.moving_variance]
            means = replica.all_reduce("mean", [m.value for m in moving])
            for variable, mean in zip(moving, means, strict=True):
                variable.assign(mean)
        return outputs

    def _normalised(self, inputs, training):
        plain = self.scale and self.center and self.axis in (-1, 3)
        fused = plain and not (self.synchronized or self.renorm)
        if not (training and self.trainable and fused and inputs.ndim == 4):
            return super().call(inputs, training=training)
        empty = tf.zeros([0])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, tf.float32),
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=empty,
            variance=empty,
            epsilon=self.epsilon,
        )
        # The kernel's variance is the unbiased one.
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count
        for moving, now in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return tf.cast(outputs, self.compute_dtype)


@keras.saving.register_keras_serializable("tfdisent")
class UntiedBias(keras.layers.Layer):
    """A bias of its own for every pixel and channel.

    Call arguments:
      inputs: `[B, H, W, C]` with static H, W, C.
    """

    def build(self, input_shape):
        self.bias = self.add_weight(
            shape=tuple(input_shape[1:]), initializer="zeros", name="bias"
        )

    def call(self, inputs):
        return inputs + tf.cast(self.bias, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tfdisent")
class Affine(keras.layers.Layer):
    """A gain and a bias for every channel, nothing normalised.

    It is what batch normalisation does while its moving statistics stay at
    mean 0 and variance 1 (pro-VLAE's own code).

    Call arguments:
      inputs: `[B, ..., C]`.
    """

    # Batch normalisation's guard against a variance of 0.
    EPSILON = 1e-3

    def build(self, input_shape):
        channels = (input_shape[-1],)
        self.gain = self.add_weight(
            shape=channels, initializer="ones", name="gain"
        )
        self.bias = self.add_weight(
            shape=channels, initializer="zeros", name="bias"
        )

    def call(self, inputs):
        gain = self.gain / math.sqrt(1 + self.EPSILON)
        outputs = inputs * tf.cast(gain, inputs.dtype)
        return tf.nn.bias_add(outputs, tf.cast(self.bias, inputs.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tfdisent")
class GatedSum(keras.layers.Layer):
    """own + gate * added, a learned gate an entry (VLAE's own code).

    Call arguments:
      inputs: a pair (added, own), both `[B, n]`.
    """

    def build(self, input_shape):
        self.gate = self.add_weight(
            shape=(input_shape[0][-1],),
            initializer=keras.initializers.Constant(0.1),
            name="gate",
        )

    def call(self, inputs):
        added, own = inputs
        return own + tf.cast(self.gate, own.dtype) * added

    def compute_output_shape(self, input_shape):
        return input_shape[1]


@keras.saving.register_keras_serializable("tfdisent")
class BoundedSpread(keras.layers.Layer):
    """Makes the second half of `[B, 2 d]` the log variance it stands for.

    The standard deviation is sigmoid(.) + 0.001 (VLAE's own code).
    """

    def call(self, inputs):
        mean, raw = tf.split(inputs, 2, axis=-1)
        log_variance = 2 * tf.math.log(tf.sigmoid(raw) + 1e-3)
        return tf.concat([mean, log_variance], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape


@tf.custom_gradient
def reverse_gradient(inputs):
    """Identity whose gradient is negated (Ganin et al., JMLR 2016)."""
    return tf.identity(inputs), lambda upstream: -upstream


@keras.saving.register_keras_serializable("tfdisent")
class GradientReversal(keras.layers.Layer):
    """`reverse_gradient` as a layer."""

    def call(self, inputs):
        return reverse_gradient(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


def activation(name, slope=0.01):
    """A layer by its field's name: `"leaky_relu"`, `"relu"`, `"elu"`."""
    if name == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=slope)
    return keras.layers.Activation(name)


@keras.saving.register_keras_serializable("tfdisent")
class Stack(keras.layers.Layer):
    """Layers in a row; those that are random get a seed of their own.

    Args:
      blocks: the layers.

    Call arguments:
      inputs: what the first layer takes.
      training: whether batch statistics are used and updated.
      seed: int32 `[2]` for the dropout layers, or None for none.
    """

    def __init__(self, blocks, **kwargs):
        super().__init__(**kwargs)
        self.blocks = list(blocks)

    def build(self, input_shape):
        shape = tuple(input_shape)
        for block in self.blocks:
            if not block.built:
                block.build(shape)
            shape = block.compute_output_shape(shape)

    def call(self, inputs, training=False, seed=None):
        outputs = inputs
        for index, block in enumerate(self.blocks):
            if isinstance(block, Dropout):
                own = None if seed is None else noise.fold(seed, index)
                outputs = block(outputs, seed=own)
            elif isinstance(block, keras.layers.BatchNormalization):
                outputs = block(outputs, training=training)
            else:
                outputs = block(outputs)
        return outputs

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        for block in self.blocks:
            shape = block.compute_output_shape(shape)
        return shape

    def get_config(self):
        blocks = [keras.saving.serialize_keras_object(b) for b in self.blocks]
        return {**super().get_config(), "blocks": blocks}

    @classmethod
    def from_config(cls, config):
        blocks = [
            keras.saving.deserialize_keras_object(b)
            for b in config.pop("blocks")
        ]
        return cls(blocks, **config)


@keras.saving.register_keras_serializable("tfdisent")
class Conditioned(keras.layers.Layer):
    """A head that sees an image's features and, where one is given, a label.

    Args:
      trunk: a `Stack`, images to features `[B, n]`.
      head: a `Stack` that takes `[B, n + label size]`.

    Call arguments:
      inputs: `[B, H, W, C]`.
      label: `[B, label size]`, or None for a head without one.
    """

    def __init__(self, trunk, head, **kwargs):
        super().__init__(**kwargs)
        self.trunk, self.head = trunk, head

    def build(self, input_shape):
        # Both know their input's size; the label's is in the head alone.
        del input_shape

    def call(self, inputs, label=None):
        features = self.trunk(inputs)
        if label is not None:
            label = tf.cast(label, features.dtype)
            features = tf.concat([features, label], axis=-1)
        return self.head(features)

    def compute_output_shape(self, input_shape):
        features = self.trunk.compute_output_shape(input_shape)
        return self.head.compute_output_shape(features)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        own = {"trunk": serialize(self.trunk), "head": serialize(self.head)}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        restore = keras.saving.deserialize_keras_object
        trunk, head = restore(config.pop("trunk")), restore(config.pop("head"))
        return cls(trunk, head, **config)


def dense_stack(
    sizes,
    dropout=0.0,
    norm=None,
    slope=0.01,
    kernel_initializer="glorot_uniform",
    output_dtype=None,
    name=None,
):
    """Dropout -> Dense -> [norm on the first] -> LeakyReLU, the last linear.

    The order and the single normalisation are those of FDEN's tables (seed
    002, appendix B and the authors' layers).

    Args:
      sizes: widths, the last one linear.
      dropout: rate before every dense layer.
      norm: `"batch"` or None.
      slope: negative slope of the LeakyReLU.
      kernel_initializer: of every kernel.
      output_dtype: dtype of the last layer, None for the policy's.
      name: of the stack.

    Returns:
      A `Stack`.
    """
    initializer = keras.initializers.get(kernel_initializer)
    blocks = []
    for index, size in enumerate(sizes):
        if dropout:
            blocks.append(Dropout(dropout))
        last = index == len(sizes) - 1
        blocks.append(
            keras.layers.Dense(
                size,
                # One instance gives all kernels of a shape the same numbers.
                kernel_initializer=initializer.clone(),
                dtype=output_dtype if last else None,
            )
        )
        if norm == "batch" and index == 0 and not last:
            blocks.append(batch_norm())
        if not last:
            blocks.append(activation("leaky_relu", slope))
    return Stack(blocks, name=name)


def batch_norm():
    """Batch normalisation with the constants of the papers' own code."""
    return BatchNormalization(momentum=0.9, epsilon=1e-5)


# ---- what HDN's networks are made of (its A.1.1; MUNIT's blocks) ------------

NORM_EPSILON = 1e-5


@keras.saving.register_keras_serializable("tfdisent")
class ReflectConv2D(keras.layers.Layer):
    """A convolution over borders that are mirrored instead of zero.

    Args:
      filters: of the output.
      kernel: side of the kernel; `(kernel - 1) // 2` pixels are mirrored.
      stride: 1, or 2 with an even kernel.
      initializer: of the kernel.

    Call arguments:
      inputs: `[B, H, W, C]`.
    """

    def __init__(self, filters, kernel, stride=1, initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.stride = filters, kernel, stride
        self.initializer = keras.initializers.get(initializer or "he_normal")

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.kernel_size,) * 2 + (input_shape[-1], self.filters),
            initializer=self.initializer,
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.filters,), initializer="zeros", name="bias"
        )

    def call(self, inputs):
        padded = mirrored_borders(inputs, (self.kernel_size - 1) // 2)
        outputs = tf.nn.conv2d(padded, self.kernel, self.stride, "VALID")
        return tf.nn.bias_add(outputs, self.bias)

    def compute_output_shape(self, input_shape):
        margin = 2 * ((self.kernel_size - 1) // 2) - self.kernel_size
        height, width = (
            (side + margin) // self.stride + 1 for side in input_shape[1:3]
        )
        return (input_shape[0], height, width, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel": self.kernel_size,
            "stride": self.stride,
            "initializer": keras.initializers.serialize(self.initializer),
        }


def mirrored_borders(inputs, margin, mode="REFLECT"):
    """`[B, H, W, C]` with `margin` mirrored pixels on every side."""
    if not margin:
        return inputs
    sides = [margin, margin]
    return tf.pad(inputs, [[0, 0], sides, sides, [0, 0]], mode)


@keras.saving.register_keras_serializable("tfdisent")
class UpConv2D(keras.layers.Layer):
    """Nearest-neighbour enlargement by 2, then a 5x5 convolution, fused.

    An output pixel sees at most 3x3 pixels of the small map, each several
    times. So four 3x3 kernels, sums of the 5x5 kernel's taps, one for each
    place in a 2x2 block of the output, do the same with 2.8 times fewer
    products. Borders are mirrored with the edge pixel included, which on the
    enlarged map equals padding with the mirror image of two pixels.

    Args:
      filters: of the output.
      initializer: of the 5x5 kernel.

    Call arguments:
      inputs: `[B, H, W, C]`; gives `[B, 2 H, 2 W, filters]`.
    """

    # TAPS[p, i, k]: whether tap k of the large kernel falls on pixel i of the
    # small map for outputs at place p.
    TAPS = (
        ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1)),
        ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1)),
    )

    def __init__(self, filters, initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.initializer = keras.initializers.get(initializer or "he_normal")

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(5, 5, input_shape[-1], self.filters),
            initializer=self.initializer,
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(self.filters,), initializer="zeros", name="bias"
        )

    def call(self, inputs):
        kernel = tf.convert_to_tensor(self.kernel)
        taps = tf.constant(self.TAPS, kernel.dtype)
        small = tf.einsum("pik,klcf->pilcf", taps, kernel)
        small = tf.einsum("qjl,pilcf->ijcpqf", taps, small)
        small = tf.reshape(small, [3, 3, kernel.shape[2], 4 * self.filters])
        padded = mirrored_borders(inputs, 1, "SYMMETRIC")
        blocks = tf.nn.conv2d(padded, small, 1, "VALID")
        return tf.nn.bias_add(tf.nn.depth_to_space(blocks, 2), self.bias)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, 2 * height, 2 * width, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "initializer": keras.initializers.serialize(self.initializer),
        }


# The gradients of both normalisations are written out: what TensorFlow would
# derive step by step reads and writes every map twice as often.


@tf.custom_gradient
def _channels_standardised(values):
    """Each channel of each float32 image at mean 0 and variance 1."""
    mean, variance = tf.nn.moments(values, axes=[1, 2], keepdims=True)
    scale = tf.math.rsqrt(variance + NORM_EPSILON)
    outputs = (values - mean) * scale

    def gradient(upstream):
        common = tf.reduce_mean(upstream, axis=[1, 2], keepdims=True)
        along = tf.reduce_mean(upstream * outputs, axis=[1, 2], keepdims=True)
        return scale * (upstream - common - outputs * along)

    return outputs, gradient


@tf.custom_gradient
def _images_standardised(values):
    """Each float32 image less its mean, by its deviation plus epsilon."""
    axes, count = [1, 2, 3], float(np.prod(values.shape[1:]))
    mean, variance = tf.nn.moments(values, axes=axes, keepdims=True)
    deviation = tf.sqrt(variance * count / (count - 1))
    scale = 1 / (deviation + NORM_EPSILON)
    outputs = (values - mean) * scale

    def gradient(upstream):
        common = tf.reduce_mean(upstream, axis=axes, keepdims=True)
        along = tf.reduce_sum(upstream * outputs, axis=axes, keepdims=True)
        # At deviation 0 outputs are 0, too.
        along /= (count - 1) * tf.maximum(deviation * scale, NORM_EPSILON)
        return scale * (upstream - common - outputs * along)

    return outputs, gradient


def instance_norm(inputs):
    """Each channel of each image at mean 0 and variance 1.

    Args:
      inputs: `[B, H, W, C]`.
    """
    outputs = _channels_standardised(tf.cast(inputs, tf.float32))
    return tf.cast(outputs, inputs.dtype)


def adaptive_instance_norm(inputs, scale, shift):
    """`instance_norm`, then a scale and a shift from elsewhere.

    Args:
      inputs: `[B, H, W, C]`.
      scale, shift: `[B, C]`; the scale is taken as it is, not plus 1.

    Reference: Huang and Belongie, Arbitrary Style Transfer in Real-time with
    Adaptive Instance Normalization, ICCV 2017.
    """
    outputs = _channels_standardised(tf.cast(inputs, tf.float32))
    outputs = outputs * scale[:, None, None] + shift[:, None, None]
    return tf.cast(outputs, inputs.dtype)


@keras.saving.register_keras_serializable("tfdisent")
class InstanceNorm(keras.layers.Layer):
    """`instance_norm` as a layer; nothing is learned."""

    def call(self, inputs):
        return instance_norm(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tfdisent")
class ImageNorm(keras.layers.Layer):
    """Each image at mean 0 and deviation 1, then a scale a channel.

    MUNIT's layer normalisation: over height, width and channels together, by
    the unbiased deviation plus epsilon.

    Call arguments:
      inputs: `[B, H, W, C]`.
    """

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.scale = self.add_weight(
            shape=shape, initializer="ones", name="scale"
        )
        self.shift = self.add_weight(
            shape=shape, initializer="zeros", name="shift"
        )

    def call(self, inputs):
        outputs = _images_standardised(tf.cast(inputs, tf.float32))
        outputs *= tf.cast(self.scale, tf.float32)
        outputs += tf.cast(self.shift, tf.float32)
        return tf.cast(outputs, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tfdisent")
class Residual(keras.layers.Layer):
    """x + conv(relu(conv(x))), both 3x3, normalised as asked for.

    Args:
      filters: of the input and the output.
      norm: `"instance"` or None, the same after either convolution.

    Call arguments:
      inputs: `[B, H, W, filters]`.
      scales, shifts: a pair of `[B, filters]` each, which make the
        normalisation adaptive.
    """

    def __init__(self, filters, norm=None, **kwargs):
        # Scales and shifts stay float32; the convolutions cast for themselves.
        super().__init__(autocast=False, **kwargs)
        self.filters, self.norm = filters, norm
        self.first = ReflectConv2D(filters, 3)
        self.second = ReflectConv2D(filters, 3)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, inputs, scales=None, shifts=None):
        def normalised(values, index):
            if self.norm is None:
                return values
            if scales is None:
                return instance_norm(values)
            return adaptive_instance_norm(values, scales[index], shifts[index])

        hidden = tf.nn.relu(normalised(self.first(inputs), 0))
        return inputs + normalised(self.second(hidden), 1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"filters": self.filters, "norm": self.norm}
        return {**super().get_config(), **own}
