"""Category trees as numbers of children, for data and models alike."""

import numpy as np


def levels_of(tree):
    """The levels of a tree that is written as numbers of children.

    Args:
      tree: for every node above the leaves, breadth first from the root, how
        many children it has.

    Returns:
      `(parents, paths)`: for every level from the second on an int32 array
      `[K_l]`, the parents of its nodes in the level above; and int32
      `[leaves, L - 1]`, the nodes on the way to every leaf.

    Raises:
      ValueError: the numbers are no tree with all leaves at one depth.
    """
    rest, above, parents = list(tree), 1, []
    while rest:
        counts, rest = rest[:above], rest[above:]
        if len(counts) < above or min(counts) < 1:
            raise ValueError(
                "tree must say of every node above the leaves, breadth first, "
                f"how many children it has. Received: tree={tuple(tree)}"
            )
        parents.append(np.repeat(np.arange(above), counts).astype(np.int32))
        above = sum(counts)
    if not parents:
        raise ValueError("tree must have a root at least. Received: tree=()")
    nodes, columns = np.arange(above, dtype=np.int32), []
    for level in reversed(parents):
        columns.append(nodes)
        nodes = level[nodes]
    return tuple(parents), np.stack(columns[::-1], axis=1)
