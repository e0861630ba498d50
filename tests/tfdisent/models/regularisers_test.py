import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import distributions
from tfdisent import losses
from tfdisent import noise
from tfdisent import testing
from tfdisent.models import regularisers
from tfdisent.models import vae

IMAGE = testing.random_images((32, 32, 1), 6)


def passed(model, image=IMAGE, spare=None, seed=(0, 7)):
    return model.run(image, tf.constant(seed), spare)[0]


def test_weighted_kl():
    model = testing.tiny_model("beta_vae")
    run = passed(model)
    kl = np.sum(
        model.posterior(IMAGE)["z"].kl_divergence(
            distributions.standard_normal(4)
        )
    ) / len(IMAGE)
    penalty = regularisers.WeightedKL(3.0).penalty(model, run)
    np.testing.assert_allclose(penalty.value, 3 * kl, rtol=1e-5)


@pytest.mark.parametrize(("step", "c"), [(0, 0.0), (25, 5.0), (500, 10.0)])
def test_capacity_grows_and_pulls_from_either_side(step, c):
    model = testing.tiny_model(
        "beta_vae", capacity=10.0, gamma=7.0, capacity_steps=50
    )
    model.step.assign(step)
    run = passed(model)
    (regulariser,) = model.regularisers
    penalty = regulariser.penalty(model, run)
    kl = float(regularisers.total_kl(run))
    np.testing.assert_allclose(penalty.value, 7 * abs(kl - c), rtol=1e-5)
    np.testing.assert_allclose(penalty.reports["capacity"], c)
    scalars, _ = model.objective(IMAGE, tf.constant([0, 7]))
    np.testing.assert_allclose(
        scalars["loss"], scalars["reconstruction"] + penalty.value, rtol=1e-6
    )


def test_the_gap_to_a_capacity_is_of_the_whole_batch(mirrored):
    """Replicas at 3 and 5 nats: neither is away from a capacity of 4."""
    regulariser = regularisers.CapacityKL(7.0, 4.0, 0)
    stub = types.SimpleNamespace
    vae = stub(step=stub(value=tf.constant(1, tf.int64)))

    @tf.function(jit_compile=False)
    def penalties():
        def of_replica():
            context = tf.distribute.get_replica_context()
            number = tf.cast(context.replica_id_in_sync_group, tf.float32)
            run = stub(kl={"z": tf.fill([1, 1], 3 + 2 * number)})
            return regulariser.penalty(vae, run).value

        return mirrored.experimental_local_results(mirrored.run(of_replica))

    np.testing.assert_allclose(penalties(), [0, 0], atol=1e-6)


def test_decomposed_kl_weighs_the_total_correlation_alone():
    model = testing.tiny_model("beta_tcvae", beta=5.0, data_size=100)
    run = passed(model)
    parts = run.parts_of_kl
    one, five = (
        regularisers.DecomposedKL(beta).penalty(model, run).value
        for beta in (1.0, 5.0)
    )
    z = run.codes["z"]
    whole = run.posterior["z"].log_prob(z) - distributions.standard_normal(
        4
    ).log_prob(z)
    np.testing.assert_allclose(one, np.mean(whole), rtol=1e-4)
    np.testing.assert_allclose(
        five - one, 4 * parts.total_correlation, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["beta_tcvae", "cascade_vae"])
def test_without_the_size_of_the_data_nothing_is_decomposed(name):
    base = {"base": "beta_tcvae"} if name == "cascade_vae" else {}
    model = testing.tiny_model(name, data_size=0, **base)
    model.compile()
    with pytest.raises(ValueError, match="data_size, the number of training"):
        model.train_step(testing.random_batch(model))


# ---- the critic ------------------------------------------------------------


@pytest.fixture
def factor():
    return testing.tiny_model("factor_vae", gamma=2.0)


def test_the_critics_two_losses_by_hand(factor):
    spare = testing.random_images((32, 32, 1), 6, seed=1)
    run = passed(factor, spare=spare)
    regulariser = factor.regularisers[-1]
    penalty = regulariser.penalty(factor, run)
    own = regulariser.critic(run.codes["z"]).numpy()
    codes = factor.draw(factor.posterior(spare), noise.fold(run.seed, 1))["z"]
    others = regulariser.critic(
        noise.permuted_columns(codes, noise.fold(run.seed, 2))
    ).numpy()
    # D = softmax(logits)[0], so log D / (1 - D) is their difference.
    ratio = np.mean(own[:, 0] - own[:, 1])
    np.testing.assert_allclose(penalty.value, 2 * ratio, rtol=1e-5)
    softplus = lambda x: np.log1p(np.exp(x))  # noqa: E731
    expected = np.mean(softplus(own[:, 1] - own[:, 0]))
    expected += np.mean(softplus(others[:, 0] - others[:, 1]))
    np.testing.assert_allclose(penalty.rival_loss, expected / 2, rtol=1e-5)


def test_the_vae_and_the_critic_each_descend_their_own_loss(factor):
    factor.compile()
    critic = factor.variables_of("critic")
    main = factor.variables_of("main")
    assert len(critic) == 14
    assert len(critic) + len(main) == len(factor.trainable_variables)
    spare = testing.random_images((32, 32, 1), 6, seed=1)
    with tf.GradientTape(persistent=True) as tape:
        scalars, rivals = factor.objective(IMAGE, tf.constant([0, 7]), spare)
        elbo = scalars["reconstruction"] + scalars["kl"]
    from_critic = tape.gradient(rivals["critic"], critic)
    assert all(np.any(g.numpy()) for g in from_critic)
    # The ELBO without the critic's word gives the encoder another gradient.
    with_critic = tape.gradient(scalars["loss"], main)
    without = tape.gradient(elbo, main)
    encoder = len(factor.encoder.trainable_variables)
    for number, (one, two) in enumerate(zip(with_critic, without, strict=True)):
        moved = not np.allclose(one, two, rtol=1e-4, atol=1e-7)
        assert moved == (number < encoder)


def test_a_critic_that_knows_finds_the_total_correlation():
    # Two equal columns: TC is infinite; a trained critic says "much". One
    # column permuted: TC 0; it says about 0.
    tf.random.set_seed(0)
    regulariser = regularisers.CriticTC(2, 1.0, width=32)
    optimizer = tf.keras.optimizers.Adam(3e-3)
    optimizer.build(regulariser.trainable_variables)
    rng = np.random.default_rng(0)

    def batch(correlation):
        z = rng.normal(size=(256, 2)).astype(np.float32)
        z[:, 1] = correlation * z[:, 0] + np.sqrt(1 - correlation**2) * z[:, 1]
        return tf.constant(z)

    @tf.function(jit_compile=False)
    def step(z, seed):
        run = vae.Pass(None, None, {"z": z}, None, None, None, seed)
        with tf.GradientTape() as tape:
            penalty = regulariser.penalty(None, run)
        gradients = tape.gradient(
            penalty.rival_loss, regulariser.trainable_variables
        )
        optimizer.apply(gradients, regulariser.trainable_variables)
        return penalty.value

    values = [step(batch(0.8), tf.constant([0, n])).numpy() for n in range(150)]
    exact = -0.5 * np.log(1 - 0.8**2)
    np.testing.assert_allclose(np.mean(values[-40:]), exact, atol=0.12)


# ---- estimates of q(z) -----------------------------------------------------

MEANS = np.array([[-1.0, 0.5], [0.3, 0.2], [1.5, -1.0], [0.1, 2.0]], np.float32)
STDDEVS = np.array([[0.5, 1.0], [0.7, 0.3], [1.1, 0.6], [0.4, 0.9]], np.float32)


def log_q(z):
    """log q(z) and log q(z_k) of all four posteriors, exactly."""
    densities = distributions.log_densities(z, MEANS, STDDEVS)
    joint = tf.reduce_logsumexp(tf.reduce_sum(densities, -1), 1) - np.log(4)
    return joint, tf.reduce_logsumexp(densities, 1) - np.log(4)


def test_stratified_estimates_of_q_are_unbiased():
    z = MEANS + 0.3 * STDDEVS
    exact_joint, exact_marginals = (np.exp(v) for v in log_q(z))
    estimates = np.zeros(4), np.zeros((4, 2))
    # Every ordered batch of three out of the four images.
    batches = list(itertools.permutations(range(4), 3))
    for rows in map(list, batches):
        densities = distributions.log_densities(
            z[rows], MEANS[rows], STDDEVS[rows]
        )
        weights = losses.stratified_weights(3, 4)[..., None]
        estimates[0][rows] += np.exp(
            tf.reduce_logsumexp(
                weights[..., 0] + tf.reduce_sum(densities, -1), 1
            )
        )
        estimates[1][rows] += np.exp(
            tf.reduce_logsumexp(weights + densities, 1)
        )
    count = len(batches) * 3 / 4
    np.testing.assert_allclose(estimates[0] / count, exact_joint, rtol=1e-5)
    np.testing.assert_allclose(estimates[1] / count, exact_marginals, rtol=1e-5)


def test_weights_by_hand():
    np.testing.assert_allclose(
        np.exp(losses.stratified_weights(4, 10)),
        [
            [1 / 10, 7 / 30, 1 / 3, 1 / 3],
            [1 / 3, 1 / 10, 7 / 30, 1 / 3],
            [1 / 3, 1 / 3, 1 / 10, 7 / 30],
            [7 / 30, 1 / 3, 1 / 3, 1 / 10],
        ],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        np.exp(losses.minibatch_weights(4, 10)), np.full((4, 4), 1 / 40)
    )
    assert np.isfinite(losses.stratified_weights(1, 1)).all()


def test_decomposition_of_a_full_batch_is_exact():
    z = MEANS + 0.3 * STDDEVS
    joint, marginals = log_q(z)
    product = tf.reduce_sum(marginals, -1)
    posterior = distributions.diagonal_normal(MEANS, np.log(STDDEVS))
    log_posterior = posterior.log_prob(z)
    log_prior = distributions.standard_normal(2).log_prob(z)
    parts = losses.decompose_kl(
        distributions.log_densities(z, MEANS, STDDEVS),
        tf.fill([4, 4], -np.log(4.0).astype(np.float32)),
        log_posterior,
        log_prior,
    )
    np.testing.assert_allclose(
        parts,
        [
            np.mean(log_posterior - joint),
            np.mean(joint - product),
            np.mean(product - log_prior),
        ],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        sum(parts), np.mean(log_posterior - log_prior), rtol=1e-5
    )
