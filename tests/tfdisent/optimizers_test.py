import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent.optimizers import Adam
from tfdisent.optimizers import cosine_decay

SETTINGS = [
    {},
    {"learning_rate": 1e-2, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    {"global_clipnorm": 0.1},
    {"weight_decay": 0.1},
    {
        "learning_rate": keras.optimizers.schedules.ExponentialDecay(
            0.01, decay_steps=3, decay_rate=0.5, staircase=True
        )
    },
]


def run(optimizer, steps=10):
    """A matrix and a vector after some steps of seeded gradients."""
    rng = np.random.default_rng(0)
    variables = [
        keras.Variable(rng.normal(size=shape), dtype="float32")
        for shape in ((3, 4), (5,))
    ]
    optimizer.build(variables)

    @tf.function(jit_compile=False)
    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    for _ in range(steps):
        step(
            *(
                tf.constant(rng.normal(size=v.shape), tf.float32)
                for v in variables
            )
        )
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: ",".join(s) or "-")
def test_the_numbers_are_keras_own(settings):
    fused = run(Adam(**settings))
    keras_own = run(keras.optimizers.Adam(**{"epsilon": 1e-8} | settings))
    for ours, theirs in zip(fused, keras_own, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_sparse_gradients_take_keras_way():
    def table(optimizer):
        variable = keras.Variable(np.ones((4, 2)), dtype="float32")
        optimizer.build([variable])
        for _ in range(3):
            slices = tf.IndexedSlices(
                tf.ones([2, 2]), tf.constant([0, 2]), tf.constant([4, 2])
            )
            optimizer.apply([slices], [variable])
        return variable.numpy()

    np.testing.assert_allclose(
        table(Adam(0.1)), table(keras.optimizers.Adam(0.1, epsilon=1e-8))
    )


def test_under_two_replicas_gradients_add_up(mirrored):
    with mirrored.scope():
        variable = keras.Variable(np.ones(3), dtype="float32")
        optimizer = Adam(0.1)
        optimizer.build([variable])

    @tf.function(jit_compile=False)
    def step():
        def apply():
            replica = tf.distribute.get_replica_context()
            share = tf.cast(replica.replica_id_in_sync_group, tf.float32)
            gradient = tf.constant([1.0, -1.0, 2.0]) * (2 * share - 0.5)
            optimizer.apply([gradient], [variable])

        mirrored.run(apply)

    alone = keras.Variable(np.ones(3), dtype="float32")
    single = Adam(0.1)
    single.build([alone])
    for _ in range(3):
        step()
        single.apply([tf.constant([1.0, -1.0, 2.0])], [alone])
    np.testing.assert_allclose(variable.numpy(), alone.numpy(), atol=1e-6)


def test_epsilon_and_amsgrad():
    assert Adam().epsilon == 1e-8
    assert Adam(epsilon=1e-3).epsilon == 1e-3
    with pytest.raises(ValueError, match="amsgrad"):
        Adam(amsgrad=True)


def test_configuration_comes_back():
    optimizer = Adam(0.3, beta_1=0.5, global_clipnorm=2.0)
    config = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(config)
    assert isinstance(restored, Adam)
    assert restored.get_config() == optimizer.get_config()


def test_a_falling_rate_ends_at_zero_and_needs_a_schedule():
    rate = cosine_decay(0.1, 200)
    rates = [rate(n) for n in (0, 100, 200, 300)]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0, 0], atol=1e-7)
    with pytest.raises(ValueError, match="needs schedule_steps of at least 1"):
        cosine_decay(0.1, 0)
