"""Category trees over labelled data sets.

A data set declares its tree as nested names, `Dataset.hierarchy`: a mapping
from category to its subcategories, and at the leaves to a class number, or
several. `Dataset.unseen` has the same form: leaves kept out of the tree whose
parents are in it. `arrange` makes of both a data set whose labels are leaves.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfdisent.data.base import Subset
from tfdisent.errors import InputError
from tfdisent.tree import levels_of

# Categories that one message names.
NAMED = 3
# Fewer test images of an unseen leaf would tell little.
FEWEST = 100


class Tree:
    """A balanced tree of categories, numbered level by level.

    Level 1 is the root, level 2 its children, level `depth` the leaves; at
    every level nodes are numbered in the order of the mapping, so siblings
    are neighbours.

    Args:
      categories: nested mappings, name -> mapping, or class number(s) at the
        leaves, or None for a category without any image.

    Attributes:
      depth: L, the number of levels, root included.
      names: for every level from the second on, the path (`"a/b"`) of every
        node.
      children: how many children every node above the leaves has, breadth
        first from the root: `(2, 3, 2)` has leaves 0-2 and 3-4.
      paths: int32 `[leaves, L - 1]`, the nodes on the way to every leaf.
      places: int32 `[leaves, L - 1]`, which child of its parent each node of
        `paths` is.
      classes: a tuple of class numbers for every leaf.

    Raises:
      InputError: leaves at unequal depths, a category that is empty, or one
        that is its parent's only child: there is nothing to tell it from.
    """

    def __init__(self, categories):
        level = [("", categories)]
        self.names, counts = [], []
        while any(isinstance(inner, Mapping) for _, inner in level):
            _check_level(level)
            counts.append([len(inner) for _, inner in level])
            level = [
                (f"{path}/{name}".lstrip("/"), child)
                for path, inner in level
                for name, child in inner.items()
            ]
            self.names.append(tuple(path for path, _ in level))
        _check_images(level)
        self.names = tuple(self.names)
        self.depth = 1 + len(counts)
        self.children = tuple(n for level in counts for n in level)
        _, self.paths = levels_of(self.children)
        first = np.zeros(len(level), np.int32)
        places = []
        for column in self.paths.T:
            # Siblings are neighbours: the first is the smallest.
            groups = {p: column[first == p].min() for p in np.unique(first)}
            places.append(column - [groups[p] for p in first])
            first = column
        self.places = np.stack(places, axis=1).astype(np.int32)
        self.classes = tuple(
            tuple(np.atleast_1d(numbers).tolist()) for _, numbers in level
        )

    def path(self, name):
        """The nodes on the way to a category, int `[levels]`.

        Raises:
          InputError: there is no such category.
        """
        for level, names in enumerate(self.names):
            if name in names:
                leaf = list(self.paths[:, level]).index(names.index(name))
                return self.paths[leaf, : level + 1]
        raise InputError(
            f"There is no category {name!r}; there are "
            f"{', '.join(n for names in self.names for n in names)}."
        )


def _check_level(level):
    """Refuses a level at which some nodes have children and some have not."""
    _check_images(level)
    mixed = [
        path or "the root"
        for path, inner in level
        if isinstance(inner, Mapping) and "." in inner
    ]
    if mixed:
        raise InputError(
            f"{_named(mixed)} {_have(mixed)} images beside subfolders; a "
            "hierarchy needs all images at one depth. Move them into a folder."
        )
    leaves = [path for path, inner in level if not isinstance(inner, Mapping)]
    if leaves:
        deeper = next(p for p, inner in level if isinstance(inner, Mapping))
        raise InputError(
            "A hierarchy needs all leaves at one depth, but "
            f"{_named(leaves)} {_have(leaves)} no subcategories while "
            f"{deeper!r} has."
        )
    lonely = [path for path, inner in level if len(inner) == 1]
    if lonely:
        raise InputError(
            "A hierarchy needs siblings to tell apart, but "
            f"{_named([p or 'the root' for p in lonely])} {_have(lonely)} one "
            "child only."
        )


def _check_images(level):
    # Class 0 is a class.
    empty = [
        path or "the root"
        for path, inner in level
        if inner is None or inner in ({}, ())
    ]
    if empty:
        raise InputError(f"Categories without any image: {_named(empty)}.")


def _named(paths):
    rest = len(paths) - NAMED
    shown = ", ".join(repr(p) for p in paths[:NAMED])
    return shown + (f" and {rest} more" if rest > 0 else "")


def _have(paths):
    return "has" if len(paths) == 1 else "have"


class Leaves(Subset):
    """Some images of another split, labelled by leaves.

    Args:
      split: a labelled `Split`.
      indices: int `[N]`, which images.
      labels: int `[N]`, their leaves.
    """

    def __init__(self, split, indices, labels):
        super().__init__(split, indices)
        self.labels = np.asarray(labels, np.int32)

    def take(self, indices):
        return {**super().take(indices), "label": self.labels[indices]}


def arrange(dataset, held_out=""):
    """A data set as a model of its hierarchy takes it.

    Args:
      dataset: a `Dataset` with `hierarchy` and labelled splits.
      held_out: a leaf's name or path that leaves the tree and counts as
        unseen; a name that several branches have leaves all of them.

    Returns:
      A `Dataset` with the images of the tree only, their labels the numbers of
      the leaves; its `hierarchy` names them. A split without any of these
      images is left out. Where there are unseen leaves, split `unseen` holds
      their images out of `test`, labelled in the order of `unseen`; where that
      has fewer than `FEWEST` of one and `train` has more, out of `train`: none
      is trained on.

    Raises:
      InputError: no hierarchy, none that `Tree` takes, a leaf without a
        training image, no such leaf to hold out, or an unseen one without a
        parent in the tree.
    """
    if dataset.hierarchy is None:
        raise InputError(
            f"Data set {dataset.name!r} declares no hierarchy of categories; "
            "take fashion_mnist, shapes with --set hierarchy=C, or "
            "folder:PATH with nested folders."
        )
    categories = dataset.hierarchy
    unseen = [*_leaves(dataset.unseen)]
    if held_out:
        moved = [
            (path, numbers)
            for path, numbers in _leaves(categories)
            if held_out in (path, path.rpartition("/")[2])
        ]
        if not moved:
            raise InputError(
                f"held_out={held_out}: no such leaf; there are "
                f"{', '.join(path for path, _ in _leaves(categories))}."
            )
        unseen += moved
        categories = _without(categories, {path for path, _ in moved})
    tree = Tree(categories)
    parents = tree.names[-2] if tree.depth > 2 else ("",)
    above = {path.rpartition("/")[0] for path, _ in unseen}
    if strangers := sorted(above.difference(parents)):
        raise InputError(
            "Unseen leaves need a parent in the tree, one level above its "
            f"leaves, and {_named([p or 'the root' for p in strangers])} is "
            "none."
        )
    splits = {
        name: _labelled(split, tree.classes)
        for name, split in dataset.splits.items()
    }
    _check_training(splits["train"], tree)
    # A small test split may hold nothing but what is outside the tree.
    splits = {name: split for name, split in splits.items() if len(split)}
    if unseen:
        found = _unseen(dataset, [np.atleast_1d(n) for _, n in unseen])
        if len(found):
            splits["unseen"] = found
    return dataclasses.replace(
        dataset,
        splits=splits,
        few_shot={},
        num_classes=len(tree.paths),
        class_names=tree.names[-1],
        grid=None,
        hierarchy=_numbered(categories, iter(range(len(tree.paths)))),
        unseen={path: number for number, (path, _) in enumerate(unseen)},
    )


def _leaves(categories, above=""):
    """`(path, class numbers)` of every leaf."""
    for name, inner in (categories or {}).items():
        path = f"{above}/{name}".lstrip("/")
        if isinstance(inner, Mapping):
            yield from _leaves(inner, path)
        else:
            yield path, inner


def _without(categories, paths, above=""):
    """The nested mapping without the leaves of these paths."""
    kept = {}
    for name, inner in categories.items():
        path = f"{above}/{name}".lstrip("/")
        if isinstance(inner, Mapping):
            kept[name] = _without(inner, paths, path)
        elif path not in paths:
            kept[name] = inner
    return kept


def _numbered(categories, numbers):
    """The nested mapping with new numbers at its leaves, in order."""
    return {
        name: _numbered(inner, numbers)
        if isinstance(inner, Mapping)
        else next(numbers)
        for name, inner in categories.items()
    }


def _labelled(split, classes):
    """The images of these classes, labelled by their place in `classes`."""
    if split.labels is None:
        raise InputError("A hierarchy needs labels, and the images have none.")
    largest = max(split.labels.max(initial=0), max(map(max, classes)))
    place = np.full(largest + 1, -1)
    for number, members in enumerate(classes):
        place[list(members)] = number
    labels = place[split.labels]
    chosen = np.flatnonzero(labels >= 0)
    return Leaves(split, chosen, labels[chosen])


def _unseen(dataset, classes):
    """The images of leaves outside the tree, see `arrange`."""
    sources = [
        dataset.splits[n] for n in ("test", "train") if n in dataset.splits
    ]
    found = [_labelled(source, classes) for source in sources]
    fewest = [
        np.bincount(s.labels, minlength=len(classes)).min() for s in found
    ]
    return found[0] if fewest[0] >= FEWEST else found[np.argmax(fewest)]


def _check_training(train, tree):
    counts = np.bincount(train.labels, minlength=len(tree.paths))
    empty = [tree.names[-1][leaf] for leaf in np.flatnonzero(counts == 0)]
    if empty:
        raise InputError(
            f"Categories without any image to train on: {_named(empty)}."
        )
