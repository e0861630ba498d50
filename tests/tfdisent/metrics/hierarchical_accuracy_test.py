import numpy as np
import pytest

from tfdisent.metrics.hierarchical_accuracy import hierarchical_accuracy

# {0, 1, 2} under the first of two nodes, {3, 4} under the second.
PARENTS = [[0, 0], [0, 0, 0, 1, 1]]
LABELS = np.array([[0, 0], [0, 1], [1, 3], [1, 4]])


def scores(labels, sizes=(2, 5)):
    """Logits whose largest is the label, level by level."""
    return [np.eye(n)[labels[:, i]] * 9 for i, n in enumerate(sizes)]


def test_true_logits_score_one():
    assert hierarchical_accuracy(scores(LABELS), LABELS, PARENTS) == (1, 1)


def test_prediction_is_among_the_siblings():
    # The largest logit of all belongs to a node of the other parent.
    logits = scores(LABELS)
    logits[1][:2, 4] = 100
    assert hierarchical_accuracy(logits, LABELS, PARENTS) == (1, 1)


def test_a_cascade_counts_where_the_parents_are_right():
    logits = scores(LABELS)
    logits[0][0] = [0, 1]
    logits[1][3] = [0, 0, 0, 1, 0]
    plain = hierarchical_accuracy(logits, LABELS, PARENTS)
    assert plain == (0.75, 0.75)
    cascade = hierarchical_accuracy(logits, LABELS, PARENTS, cascade=True)
    assert cascade == (0.75, 0.5)


def test_nodes_of_one_parent_need_not_be_neighbours():
    parents = [[0, 0], [0, 1, 0, 1, 0]]
    labels = np.array([[0, 4], [1, 3]])
    logits = scores(labels)
    logits[1][0, 3] = 100
    assert hierarchical_accuracy(logits, labels, parents) == (1, 1)


def test_donors_may_differ_but_not_in_a_cascade():
    # A recombination: the upper level of one image, the leaf of another.
    labels = np.array([[0, 4], [1, 0]])
    logits = scores(labels)
    assert hierarchical_accuracy(logits, labels, PARENTS) == (1, 1)
    with pytest.raises(ValueError, match=r"labels must follow .*\[0, 4\]"):
        hierarchical_accuracy(logits, labels, PARENTS, cascade=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS[:3]}, r"labels must have shape \[4, 2\]"),
        ({"labels": LABELS + [0, 1]}, "labels must be node numbers below"),
        ({"parents": PARENTS[:1]}, "one entry for every level.* 2 and 1"),
        ({"parents": [[0, 0], [0, 0, 0, 0, 0]]}, r"parents\[1\] must name"),
        ({"parents": [[0, 0], [0, 1]]}, r"logits\[1\] must have shape"),
        ({"logits": [np.full((4, 2), np.nan)] * 2}, r"logits\[0\] must be f"),
    ],
)
def test_bad_input(change, message):
    arguments = {"logits": scores(LABELS), "labels": LABELS, "parents": PARENTS}
    with pytest.raises(ValueError, match=message):
        hierarchical_accuracy(**arguments | change)
