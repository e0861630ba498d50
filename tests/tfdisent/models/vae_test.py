"""What all VAEs share: draws, halves of a batch, estimates, noise."""

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
    seen = {}

    def objective(image, seed, spare, training):
        seen.update(image=image, spare=spare)
        return {"loss": tf.constant(0.0)}, {"critic": tf.constant(0.0)}

    model.objective = objective
    model.descend_all = lambda objective: objective()[0]
    model.update({"image": IMAGE})
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
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    ]
    sides = {"infer": [], "generate": []}
    ladder = model.ladder
    for stacks, side in (
        ((*ladder.trunk, *ladder.heads), "infer"),
        ((*ladder.maps, *ladder.ups, ladder.pixels), "generate"),
    ):
        inside = {id(b) for stack in stacks for b in stack.blocks}
        sides[side] = [n for n in norms if id(n) in inside]
    assert len(sides["infer"]) + len(sides["generate"]) == len(norms)

    def moved():
        return {
            side: [bool(np.any(n.moving_mean.numpy())) for n in found]
            for side, found in sides.items()
        }

    model.evaluate_batch({"image": IMAGE})
    assert not any(sum(moved().values(), []))
    model.objective(IMAGE, SEED, training=True)
    assert all(all(found) and found for found in moved().values())


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
