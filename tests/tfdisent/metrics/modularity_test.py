import numpy as np
import pytest

from tfdisent.metrics.modularity import modularity


def test_agrees_with_the_reference(golden):
    np.testing.assert_allclose(
        modularity(*golden.train),
        golden.expected["modularity"],
        rtol=0,
        atol=1e-6,
    )


def test_identity_and_duplicated_codes_score_one(grid):
    factors = grid(3, 4, 5)
    np.testing.assert_allclose(modularity(factors, factors), 1.0)
    twice = np.concatenate([factors, factors], axis=1)
    np.testing.assert_allclose(modularity(factors, twice), 1.0)


def test_a_dead_code_counts_zero(grid):
    factors = grid(3, 4)
    assert modularity(factors, np.zeros((12, 3))) == 0.0
    codes = np.concatenate([factors, np.zeros((12, 2))], axis=1)
    np.testing.assert_allclose(modularity(factors, codes), 0.5)


def test_one_code_for_two_factors(grid):
    # It holds log 2 of one and log 3 of the other.
    factors = grid(2, 3)
    expected = 1 - (np.log(2) / np.log(3)) ** 2
    actual = modularity(factors, factors @ [[3.0], [1.0]])
    np.testing.assert_allclose(actual, expected)


def test_order_and_scale_of_codes_do_not_matter(grid):
    factors = grid(3, 4, 5)
    codes = factors + np.random.default_rng(0).normal(size=(60, 3))
    moved = codes[:, [2, 0, 1]] * [8.0, 0.5, 4.0]
    np.testing.assert_allclose(
        modularity(factors, moved), modularity(factors, codes)
    )


def test_needs_two_factors(grid):
    with pytest.raises(ValueError, match="factors must have at least 2 col"):
        modularity(grid(4), grid(4))
