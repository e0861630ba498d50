import numpy as np

from tfdisent.metrics import hierarchy


def test_softmax_among_siblings_sums_to_one():
    logits = np.array([[1.0, 1.0, 50.0], [0.0, 0.0, 0.0]])
    local = hierarchy.among_siblings(logits, np.array([0, 0, 1]), [0, 1])
    weights = np.exp(local - local.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, [[0.5, 0.5, 0], [0, 0, 1]])


def test_three_levels():
    parents = [[0, 0], [0, 0, 1, 1], [0, 1, 2, 3, 3]]
    logits = [np.zeros((7, n)) for n in (2, 4, 5)]
    checked, nodes = hierarchy.levels(logits, parents)
    assert [v.shape for v in checked] == [(7, 2), (7, 4), (7, 5)]
    np.testing.assert_array_equal(nodes[2], parents[2])
