"""A hierarchy of categories, and logits over its nodes, level by level.

Levels are counted from the root's children down to the leaves. `parents[l]`
is `[K_l]`: for every node of a level, the number of its parent in the level
above; the first level hangs on the root, so all its parents are 0.
"""

import numpy as np

from tfdisent.metrics import validate


def levels(logits, parents):
    """Returns checked lists of logits `[N, K_l]` and parents `[K_l]`."""
    if not len(logits) or len(logits) != len(parents):
        raise ValueError(
            "logits and parents must have one entry for every level. "
            f"Received: {len(logits)} and {len(parents)} entries"
        )
    above = 1
    checked_logits, checked_parents = [], []
    for level, (values, nodes) in enumerate(zip(logits, parents, strict=True)):
        values = validate.matrix(f"logits[{level}]", values, rows=1)
        nodes = validate.labels(f"parents[{level}]", nodes)
        if not np.array_equal(np.unique(nodes), np.arange(above)):
            raise ValueError(
                f"parents[{level}] must name each of the {above} nodes above. "
                f"Received: {nodes.tolist()}"
            )
        if values.shape[1] != len(nodes) or len(values) != len(
            checked_logits[0] if level else values
        ):
            raise ValueError(
                f"logits[{level}] must have shape [N, {len(nodes)}], one "
                f"column for every node. Received: {values.shape}"
            )
        checked_logits.append(values.astype(np.float64, copy=False))
        checked_parents.append(nodes)
        above = len(nodes)
    return checked_logits, checked_parents


def labels(values, parents, rows):
    """Returns checked labels `[N, levels]`, one node number for each level."""
    values = validate.whole("labels", values)
    sizes = np.array([len(nodes) for nodes in parents])
    if values.shape != (rows, len(sizes)):
        raise ValueError(
            f"labels must have shape [{rows}, {len(sizes)}], one column for "
            f"every level. Received: labels.shape={values.shape}"
        )
    if np.any(values < 0) or np.any(values >= sizes):
        raise ValueError(
            f"labels must be node numbers below {sizes.tolist()}. Received: "
            f"values from {values.min(axis=0).tolist()} to "
            f"{values.max(axis=0).tolist()}"
        )
    return values


def check_paths(values, parents):
    """Refuses labels `[N, levels]` that do not lead down one path."""
    for level in range(1, values.shape[1]):
        broken = parents[level][values[:, level]] != values[:, level - 1]
        if broken.any():
            row = np.flatnonzero(broken)[0]
            raise ValueError(
                "labels must follow the hierarchy: each node under the one "
                f"before it. Received: {values[row].tolist()} in row {row}"
            )


def among_siblings(logits, nodes, parent):
    """Logits `[N, K]` with -inf wherever a node is not under `parent` `[N]`.

    Softmax, argmax and entropy of the result are those of the siblings.
    """
    return np.where(nodes == np.asarray(parent)[:, None], logits, -np.inf)
