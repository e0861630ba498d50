"""What all VAEs share: draws, halves of a batch, estimates, noise."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent import distributions
from tfdisent import layers
from tfdisent import losses
from tfdisent import noise
from tfdisent import testing
from tfdisent.models import vae

IMAGE = testing.random_images((32, 32, 1), 6)
SEED = tf.constant([0, 7])


def test_every_part_and_row_has_noise_of_its_own():
    model = testing.tiny_model("vlae")
    standard = distributions.diagonal_normal(tf.zeros([6, 2]), tf.zeros([6, 2]))
    codes = model.draw(dict.fromkeys(model.parts, standard), SEED)
    values = np.ravel([codes[name] for name in ("z1", "z2", "z3")])
    assert len(np.unique(values)) == 3 * 6 * 2


def test_a_draw_is_the_mean_and_so_many_standard_deviations():
    model = testing.tiny_model("beta_vae")
    posterior = model.posterior(IMAGE)
    standard = noise.normal([6, 4], SEED)
    mean, stddev = posterior["z"].mean(), posterior["z"].stddev()
    np.testing.assert_allclose(
        model.draw(posterior, SEED)["z"], mean + stddev * standard, rtol=1e-6
    )


@pytest.mark.parametrize("estimator", vae.ESTIMATORS)
def test_estimates_know_the_size_of_the_data(estimator):
    """By hand: log weights of N = 1,000 on the batch's own densities."""
    model = testing.tiny_model(
        "beta_tcvae", estimator=estimator, data_size=1000
    )
    run, _ = model.run(IMAGE, SEED)
    q, z = run.posterior["z"], run.codes["z"]
    expected = losses.decompose_kl(
        distributions.log_densities(z, q.mean(), q.stddev()),
        {
            "mss": losses.stratified_weights,
            "mws": losses.minibatch_weights,
        }[estimator](6, 1000),
        q.log_prob(z),
        distributions.standard_normal(4).log_prob(z),
    )
    np.testing.assert_allclose(run.parts_of_kl, expected, rtol=1e-4)


def test_every_other_image_is_the_critics():
    """Half of a FactorVAE's batch is in its ELBO, the other half is spare."""
    model = testing.tiny_model("factor_vae")
    model.compile()
    objective, seen = model.objective, {}

    def watched(image, seed, spare=None, training=False):
        seen.update(image=image, spare=spare)
        return objective(image, seed, spare, training)

    model.objective = watched
    model.update({"image": tf.constant(IMAGE)})
    np.testing.assert_array_equal(seen["image"], IMAGE[::2])
    np.testing.assert_array_equal(seen["spare"], IMAGE[1::2])


def test_the_critic_compares_with_the_spare_images():
    model = testing.tiny_model("factor_vae")
    other = testing.random_images((32, 32, 1), 6, seed=3)
    one, two = (model.objective(IMAGE, SEED, s)[0] for s in (IMAGE, other))
    assert float(one["critic"]) != float(two["critic"])
    for name in ("reconstruction", "kl", "critic_total_correlation"):
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("name", ["vlae", "pro_vlae"])
def test_batch_statistics_are_updated_on_both_sides(name):
    """In training, of encoder and decoder; in evaluation, of neither."""
    model = testing.tiny_model(name, norm="batch")
    ladder = model.ladder
    stacks = {
        "infer": [*ladder.trunk, *ladder.heads],
        "generate": [*ladder.maps, *ladder.ups],
    }
    sides = {
        side: [
            block
            for stack in found
            for block in stack.blocks
            if isinstance(block, layers.BatchNormalization)
        ]
        for side, found in stacks.items()
    }

    def moved():
        return {
            side: [bool(np.any(n.moving_mean.numpy())) for n in found]
            for side, found in sides.items()
        }

    model.evaluate_batch({"image": IMAGE})
    assert moved() == {side: [False] * 9 for side in sides}
    model.objective(IMAGE, SEED, training=True)
    assert moved() == {side: [True] * 9 for side in sides}


@pytest.mark.parametrize(
    "name", ["beta_vae", "vlae", "class_vae", "cvae", "infogan"]
)
def test_held_out_batches_have_noise_of_their_own(name):
    model = testing.tiny_model(name)
    rows = testing.random_batch(model, 8)
    first, second = ({n: v[r] for n, v in rows.items()} for r in ([0], [1]))
    seeds = [model.held_out_seed(b["image"]).numpy() for b in (first, second)]
    assert seeds[0].tolist() != seeds[1].tolist()
    # The same batch again is scored the same; another step has other noise.
    one, again = (model.evaluate_batch(first) for _ in range(2))
    assert all(float(one[n]) == float(again[n]) for n in one)
    model.step.assign(5)
    other = model.held_out_seed(first["image"]).numpy()
    assert other.tolist() != seeds[0].tolist()
    # And it is what losses are computed with.
    model.step.assign(0)
    model.held_out_seed = lambda image: tf.constant(seeds[1])
    moved = model.evaluate_batch(first)
    assert any(float(one[n]) != float(moved[n]) for n in one)


def test_noise_of_held_out_images_follows_all_of_them_and_their_place():
    model = testing.tiny_model("beta_vae")
    # As many bright pixels, elsewhere; the same rows in another order.
    dot = np.eye(32 * 32, dtype=np.float32)[:4].reshape(4, 32, 32, 1)
    batches = [dot[:1], dot[1:2], dot[:2], dot[1::-1], dot]
    seeds = {tuple(model.held_out_seed(b).numpy()) for b in batches}
    assert len(seeds) == len(batches)


@pytest.mark.parametrize("name", ["beta_vae", "jacobian_vae"])
def test_replicas_score_held_out_images_as_one_device_does(name, mirrored):
    image = tf.constant(testing.random_images((32, 32, 1), 8))

    def scores(strategy):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            model = testing.tiny_model(name)

        @tf.function(jit_compile=False)
        def evaluate():
            def of_replica():
                return model.evaluate_batch({"image": noise.own_rows(image)})

            return strategy.run(of_replica)

        found = evaluate()
        return {
            n: np.mean(
                [float(v) for v in strategy.experimental_local_results(value)]
            )
            for n, value in found.items()
        }

    one, two = scores(tf.distribute.get_strategy()), scores(mirrored)
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-5, atol=1e-5)
