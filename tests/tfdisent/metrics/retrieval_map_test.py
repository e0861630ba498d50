import numpy as np
import pytest

from tfdisent.metrics.retrieval_map import retrieval_map

DATABASE = np.array([[0.0], [1.0], [2.0], [3.0]])


def test_ranking_by_hand():
    # Relevant items at ranks 1 and 3: (1/1 + 2/3) / 2.
    score = retrieval_map([[-1.0]], [7], DATABASE, [7, 8, 7, 8])
    np.testing.assert_allclose(score, (1 + 2 / 3) / 2)


def test_mean_over_queries():
    # From the left the one relevant item is last, from the right first.
    score = retrieval_map([[-1.0], [4.0]], [1, 1], DATABASE, [0, 0, 0, 1])
    np.testing.assert_allclose(score, (1 / 4 + 1) / 2)


def test_identity_code_scores_one():
    labels = np.arange(100) % 5
    codes = np.eye(5)[labels]
    assert retrieval_map(codes, labels, codes, labels) == 1.0
    signs = 2 * codes - 1
    score = retrieval_map(signs, labels, signs, labels, distance="hamming")
    assert score == 1.0


@pytest.mark.parametrize("distance", ["euclidean", "hamming"])
def test_equal_distances_keep_the_order_of_the_database(distance):
    # A constant code: the ranking is the database itself.
    labels = np.array([0, 1, 1, 0, 1])
    score = retrieval_map(
        np.ones((1, 3)), [1], np.ones((5, 3)), labels, distance=distance
    )
    np.testing.assert_allclose(score, (1 / 2 + 2 / 3 + 3 / 5) / 3)


def test_many_equal_distances():
    # Long enough that an unstable sort would shuffle them.
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=500)
    bits = rng.integers(2, size=(500, 2)).astype(float)
    query, target = bits[:1], labels[:1]
    order = np.argsort(np.sum(bits != query, axis=1), kind="stable")
    ranks = np.flatnonzero(labels[order] == target) + 1
    expected = np.mean(np.arange(1, len(ranks) + 1) / ranks)
    for distance in ("euclidean", "hamming"):
        actual = retrieval_map(query, target, bits, labels, distance=distance)
        np.testing.assert_allclose(actual, expected)


def test_blocks_of_queries_agree_with_single_ones():
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(150, 4)), rng.integers(3, size=150)
    one_by_one = [
        retrieval_map(codes[[i]], labels[[i]], codes, labels)
        for i in range(150)
    ]
    together = retrieval_map(codes, labels, codes, labels)
    np.testing.assert_allclose(together, np.mean(one_by_one))


def test_bad_input():
    with pytest.raises(ValueError, match=r"query_labels must all .*\[9\]"):
        retrieval_map([[0.0]], [9], DATABASE, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="distance must be .* 'cosine'"):
        retrieval_map([[0.0]], [0], DATABASE, [0] * 4, distance="cosine")
    with pytest.raises(ValueError, match="two values.* 4 values, 0.0 to 3.0"):
        retrieval_map([[0.0]], [0], DATABASE, [0] * 4, distance="hamming")
    with pytest.raises(ValueError, match="query_codes 2, database_codes 1"):
        retrieval_map([[0.0, 1.0]], [0], DATABASE, [0] * 4)
