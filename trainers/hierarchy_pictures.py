"""Pictures of a run on a hierarchy: HDN's figures 3 to 12."""

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA

from tfdisent import visualization
from tfdisent.data import hierarchy
from tfdisent.data import pipeline
from tfdisent.data.base import spread
from trainers import callbacks
from trainers.hierarchy_scores import codes_of
from trainers.hierarchy_scores import level_names
from trainers.hierarchy_scores import some
from trainers.retrieve import Index

# Images of a leaf in the tree; pairs translated; queries, and answers to each.
TREE_IMAGES = 8
PAIRS = 6
QUERIES, TOP = 4, 5
# Images that answer, and points of a map.
DATABASE, POINTS = 2_000, 500
# The root's map has principal components for input (the authors' code).
COMPONENTS = 50


def draw_tree(dataset, workdir):
    """The tree with training images of every leaf, before a run starts.

    Args:
      dataset: as `tfdisent.data.hierarchy.arrange` made it.
      workdir: the run directory.
    """
    logs = tf.summary.create_file_writer(str(workdir / "logs"))
    with logs.as_default(step=0):
        callbacks.Pictures(workdir).write("tree", 0, tree_picture(dataset))
    logs.close()


def tree_picture(dataset):
    """uint8 `[H', W', 3]`; see `draw_tree`."""
    tree = hierarchy.Tree(dataset.hierarchy)
    train = dataset.splits["train"]
    rng = np.random.default_rng(0)
    images = {}
    for leaf in range(len(tree.paths)):
        rows = rng.permutation(np.flatnonzero(train.labels == leaf))
        # --quick may have left nothing of a leaf.
        if len(rows):
            images[leaf] = train.take(np.resize(rows, TREE_IMAGES))["image"]
    return visualization.category_tree(tree.names, tree.paths, images)


def picture_event(model, dataset, workdir):
    """The event that draws what the levels do, as `train.fit` takes it.

    Args:
      model: an HDN.
      dataset: as arranged.
      workdir: the run directory.

    Returns:
      `event(step)`: translations by every subset of levels, interpolation
      within each, a map of each, retrieval by each, and seen images against
      unseen ones where there are any.
    """
    pictures = callbacks.Pictures(workdir)

    def event(step):
        for name, picture in drawn(model, dataset):
            pictures.write(name, step, picture)

    return event


def drawn(model, dataset):
    """Yields `(name, picture)`; images are the same at every call."""
    tree = hierarchy.Tree(dataset.hierarchy)
    split = dataset.splits.get("test", dataset.splits["train"])
    sources, targets = _pairs(model, split, tree)
    yield "levels", visualization.subset_grid(model, sources, targets)
    yield (
        "level_interpolation",
        visualization.interpolation(model, sources[0], targets[0], steps=5),
    )
    shown = some(split, POINTS)
    if len(shown) >= visualization.TSNE_LEAST:
        yield "level_maps", _maps(model, shown, tree)
    database = some(dataset.splits["train"], DATABASE)
    yield "retrieval", _retrieval(model, shown, database, tree)
    if "unseen" in dataset.splits:
        strange = _images(model, some(dataset.splits["unseen"], PAIRS))
        yield (
            "unseen",
            visualization.exchanged(
                model,
                sources[: len(strange)],
                strange[: len(sources)],
                level_names(model),
                ("seen", "unseen"),
            ),
        )


def _images(model, split):
    """All images of a small split at the model's size."""
    images = split.take(np.arange(len(split)))["image"]
    return pipeline.fit_images(images, model.image_shape).numpy()


def _pairs(model, split, tree):
    """Sources and targets that stand at other places at every level.

    A place is that among siblings: the second child of one category against
    the first of another. Where there is none, at as many levels as can be.
    """
    leaves = np.unique(split.labels)
    places = tree.places[leaves]
    rng = np.random.default_rng(0)
    rows = []
    for first in np.linspace(0, len(leaves) - 1, PAIRS).astype(int):
        others = np.sum(places != places[first], axis=1)
        # Of equally good ones the next in the tree.
        ahead = (np.arange(len(leaves)) - first) % len(leaves)
        second = np.lexsort([ahead, -others])[0]
        rows += [
            rng.choice(np.flatnonzero(split.labels == leaves[number]))
            for number in (first, second)
        ]
    images = _images(model, split.subset(rows))
    return images[::2], images[1::2]


def _maps(model, split, tree):
    """t-SNE of F_1, and of the codes of all levels down to each."""
    codes = codes_of(model, split, tree.paths)
    roots = []
    for batch in pipeline.in_order(split, model.image_shape):
        root = model.encode(batch["image"])["root"].numpy()
        roots.append(root.reshape(len(root), -1))
    roots = np.concatenate(roots)
    components = min(COMPONENTS, *roots.shape)
    root = PCA(components, random_state=0).fit_transform(roots)
    names = np.array(tree.names[0])
    maps = [visualization.tsne(root, names[codes.nodes[:, 0]], "root")]
    for level, name in enumerate(level_names(model)):
        names = np.array(tree.names[level])
        flat = codes.values[:, : level + 1].reshape(len(codes.values), -1)
        maps.append(
            visualization.tsne(
                flat, names[codes.nodes[:, level]], f"down to {name}"
            )
        )
    return visualization.beside(maps)


def _retrieval(model, split, database, tree):
    """The nearest training images by the codes down to each level.

    Queries are of different leaves, spread over the tree.
    """
    _, rows = np.unique(split.labels, return_index=True)
    queries = split.subset(rows[spread(len(rows), QUERIES)])
    asked = codes_of(model, queries, tree.paths)
    stored = codes_of(model, database, tree.paths)
    found = {}
    for level, name in enumerate(level_names(model)):
        index = Index(stored.values, level + 2)
        _, nearest = index.nearest(asked.values, TOP)
        images = _images(model, database.subset(nearest.ravel()))
        images = images.reshape(*nearest.shape, *images.shape[1:])
        truth = asked.nodes[:, level, None] == stored.nodes[nearest, level]
        found[f"down to {name}"] = (images, truth)
    return visualization.retrieved(_images(model, queries), found)
