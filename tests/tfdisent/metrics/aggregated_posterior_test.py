import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from tfdisent.metrics import aggregated_posterior


def random_posterior(rows=5000, codes=3):
    # More rows than one block holds.
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(rows, codes)),
        rng.uniform(0.1, 2, size=(rows, codes)),
    )


def test_mixture_density_agrees_with_scipy():
    means, stddevs = random_posterior()
    _, draws = aggregated_posterior.draw(means, stddevs, 300, 0)
    logs = norm.logpdf(draws[:, None], means, stddevs).sum(axis=-1)
    expected = logsumexp(logs, axis=1) - np.log(len(means))
    actual = aggregated_posterior.log_aggregate(draws, means, stddevs)
    np.testing.assert_allclose(actual, expected, atol=1e-9)


def test_conditional_density_agrees_with_scipy():
    means, stddevs = random_posterior(50)
    rows, draws = aggregated_posterior.draw(means, stddevs, 50, 0)
    expected = norm.logpdf(draws, means[rows], stddevs[rows]).sum(axis=1)
    actual = aggregated_posterior.log_conditional(
        draws, means[rows], stddevs[rows]
    )
    np.testing.assert_allclose(actual, expected)


def test_rows_are_used_equally():
    means, stddevs = random_posterior(50)
    rows, _ = aggregated_posterior.draw(means, stddevs, 30, 0)
    assert np.bincount(rows).max() == 1
    rows, _ = aggregated_posterior.draw(means, stddevs, 120, 0)
    assert set(np.bincount(rows)) == {2, 3}


def test_information_about_an_overlapping_factor():
    # Means at -1 and +1, noise of 1: a binary channel, integrated.
    factors = np.array([[0], [1]])
    means = factors * 2.0 - 1
    actual = aggregated_posterior.aggregate_information_matrix(
        factors, means, np.ones((2, 1)), samples=40000
    )
    z = np.linspace(-12, 12, 100001)
    low, high = norm.pdf(z, -1), norm.pdf(z, 1)
    mixture = (low + high) / 2
    expected = np.sum(high * np.log(high / mixture)) * (z[1] - z[0])
    np.testing.assert_allclose(actual, [[expected]], atol=0.01)
