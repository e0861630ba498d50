import numpy as np
import pytest
from scipy.stats import norm

from tfdisent.metrics.mutual_information import information_overlap
from tfdisent.metrics.mutual_information import mutual_information
from tfdisent.metrics.mutual_information import mutual_information_per_code

# A code with means spread as N(0, a^2) and posterior N(mean, 1) has the
# aggregated posterior N(0, a^2 + 1), and I(x; z) = log(1 + a^2) / 2.
SPREAD = np.array([1.0, 3.0])
EXPECTED = np.log1p(SPREAD**2) / 2


def gaussian_codes(side=60):
    quantiles = norm.ppf((np.arange(side) + 0.5) / side)
    quantiles /= np.std(quantiles)
    grid = np.stack(np.meshgrid(quantiles, quantiles), axis=-1).reshape(-1, 2)
    return grid * SPREAD, np.ones((side**2, 2))


def test_gaussian_codes_have_a_closed_form():
    means, stddevs = gaussian_codes()
    per_code = mutual_information_per_code(means, stddevs)
    np.testing.assert_allclose(per_code, EXPECTED, atol=0.02)
    joint = mutual_information(means, stddevs)
    np.testing.assert_allclose(joint, EXPECTED.sum(), atol=0.02)


def test_a_rotated_group_keeps_its_information():
    # The noise is round, so a rotation of the means changes no I(x; z_l).
    means, stddevs = gaussian_codes()
    turned = means @ [[0.6, -0.8], [0.8, 0.6]]
    joint = mutual_information(turned, stddevs)
    np.testing.assert_allclose(joint, EXPECTED.sum(), atol=0.02)


def test_independent_groups_do_not_overlap():
    result = information_overlap(*gaussian_codes(), [1, 1])
    np.testing.assert_allclose(result.groups, EXPECTED, atol=0.02)
    np.testing.assert_allclose(result.overlap, 0, atol=0.02)
    assert sum(result.groups) - result.total == result.overlap


def test_duplicated_code_overlaps():
    # Two looks at one mean: I(x; z) is that of a noise of variance 1/2.
    quantiles = norm.ppf((np.arange(2000) + 0.5) / 2000)
    means = np.stack([quantiles, quantiles], axis=1)
    result = information_overlap(means, np.ones_like(means), [1, 1])
    np.testing.assert_allclose(result.groups, np.log(2) / 2, atol=0.02)
    np.testing.assert_allclose(result.total, np.log(3) / 2, atol=0.02)
    expected = np.log(2) - np.log(3) / 2
    np.testing.assert_allclose(result.overlap, expected, atol=0.02)


def test_distinct_posteriors_reach_log_n():
    means = np.arange(50.0)[:, None] * 100
    information = mutual_information(means, np.ones((50, 1)))
    np.testing.assert_allclose(information, np.log(50))
    wide = mutual_information(np.tile(means, 40), np.full((50, 40), 0.1))
    np.testing.assert_allclose(wide, np.log(50))


def test_a_constant_posterior_tells_nothing():
    means, stddevs = np.full((300, 3), 2.0), np.full((300, 3), 0.5)
    np.testing.assert_allclose(mutual_information(means, stddevs), 0, atol=1e-9)


def test_rows_of_unequal_spread():
    # A narrow and a wide component at one place, by numerical integration.
    z = np.linspace(-40, 40, 400001)
    narrow, wide = norm.pdf(z, scale=0.5), norm.pdf(z, scale=4)
    mixture = (narrow + wide) / 2
    relative = [
        np.sum(p * np.log(p / mixture + 1e-300)) for p in (narrow, wide)
    ]
    expected = np.mean(relative) * (z[1] - z[0])
    means, stddevs = np.zeros((2, 1)), np.array([[0.5], [4.0]])
    actual = mutual_information(means, stddevs, samples=40000)
    np.testing.assert_allclose(actual, expected, atol=0.01)


def test_units_and_origin_do_not_matter():
    means, stddevs = gaussian_codes(20)
    expected = mutual_information(means, stddevs, samples=500)
    actual = mutual_information(1e3 * means + 1e6, 1e3 * stddevs, samples=500)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_the_seed_decides():
    means, stddevs = gaussian_codes(20)
    first = mutual_information(means, stddevs, samples=100, seed=1)
    again = mutual_information(
        means, stddevs, samples=100, seed=np.random.default_rng(1)
    )
    assert first == again
    assert first != mutual_information(means, stddevs, samples=100, seed=2)


def test_bad_input():
    means, stddevs = gaussian_codes(5)
    with pytest.raises(ValueError, match="stddevs must be positive.* -1.0"):
        mutual_information(means, -stddevs)
    with pytest.raises(ValueError, match="the same shape"):
        mutual_information(means, stddevs[:, :1])
    with pytest.raises(ValueError, match=r"group_sizes must .*\[1, 2\]"):
        information_overlap(means, stddevs, [1, 2])
    with pytest.raises(ValueError, match="means must have at least 2 rows"):
        mutual_information_per_code(means[:1], stddevs[:1])
