"""Pictures of a run: the same in TensorBoard and as PNG files."""

import io
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from tfdisent import visualization
from tfdisent.data import pipeline
from trainers import rundir

# Images that stand in the pictures, and those that tell a code's spread.
SHOWN, SPREAD = 20, 500
PAIRS = 3
TSNE_CLASSES, TSNE_IMAGES = 5, 20
GRID = 5
SAMPLE_SEED = 0


def write_picture(workdir, name, step, picture):
    """One picture to TensorBoard and to two PNG files.

    Args:
      workdir: the run directory; `images/NAME-STEP.png` and, always the
        latest, `images/NAME.png` are written.
      name, step: of the picture.
      picture: uint8 `[H, W, 3]`.
    """
    tf.summary.image(name, picture[None], step=step)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    folder = pathlib.Path(workdir) / "images"
    for file in (f"{name}-{step}.png", f"{name}.png"):
        rundir.write_atomically(folder / file, stream.getvalue())


def picture_events(model, split, workdir):
    """The event that draws what a model's contract allows.

    Args:
      model: a `PartsModel`.
      split: a `Split` of images to show; the same ones at every step.
      workdir: the run directory.

    Returns:
      `event(step)`, as `train.fit` takes it: reconstructions and traversals
      of what has codes, swaps of whole units, samples of what has a prior,
      and, for models of two units, the translation grid and t-SNE.
    """
    shown = Shown(model, split)

    def event(step):
        for name, picture in shown.pictures():
            write_picture(workdir, name, step, picture)

    return event


class Shown:
    """The fixed images of a run's pictures, read when first drawn."""

    def __init__(self, model, split):
        self.model, self.split = model, split
        self.spread = None

    def pictures(self):
        """Yields `(name, uint8 [H, W, 3])`."""
        model = self.model
        if self.spread is None:
            self.spread = self._take(_evenly(len(self.split), SPREAD))
        images, labels = self.spread
        few = _evenly(len(images), SHOWN)
        some = images[few], None if labels is None else labels[few]
        codes = visualization.encode(model, images, labels)
        if model.reconstructs:
            yield (
                "reconstructions",
                visualization.reconstructions(model, *some),
            )
        if any(len(shape) == 1 for shape in model.parts.values()):
            start = {name: code[:1] for name, code in codes.items()}
            yield "traversal", visualization.traversal(model, start, codes)
        if visualization.whole_units(model):
            yield "swaps", self._swaps(*some)
        if model.sample is not None:
            yield "samples", visualization.samples(model, SAMPLE_SEED)
        if len(model.units) == 2:
            yield "translation", self._translation(*some)
            yield from self._maps()

    def _take(self, rows):
        batch = self.split.take(rows)
        images = pipeline.fit_images(batch["image"], self.model.image_shape)
        labels = batch.get("label") if self.model.takes_label else None
        return images.numpy(), labels

    def _swaps(self, images, labels):
        rows, columns = slice(0, GRID), slice(GRID, 2 * GRID)
        given = [None if labels is None else labels[s] for s in (rows, columns)]
        return visualization.swap_grid(
            self.model,
            images[rows],
            images[columns],
            source_labels=given[0],
            target_labels=given[1],
        )

    def _translation(self, images, labels):
        first, second = slice(0, 2 * PAIRS, 2), slice(1, 2 * PAIRS, 2)
        given = [None if labels is None else labels[s] for s in (first, second)]
        return visualization.translation_grid(
            self.model,
            images[first],
            images[second],
            first_labels=given[0],
            second_labels=given[1],
        )

    def _maps(self):
        """t-SNE of every code part: a few classes, a few images of each."""
        if self.split.labels is None:
            return
        classes = np.unique(self.split.labels)
        classes = classes[_evenly(len(classes), TSNE_CLASSES)]
        rows = np.concatenate(
            [
                np.flatnonzero(self.split.labels == c)[:TSNE_IMAGES]
                for c in classes
            ]
        )
        images, labels = self._take(rows)
        codes = visualization.encode(self.model, images, labels)
        flat = {n: c for n, c in codes.items() if c.ndim == 2}
        yield (
            "tsne",
            visualization.tsne_of_parts(flat, self.split.labels[rows]),
        )


def _evenly(size, count):
    """`count` indices spread over `range(size)`, fewer where it is short."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(int))
