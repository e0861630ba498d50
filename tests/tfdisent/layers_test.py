import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import layers

SEED = tf.constant([1, 2])


def test_dropout_rate_and_scale():
    outputs = layers.Dropout(0.3)(tf.ones([100, 100]), seed=SEED).numpy()
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.7], rtol=1e-6)
    np.testing.assert_allclose(np.mean(outputs == 0), 0.3, atol=0.02)
    np.testing.assert_allclose(np.mean(outputs), 1.0, atol=0.03)


def test_dropout_is_a_function_of_its_seed():
    dropout, inputs = layers.Dropout(0.5), tf.ones([4, 8])
    first = dropout(inputs, seed=SEED)
    np.testing.assert_array_equal(first, dropout(inputs, seed=SEED))
    assert np.any(first != dropout(inputs, seed=SEED + 1))
    # No hidden state, nothing to save, identity without a seed.
    assert not dropout.variables
    np.testing.assert_array_equal(dropout(inputs), inputs)
    np.testing.assert_array_equal(
        layers.Dropout(0.0)(inputs, seed=SEED), inputs
    )


def test_dropout_of_a_batch_of_unknown_size():
    dropout = layers.Dropout(0.5)
    spec = tf.TensorSpec([None, 8])
    traced = tf.function(lambda x: dropout(x, seed=SEED), [spec])
    inputs = tf.ones([4, 8])
    np.testing.assert_array_equal(traced(inputs), dropout(inputs, seed=SEED))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses(rate):
    with pytest.raises(ValueError, match=f"Received: rate={rate}"):
        layers.Dropout(rate)


def test_fused_batch_norm_is_keras_batch_norm():
    """Outputs, gradients and moving statistics; a batch of unknown size."""
    inputs = 3 + 2 * tf.random.stateless_normal([5, 3, 4, 6], SEED)
    upstream = tf.random.stateless_normal(inputs.shape, SEED + 1)
    found = []
    for kind in (layers.BatchNormalization, keras.layers.BatchNormalization):
        norm = kind(momentum=0.6, epsilon=1e-2)
        norm.build((None, *inputs.shape[1:]))
        norm.gamma.assign(tf.linspace(0.5, 2.0, 6))
        norm.beta.assign(tf.linspace(-1.0, 1.0, 6))

        @tf.function(input_signature=[tf.TensorSpec([None, 3, 4, 6])])
        def trained(values, norm=norm):
            with tf.GradientTape() as tape:
                tape.watch(values)
                outputs = norm(values, training=True)
            sources = [values, norm.gamma.value, norm.beta.value]
            return outputs, *tape.gradient(outputs, sources, upstream)

        results = [*trained(inputs), *(v.value for v in norm.variables)]
        found.append([*results, norm(inputs)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    # 0.4 of the way from 1 to the variance; the unbiased one is 1.7 % more.
    variance = tf.math.reduce_variance(inputs, axis=[0, 1, 2])
    np.testing.assert_allclose(found[0][7], 0.6 + 0.4 * variance, rtol=1e-5)


def test_fused_batch_norm_under_other_circumstances():
    """Of vectors, frozen, and in half precision: as Keras does it."""
    for shape, frozen, dtype, tolerance in (
        ([8, 6], False, "float32", 1e-6),
        ([8, 2, 2, 6], True, "float32", 1e-6),
        ([8, 2, 2, 6], False, "mixed_bfloat16", 1e-2),
    ):
        inputs = tf.random.stateless_normal(shape, SEED)
        outputs = []
        for kind in (
            layers.BatchNormalization,
            keras.layers.BatchNormalization,
        ):
            norm = kind(dtype=dtype)
            norm.build((None, *shape[1:]))
            norm.trainable = not frozen
            outputs.append(norm(inputs, training=True))
        assert outputs[0].dtype == outputs[1].dtype
        np.testing.assert_allclose(*outputs, atol=tolerance)


@pytest.mark.parametrize("shape", [(3, 4, 6), (6,)])
def test_replicas_agree_on_the_statistics_of_batch_norm(mirrored, shape):
    """Each normalises its own inputs; the moving statistics are the mean."""
    inputs = 3 + 2 * tf.random.stateless_normal([2, 50, *shape], SEED)
    axes = list(range(len(shape)))
    with mirrored.scope():
        norm = layers.BatchNormalization(momentum=0.6)
        norm.build((None, *shape))

    def trained(values):
        return norm(values, training=True)

    @tf.function(jit_compile=False)
    def step():
        shares = mirrored.experimental_distribute_values_from_function(
            lambda context: inputs[context.replica_id_in_sync_group]
        )
        return mirrored.experimental_local_results(
            mirrored.run(trained, args=(shares,))
        )

    for outputs in step():
        mean, variance = tf.nn.moments(outputs, axes)
        np.testing.assert_allclose(mean, np.zeros(6), atol=1e-5)
        np.testing.assert_allclose(variance, np.ones(6), atol=1e-3)
    mean, variance = tf.nn.moments(inputs, [axis + 1 for axis in axes])
    for moving, start, now in (
        (norm.moving_mean, 0.0, mean),
        (norm.moving_variance, 1.0, variance),
    ):
        wanted = 0.6 * start + 0.4 * tf.reduce_mean(now, axis=0)
        np.testing.assert_allclose(moving.numpy(), wanted, rtol=1e-5)


def test_gradient_reversal():
    reverse, inputs = layers.GradientReversal(), tf.constant([1.0, -2.0])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = reverse(inputs)
        loss = tf.reduce_sum(3 * outputs)
    np.testing.assert_array_equal(outputs, inputs)
    np.testing.assert_array_equal(tape.gradient(loss, inputs), [-3, -3])


def test_untied_bias_has_one_number_a_pixel():
    bias = layers.UntiedBias()
    bias.build((None, 2, 3, 4))
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    bias.bias.assign(values)
    np.testing.assert_array_equal(bias(tf.zeros([5, 2, 3, 4]))[3], values)


def test_stack_gives_every_dropout_its_own_mask():
    stack = layers.Stack([layers.Dropout(0.5), layers.Dropout(0.5)])
    outputs = stack(tf.ones([100, 100]), seed=SEED).numpy()
    # One mask twice would keep a half.
    np.testing.assert_allclose(np.mean(outputs > 0), 0.25, atol=0.02)
    np.testing.assert_array_equal(stack(tf.ones([2, 2])), np.ones([2, 2]))


def test_stack_passes_training_to_batch_norm_only():
    stack = layers.dense_stack((3, 2), norm="batch")
    stack.build((None, 4))
    norm = stack.blocks[1]
    inputs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    before = norm.moving_mean.numpy()
    stack(inputs)
    np.testing.assert_array_equal(norm.moving_mean, before)
    hidden = stack.blocks[0](inputs)
    stack(inputs, training=True)
    np.testing.assert_allclose(
        norm.moving_mean, 0.1 * np.mean(hidden, axis=0), atol=1e-5
    )


def test_dense_stack_is_the_papers_order():
    stack = layers.dense_stack((8, 8, 2), dropout=0.2, norm="batch", slope=0.05)
    kinds = [type(block).__name__ for block in stack.blocks]
    assert kinds == [
        *("Dropout", "Dense", "BatchNormalization", "LeakyReLU"),
        *("Dropout", "Dense", "LeakyReLU"),
        *("Dropout", "Dense"),
    ]
    assert stack.blocks[3].negative_slope == 0.05
    single = layers.dense_stack((2,), norm="batch")
    assert [type(b).__name__ for b in single.blocks] == ["Dense"]
    norm = stack.blocks[2]
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)


LAYERS = [
    layers.Dropout(0.25),
    layers.BatchNormalization(momentum=0.9),
    layers.UntiedBias(),
    layers.GradientReversal(),
    layers.activation("leaky_relu", 0.3),
    layers.activation("relu"),
    layers.Stack(
        [keras.layers.Conv2D(3, 3), layers.Dropout(0.1), layers.batch_norm()]
    ),
    layers.Conditioned(
        layers.Stack([keras.layers.Flatten()]), layers.dense_stack((4, 2))
    ),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layers_alone(layer):
    """Symbolic and eager shapes agree; the configuration comes back whole."""
    inputs = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    inputs = tf.constant(inputs, tf.float32)
    outputs = layer(inputs)
    assert layer.compute_output_shape((2, 5, 6, 3)) == tuple(outputs.shape)
    config = keras.saving.serialize_keras_object(layer)
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.get_config() == layer.get_config()
    twin(inputs)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(inputs), outputs)
    traced = tf.function(layer, [tf.TensorSpec([None, 5, 6, 3])])
    np.testing.assert_allclose(traced(inputs), outputs, atol=1e-6)


def test_heads_stay_in_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        stack = layers.dense_stack((4, 2), dropout=0.5, output_dtype="float32")
    finally:
        keras.config.set_dtype_policy("float32")
    stack.build((None, 3))
    hidden = stack.blocks[1](stack.blocks[0](tf.ones([2, 3]), seed=SEED))
    assert hidden.dtype == tf.bfloat16
    assert stack(tf.ones([2, 3]), seed=SEED).dtype == tf.float32


def test_affine_is_batch_norm_whose_statistics_never_moved():
    affine, norm = layers.Affine(), keras.layers.BatchNormalization()
    inputs = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    inputs = inputs.astype(np.float32)
    for layer in (affine, norm):
        layer.build((None, 3, 3, 4))
        for variable, first in zip(
            layer.trainable_variables, (2, -1), strict=True
        ):
            variable.assign(first + np.arange(4, dtype=np.float32))
    np.testing.assert_allclose(
        affine(inputs), norm(inputs, training=False), rtol=1e-5, atol=1e-6
    )


def test_a_conditioned_head_sees_features_and_label():
    trunk = layers.Stack([keras.layers.Flatten()])
    head = layers.Stack([keras.layers.Dense(1, kernel_initializer="ones")])
    layer = layers.Conditioned(trunk, head)
    image = tf.ones([2, 2, 2, 1])
    label = tf.constant([[0.0, 1.0, 10.0], [0.0, 0.0, 0.5]])
    np.testing.assert_allclose(layer(image, label), [[15.0], [4.5]])


def test_reflected_convolution_by_hand():
    layer = layers.ReflectConv2D(1, 3, initializer="ones")
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    outputs = layer(image).numpy()[0, :, :, 0]
    padded = np.pad(image[0, :, :, 0], 1, mode="reflect")
    wanted = [
        [padded[i : i + 3, j : j + 3].sum() for j in range(3)] for i in range(3)
    ]
    np.testing.assert_allclose(outputs, wanted)
    for kernel, stride, sides in (
        (7, 1, (28, 28)),
        (4, 2, (14, 14)),
        (5, 1, (28, 28)),
    ):
        layer = layers.ReflectConv2D(2, kernel, stride)
        outputs = layer(tf.zeros([1, 28, 28, 1]))
        assert tuple(outputs.shape[1:3]) == sides
        assert layer.compute_output_shape((1, 28, 28, 1)) == outputs.shape
    # 28 - 14 - 7 - 3 - 1, as the authors have it.
    odd = layers.ReflectConv2D(2, 4, 2)
    assert odd.compute_output_shape((1, 7, 7, 1))[1] == 3
    assert odd.compute_output_shape((1, 3, 3, 1))[1] == 1


def test_fused_enlargement_is_enlargement_then_convolution():
    layer = layers.UpConv2D(3)
    image = tf.random.stateless_normal([2, 5, 4, 2], SEED)
    outputs = layer(image)
    layer.bias.assign([1.0, 2.0, 3.0])
    large = tf.repeat(tf.repeat(image, 2, axis=1), 2, axis=2)
    large = layers.mirrored_borders(large, 2, "SYMMETRIC")
    wanted = tf.nn.conv2d(large, layer.kernel, 1, "VALID")
    np.testing.assert_allclose(outputs, wanted, atol=1e-5)
    np.testing.assert_allclose(layer(image), wanted + [1, 2, 3], atol=1e-5)
    assert layer.compute_output_shape((2, 5, 4, 2)) == outputs.shape


def test_instance_norms():
    inputs = 5 + 3 * tf.random.stateless_normal([2, 8, 8, 3], SEED)
    plain = layers.instance_norm(inputs).numpy()
    np.testing.assert_allclose(plain.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(plain.std(axis=(1, 2)), 1, atol=1e-4)
    scale = tf.constant([[1.0, 2.0, 0.0], [4.0, 5.0, -1.0]])
    shift = tf.constant([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    adapted = layers.adaptive_instance_norm(inputs, scale, shift)
    np.testing.assert_allclose(
        adapted,
        plain * scale[:, None, None] + shift[:, None, None],
        atol=1e-4,
    )


def test_image_norm():
    inputs = 5 + 3 * tf.random.stateless_normal([2, 8, 8, 3], SEED)
    layer = layers.ImageNorm()
    outputs = layer(inputs).numpy()
    np.testing.assert_allclose(outputs.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(
        outputs.std(axis=(1, 2, 3), ddof=1), 1, atol=1e-4
    )
    layer.scale.assign([1.0, 2.0, 3.0])
    layer.shift.assign([0.0, 0.0, 1.0])
    np.testing.assert_allclose(
        layer(inputs), outputs * [1, 2, 3] + [0, 0, 1], atol=1e-5
    )
    # A blank image has a gradient, too.
    with tf.GradientTape() as tape:
        blank = tf.zeros([1, 4, 4, 3])
        tape.watch(blank)
        total = tf.reduce_sum(layer(blank))
    assert np.all(np.isfinite(tape.gradient(total, blank)))


def test_gradients_of_norms_are_those_of_their_definitions():
    inputs = 2 + 3 * tf.random.stateless_normal([2, 4, 5, 3], SEED)
    weights = tf.random.stateless_normal([2, 4, 5, 3], SEED + 1)

    def by_definition(values, axes, unbiased):
        mean = tf.reduce_mean(values, axis=axes, keepdims=True)
        square = tf.reduce_sum((values - mean) ** 2, axes, keepdims=True)
        if unbiased:
            return (values - mean) / (tf.sqrt(square / 59) + 1e-5)
        return (values - mean) / tf.sqrt(square / 20 + 1e-5)

    image_norm = layers.ImageNorm()
    for norm, axes, unbiased in (
        (layers.instance_norm, [1, 2], False),
        (image_norm, [1, 2, 3], True),
    ):
        # Deviations near epsilon, too.
        for size in (1.0, 1e-5):
            values = size * inputs
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(values)
                own = tf.reduce_sum(weights * norm(values))
                wanted = tf.reduce_sum(
                    weights * by_definition(values, axes, unbiased)
                )
            np.testing.assert_allclose(own, wanted, rtol=1e-3)
            gradient = tape.gradient(wanted, values)
            np.testing.assert_allclose(
                tape.gradient(own, values),
                gradient,
                atol=1e-3 * np.abs(gradient).max(),
            )


def test_residual_block():
    block = layers.Residual(2)
    inputs = tf.random.stateless_normal([2, 6, 6, 2], SEED)
    outputs = block(inputs)
    wanted = inputs + block.second(tf.nn.relu(block.first(inputs)))
    np.testing.assert_allclose(outputs, wanted, atol=1e-6)
    # Scales of 0 switch the convolutions off; shifts alone are left.
    block = layers.Residual(2, norm="instance")
    zeros, ones = tf.zeros([2, 2]), tf.ones([2, 2])
    np.testing.assert_allclose(
        block(inputs, (ones, zeros), (zeros, 3 * ones)), inputs + 3, atol=1e-5
    )


@pytest.mark.parametrize(
    "layer",
    [
        layers.ReflectConv2D(2, 4, 2, initializer="ones"),
        layers.UpConv2D(2),
        layers.InstanceNorm(),
        layers.ImageNorm(),
        layers.Residual(3, "instance"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_image_layers_keep_their_configuration(layer):
    again = type(layer).from_config(layer.get_config())
    image = tf.random.stateless_normal([1, 6, 6, 3], SEED)
    first, second = layer(image), again(image)
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(first, again(image), atol=1e-6)
    assert first.shape == second.shape
