"""Accuracy level by level, each among siblings."""

import numpy as np

from tfdisent.metrics import hierarchy


def hierarchical_accuracy(logits, labels, parents, *, cascade=False):
    """Accuracy of local predictions, one for every level of a hierarchy.

    A local prediction is the most probable of the siblings under the true
    parent: the argmax of the softmax over their slice of the logits.

    Args:
        logits: A sequence over levels, from the root's children to the
            leaves, of floats `[N, K_l]`, a column for every node.
        labels: Integers `[N, levels]`, the true node of every level.
        parents: A sequence over levels of integers `[K_l]`, for every node
            the number of its parent in the level above; all 0 in the first.
        cascade: A level counts as right only where all levels above it are.
            The labels of a row must then lie on one path. Without it they
            need not: after a recombination every level has a donor of its own.

    Returns:
        A tuple of floats in [0, 1], one a level.

    Raises:
        ValueError: If shapes do not agree, logits have NaN, labels or parents
            name nodes that do not exist, or, in a cascade, leave the path.

    Reference: Hierarchical Disentangle Network for Object Representation
    Learning (HDN), equation 3 and table 1; the cascade is that of table 3.
    """
    logits, parents = hierarchy.levels(logits, parents)
    labels = hierarchy.labels(labels, parents, len(logits[0]))
    if cascade:
        hierarchy.check_paths(labels, parents)
    right = np.empty(labels.shape, bool)
    for level, (values, nodes) in enumerate(zip(logits, parents, strict=True)):
        true = labels[:, level]
        local = hierarchy.among_siblings(values, nodes, nodes[true])
        right[:, level] = np.argmax(local, axis=1) == true
    if cascade:
        right = np.logical_and.accumulate(right, axis=1)
    return tuple(float(share) for share in right.mean(axis=0))
