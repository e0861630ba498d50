import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import layers
from tfdisent import networks
from tfdisent import testing

IMAGE = testing.random_images((32, 32, 1))


def kernels(stack):
    return [v.shape for v in stack.trainable_variables if len(v.shape) > 1]


def test_three_levels_as_the_paper_has_them():
    ladder = networks.ladder_network((64, 64, 1), 3)
    convolution = (4, 4, 32, 32)
    assert [kernels(s) for s in ladder.trunk] == [
        [(4, 4, 1, 32)],
        [convolution],
        [convolution],
    ]
    # Ladders to 16x16, 8x8 and 4x4; mean and log variance side by side.
    assert [kernels(s) for s in ladder.heads] == [
        [convolution, (side * side * 32, 256), (256, 6)] for side in (16, 8, 4)
    ]
    assert [kernels(s) for s in ladder.maps] == [
        [(3, 256), (256, side * side * 32)] for side in (16, 8, 4)
    ]
    # Twice the channels where the map joins.
    assert [kernels(s) for s in ladder.ups] == [
        [(4, 4, 32, 64)],
        [(4, 4, 32, 64)],
        [convolution],
    ]
    assert kernels(ladder.pixels) == [(4, 4, 1, 32)]


def test_four_levels_as_the_authors_code_has_them():
    ladder = networks.ladder_network((64, 64, 3), 7, levels=4)
    assert [kernels(s)[0][-1] for s in ladder.trunk] == [64, 128, 256, 512]
    assert [kernels(s) for s in ladder.heads] == [
        [(4, 4, 64, 64), (4, 4, 64, 64), (16 * 16 * 64, 14)],
        [(4, 4, 128, 128), (4, 4, 128, 256), (4 * 4 * 256, 14)],
        [(4, 4, 256, 256), (4, 4, 256, 512), (2 * 2 * 512, 14)],
        [(4 * 4 * 512, 1024), (1024, 1024), (1024, 14)],
    ]
    assert [kernels(s)[-1][-1] for s in ladder.maps] == [
        16 * 16 * 64,
        8 * 8 * 256,
        4 * 4 * 512,
        4 * 4 * 512,
    ]
    assert [kernels(s) for s in ladder.ups] == [
        [(4, 4, 64, 128)],
        [(4, 4, 128, 512), (4, 4, 64, 128)],
        [(4, 4, 512, 1024), (4, 4, 256, 512)],
        [],
    ]
    logits = ladder.generate([tf.zeros([2, 7])] * 4)
    assert logits.shape == (2, 64, 64, 3)


@pytest.mark.parametrize(
    ("levels", "below"), [(3, np.expm1(-1)), (4, -0.2)], ids=["elu", "leaky"]
)
def test_what_networks_make_of_a_negative_feature(levels, below):
    """ELU, and the 0.2 that TensorFlow's LeakyReLU had."""
    ladder = networks.ladder_network((64, 64, 1), 2, levels)
    stacks = [*ladder.trunk, *ladder.heads, *ladder.maps, *ladder.ups]
    kinds = (keras.layers.Activation, keras.layers.LeakyReLU)
    found = [b for s in stacks for b in s.blocks if isinstance(b, kinds)]
    assert len(found) == {3: 18, 4: 23}[levels]
    for activation in found:
        values = activation(tf.constant([[-1.0, 1.0]]))
        np.testing.assert_allclose(values, [[below, 1]], rtol=1e-5)


def test_the_shallowest_of_four_levels_decodes_without_normalisation():
    """As in the authors' code; its ladder has one, and so have all others."""
    ladder = networks.ladder_network((64, 64, 3), 7, levels=4)

    def normed(stacks):
        return [
            sum(isinstance(b, layers.Affine) for b in s.blocks) for s in stacks
        ]

    assert normed(ladder.trunk) == [1, 1, 1, 1]
    assert normed(ladder.heads) == [2, 2, 2, 2]
    assert normed(ladder.maps) == [0, 1, 1, 3]
    assert normed(ladder.ups) == [0, 2, 2, 0]


def test_what_the_original_network_makes_of_a_negative_feature():
    """LeakyReLU .1, but a true ReLU where dense layers decode."""
    ladder = networks.original_ladder((32, 32, 1), 2)
    kinds = (keras.layers.Activation, keras.layers.LeakyReLU)
    below = [
        [
            round(float(b(tf.constant([[-1.0]]))[0, 0]), 6)
            for b in stack.blocks
            if isinstance(b, kinds)
        ]
        for stack in (*ladder.heads, *ladder.maps, *ladder.ups)
    ]
    assert below == [
        *([-0.1, -0.1],) * 3,
        *([-0.1], [0], [0, 0]),
        *([0, -0.1], [0, 0], []),
    ]


def test_the_original_network_for_mnist():
    ladder = networks.original_ladder((32, 32, 1), 2)
    convolutions = [(4, 4, 1, 64), (4, 4, 64, 128)]
    dense = (1024, 1024)
    assert [kernels(s) for s in ladder.trunk] == [
        [],
        [*convolutions, (8192, 1024)],
        [dense] * 3,
    ]
    assert [kernels(s) for s in ladder.heads] == [
        [*convolutions, (8192, 4)],
        [dense, dense, (1024, 4)],
        [dense, dense, (1024, 4)],
    ]
    assert [kernels(s) for s in ladder.ups] == [
        [(1024, 8192), (4, 4, 64, 128)],
        [dense] * 3,
        [],
    ]
    np.testing.assert_allclose(ladder.joins[0].gate, np.full(1024, 0.1))
    weights = ladder.trunk[2].trainable_variables[0].numpy()
    np.testing.assert_allclose(weights.std(), 0.02, rtol=0.01)
    log_variance = ladder.infer(IMAGE)[0][:, 2:]
    np.testing.assert_allclose(np.exp(log_variance / 2), 0.501, atol=0.2)


def test_standard_deviations_of_the_original_network():
    raw = np.float32([[7.0, 7.0, 7.0, -40.0, 0.0, 40.0]])
    mean, log_variance = np.split(layers.BoundedSpread()(raw), 2, axis=-1)
    np.testing.assert_array_equal(mean, 7)
    np.testing.assert_allclose(
        np.exp(log_variance / 2), [[0.001, 0.501, 1.001]], rtol=1e-4
    )


@pytest.mark.slow
def test_the_original_network_keeps_the_contract():
    model = testing.tiny_model(
        "vlae", network="original", likelihood="laplace", warm_up=2000
    )
    testing.check_model(model)


def test_weight_of_the_kl_warms_up():
    model = testing.tiny_model("vlae", beta=4.0, warm_up=10)
    for step in (0, 10):
        model.step.assign(step)
        terms, _ = model.objective(IMAGE, model.noise_seed(0))
        weight = 4 * (1 - np.exp(-step / 10))
        np.testing.assert_allclose(
            terms["loss"], terms["reconstruction"] + weight * terms["kl"]
        )


def test_the_kl_is_the_sum_over_levels():
    model = testing.tiny_model("vlae")
    terms, _ = model.objective(IMAGE, model.noise_seed(0))
    levels = [terms[f"kl_z{n}"] for n in (1, 2, 3)]
    np.testing.assert_allclose(terms["kl"], sum(levels), rtol=1e-5)
    q = model.posterior(IMAGE)["z2"]
    mean, stddev = q.mean().numpy(), q.stddev().numpy()
    kl = 0.5 * (mean**2 + stddev**2 - 1) - np.log(stddev)
    np.testing.assert_allclose(
        terms["kl_z2"], kl.sum(axis=-1).mean(), rtol=1e-4, atol=1e-6
    )


def test_four_levels_bound_the_log_variance_in_the_kl_alone():
    model = testing.tiny_model("vlae", levels=4)
    head = model.ladder.heads[0].blocks[-1]
    head.bias.assign([0.0, 0.0, 8.0, 8.0])
    head.kernel.assign(0 * head.kernel)
    posterior = model.posterior(IMAGE)
    np.testing.assert_allclose(
        posterior["z1"].variance(), np.full((4, 2), np.exp(8)), rtol=1e-4
    )
    kl = model.divergence(posterior)["z1"]
    expected = 0.5 * (np.exp(3) - 1 - 3)
    np.testing.assert_allclose(kl, np.full((4, 2), expected), rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"network": "dense"}, {"network": "original", "levels": 4}, {"levels": 5}],
)
def test_unknown_networks(wrong):
    with pytest.raises(ValueError, match="Received"):
        testing.tiny_model("vlae", **wrong)
