"""How a hierarchical classifier answers for a leaf it never saw."""

from typing import NamedTuple

import numpy as np

from tfdisent.metrics import hierarchy


class UnseenCategory(NamedTuple):
    """Answers for rows of one unseen (or, to compare, seen) category.

    `parent_accuracy` has one float in [0, 1] for each level above the leaves,
    `leaf_entropy` is in nats, `leaf_share` is float64 `[leaves]`.
    """

    parent_accuracy: tuple[float, ...]
    leaf_entropy: float
    leaf_share: np.ndarray


def unseen_category(logits, labels, parents):
    """Accuracy of the parents, entropy of the leaves, and where rows go.

    An unseen category shares its parents with seen ones: those should be
    right, and the prediction among the seen leaves should be unsure. A level
    is right only where all levels above it are (a cascade); the leaves are
    asked where all parents are right, among the children of the last one.

    Args:
        logits: A sequence over levels, from the root's children to the
            leaves, of floats `[N, K_l]`, a column for every seen node.
        labels: Integers `[N, levels - 1]`, the true node of every level above
            the leaves; each row follows the hierarchy.
        parents: A sequence over levels of integers `[K_l]`, for every node
            the number of its parent in the level above; all 0 in the first.

    Returns:
        `UnseenCategory(parent_accuracy, leaf_entropy, leaf_share)`. Entropy,
        natural logarithm, is the mean over the rows whose parents are right;
        `leaf_share` is the share of these rows that each seen leaf takes. If
        no row has its parents right, entropy and shares are NaN.

    Raises:
        ValueError: If shapes do not agree, there is one level only, logits
            have NaN, or labels or parents name nodes that do not exist.

    Reference: Hierarchical Disentangle Network for Object Representation
    Learning (HDN), section 4.3 and table 3.
    """
    logits, parents = hierarchy.levels(logits, parents)
    if len(logits) < 2:
        raise ValueError(
            "logits must have at least 2 levels: parents and leaves. "
            "Received: 1 level"
        )
    labels = hierarchy.labels(labels, parents[:-1], len(logits[0]))
    hierarchy.check_paths(labels, parents)
    right = np.ones(len(labels), bool)
    accuracy = []
    for true, values, nodes in zip(labels.T, logits, parents, strict=False):
        local = hierarchy.among_siblings(values, nodes, nodes[true])
        right &= np.argmax(local, axis=1) == true
        accuracy.append(float(right.mean()))

    leaves = hierarchy.among_siblings(
        logits[-1][right], parents[-1], labels[right, -1]
    )
    if not len(leaves):
        nowhere = np.full(len(parents[-1]), np.nan)
        return UnseenCategory(tuple(accuracy), float("nan"), nowhere)
    taken = np.bincount(np.argmax(leaves, axis=1), minlength=leaves.shape[1])
    return UnseenCategory(
        tuple(accuracy), float(np.mean(_entropy(leaves))), taken / len(leaves)
    )


def _entropy(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1)
    # log(total) - E[shifted]; the nodes at -inf have no weight.
    finite = np.where(weights > 0, shifted, 0.0)
    return np.log(total) - np.sum(weights * finite, axis=1) / total
