import numpy as np
import pytest

from tfdisent.metrics.unseen_category import unseen_category

# {0, 1, 2} under the first of two nodes, {3, 4} under the second.
PARENTS = [[0, 0], [0, 0, 0, 1, 1]]


def test_unsure_leaves_have_entropy_log_3():
    # The other parent's leaves take no part, however large their logits.
    leaves = np.array([[0.0, 0, 0, 99, 99]] * 2)
    parents = np.array([[5.0, 0]] * 2)
    answer = unseen_category([parents, leaves], [[0], [0]], PARENTS)
    assert answer.parent_accuracy == (1.0,)
    np.testing.assert_allclose(answer.leaf_entropy, np.log(3))


def test_sure_leaves_and_where_they_go():
    leaves = np.eye(5)[[0, 1, 1, 1]] * 1000
    parents = np.array([[5.0, 0]] * 4)
    answer = unseen_category([parents, leaves], [[0]] * 4, PARENTS)
    np.testing.assert_allclose(answer.leaf_entropy, 0.0, atol=1e-9)
    np.testing.assert_allclose(answer.leaf_share, [0.25, 0.75, 0, 0, 0])


def test_entropy_by_hand():
    leaves = np.log([[0.5, 0.25, 0.25, 1, 1]])
    answer = unseen_category([[[5.0, 0]], leaves], [[0]], PARENTS)
    np.testing.assert_allclose(answer.leaf_entropy, 1.5 * np.log(2))


def test_only_rows_with_the_right_parent_are_asked():
    parents = np.array([[5.0, 0], [0, 5.0]])
    leaves = np.array([[0.0, 0, 50, 0, 0], [0.0, 0, 0, 0, 0]])
    answer = unseen_category([parents, leaves], [[0], [0]], PARENTS)
    assert answer.parent_accuracy == (0.5,)
    np.testing.assert_allclose(answer.leaf_entropy, 0, atol=1e-9)
    np.testing.assert_allclose(answer.leaf_share, [0, 0, 1, 0, 0])


def test_parents_cascade():
    # The lower parent is right in both rows, the upper in one.
    parents = [[0, 0], [0, 0, 1, 1], [0, 1, 2, 3]]
    upper, lower = np.array([[1.0, 0], [0, 1]]), np.eye(4)[[0, 0]]
    leaves = np.zeros((2, 4))
    answer = unseen_category([upper, lower, leaves], [[0, 0]] * 2, parents)
    assert answer.parent_accuracy == (0.5, 0.5)


def test_nobody_right():
    answer = unseen_category([[[0.0, 5]], [[0.0] * 5]], [[0]], PARENTS)
    assert answer.parent_accuracy == (0.0,)
    assert np.isnan(answer.leaf_entropy)
    assert np.isnan(answer.leaf_share).all()


def test_needs_parents_and_leaves():
    with pytest.raises(ValueError, match="logits must have at least 2 levels"):
        unseen_category([[[0.0, 1]]], [[0]], PARENTS[:1])
