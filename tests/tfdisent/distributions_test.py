import numpy as np
import pytest
import tensorflow as tf

from tfdisent import distributions

MEAN = np.array([[0.0, 1.0, -2.0], [0.5, 0.0, 3.0]], np.float32)
LOG_SCALE = np.array([[0.0, 0.5, -1.0], [1.0, -2.0, 0.0]], np.float32)


def test_diagonal_normal():
    posterior = distributions.diagonal_normal(MEAN, LOG_SCALE)
    assert posterior.batch_shape == (2,)
    assert posterior.event_shape == (3,)
    np.testing.assert_array_equal(posterior.mean(), MEAN)
    np.testing.assert_allclose(posterior.stddev(), np.exp(LOG_SCALE), rtol=1e-6)
    z = (0.3 - MEAN) / np.exp(LOG_SCALE)
    expected = -0.5 * z**2 - LOG_SCALE - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(
        posterior.log_prob(np.full((2, 3), 0.3, np.float32)),
        expected.sum(axis=-1),
        rtol=1e-5,
    )


def test_it_is_float32_whatever_it_is_given():
    half = distributions.diagonal_normal(
        tf.cast(MEAN, tf.bfloat16), tf.cast(LOG_SCALE, tf.bfloat16)
    )
    assert half.dtype == tf.float32


def test_kl_is_the_closed_form_by_entry():
    posterior = distributions.diagonal_normal(MEAN, LOG_SCALE)
    expected = 0.5 * (MEAN**2 + np.exp(2 * LOG_SCALE) - 1) - LOG_SCALE
    kl = distributions.kl_to_standard_normal(posterior)
    np.testing.assert_allclose(kl, expected, rtol=1e-5)
    whole = posterior.kl_divergence(distributions.standard_normal(3))
    np.testing.assert_allclose(np.sum(kl, axis=-1), whole, rtol=1e-5)


def test_kl_of_the_prior_is_zero():
    prior = distributions.diagonal_normal(np.zeros((1, 3)), np.zeros((1, 3)))
    np.testing.assert_array_equal(
        distributions.kl_to_standard_normal(prior), np.zeros((1, 3))
    )


def test_bernoulli_is_minus_the_cross_entropy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 1)).astype(np.float32)
    images = rng.random((2, 3, 4, 1)).astype(np.float32)
    likelihood = distributions.bernoulli(logits)
    assert likelihood.batch_shape == (2,)
    assert likelihood.event_shape == (3, 4, 1)
    p = 1 / (1 + np.exp(-logits))
    expected = images * np.log(p) + (1 - images) * np.log(1 - p)
    for given in (images, tf.constant(images)):
        np.testing.assert_allclose(
            likelihood.log_prob(given), expected.sum(axis=(1, 2, 3)), rtol=1e-5
        )


def test_gaussian_pixels():
    mean = np.zeros((2, 3, 4, 1), np.float32)
    likelihood = distributions.gaussian(mean, scale=2.0)
    assert likelihood.event_shape == (3, 4, 1)
    expected = -12 * (0.5 * (1 / 2) ** 2 + np.log(2) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(
        likelihood.log_prob(mean + 1), [expected] * 2, rtol=1e-5
    )


def test_laplace_pixels():
    mean = np.zeros((2, 3, 4, 1), np.float32)
    likelihood = distributions.laplace(mean, scale=0.5)
    assert likelihood.event_shape == (3, 4, 1)
    np.testing.assert_allclose(
        likelihood.log_prob(mean + 1), [-12 * 2.0] * 2, rtol=1e-5
    )


def test_the_scales_of_pixels_by_name():
    """Of an error of 1/2: unit variance, and scale 1/8 of VLAE's code."""
    logits = np.zeros((1, 3, 4, 1), np.float32)
    expected = {
        "gaussian": -0.125 - 0.5 * np.log(2 * np.pi),
        "laplace": -4 + np.log(4),
    }
    for name, pixel in expected.items():
        likelihood = distributions.LIKELIHOODS[name](logits)
        np.testing.assert_allclose(
            likelihood.log_prob(logits), [12 * pixel], rtol=1e-5
        )


@pytest.mark.parametrize("name", distributions.LIKELIHOODS)
def test_likelihoods_have_their_mean_at_the_sigmoid(name):
    logits = np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 3, 4, 1)
    likelihood = distributions.LIKELIHOODS[name](logits)
    np.testing.assert_allclose(
        likelihood.mean(), 1 / (1 + np.exp(-logits)), rtol=1e-5
    )


def test_log_densities_of_every_pair():
    scale = np.exp(LOG_SCALE)
    logs = distributions.log_densities(MEAN + 0.3, MEAN, scale)
    assert logs.shape == (2, 2, 3)
    for i, j in ((0, 1), (1, 0), (1, 1)):
        whole = distributions.diagonal_normal(MEAN, LOG_SCALE)[j]
        np.testing.assert_allclose(
            np.sum(logs[i, j]), whole.log_prob(MEAN[i] + 0.3), rtol=1e-5
        )
