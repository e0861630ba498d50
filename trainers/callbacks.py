"""Pictures of a run, in TensorBoard and as PNG files, and its scores."""

import pathlib

import numpy as np
import tensorflow as tf

from tfdisent import visualization
from tfdisent.data import pipeline
from tfdisent.errors import InputError
from trainers import encoders
from trainers import rundir
from trainers import scores

# Images that stand in the pictures, and those that tell a code's spread.
SHOWN, SPREAD = 20, 500
PAIRS = 3
TSNE_CLASSES, TSNE_IMAGES = 5, 20
GRID = 5
SAMPLE_SEED = 0
# Images whose codes are scored now and then.
SCORED = 2_000


class Pictures:
    """Where the pictures of a run go.

    Args:
      workdir: the run directory; files are written to its `images/`.
    """

    def __init__(self, workdir):
        self.folder = pathlib.Path(workdir) / "images"

    def write(self, name, step, picture):
        """One picture to TensorBoard and to files.

        Args:
          name, step: of the picture; `NAME-STEP.png` stays, `NAME.png` is
            always the latest.
          picture: uint8 `[H, W, 3]`; or `[T, H, W, 3]`, which moves and
            becomes `NAME.gif` alone.

        Raises:
          InputError: a file cannot be written; older ones stay.
        """
        if picture.ndim == 4:
            self._store(f"{name}.gif", visualization.animation(picture))
            return
        tf.summary.image(name, picture[None], step=step)
        for file in (f"{name}-{step}.png", f"{name}.png"):
            self._store(file, visualization.png(picture))

    def _store(self, name, content):
        try:
            rundir.write_atomically(self.folder / name, content)
        except OSError as error:
            raise InputError(
                f"Cannot write {self.folder / name}: {error.strerror}. "
                "Checkpoints are intact; free some space and give the same "
                "command again."
            ) from error


def picture_events(model, split, workdir):
    """The event that draws what a model's contract allows.

    Args:
      model: a `PartsModel`.
      split: a `Split` of images to show; the same ones at every step.
      workdir: the run directory.

    Returns:
      `event(step)`, as `train.fit` takes it: reconstructions, traversals of
      what has codes (the latest also as GIF), swaps of whole units, samples
      of what has a prior, and, for models of two whole units, the translation
      grid and t-SNE.
    """
    shown, pictures = Shown(model, split), Pictures(workdir)

    def event(step):
        for name, picture in shown.pictures():
            pictures.write(name, step, picture)

    return event


def score_event(model, dataset, report=print):
    """The event that scores a model's codes against known factors, cheaply.

    Args:
      model: a `PartsModel`.
      dataset: a `Dataset` with factors; a fixed few of its images are encoded.
      report: called with a line of scores.

    Returns:
      `event(step)`, as `train.fit` takes it: `scores.CHEAP` and the number of
      alive codes go to TensorBoard. None where no part is a code.
    """
    encoder = encoders.of_model(model)
    if encoder is None:
        return None
    split = dataset.grid or dataset.splits["train"]
    chosen = np.concatenate(scores.split_rows(len(split)))[:SCORED]
    split = split.subset(np.sort(chosen))
    rows = np.arange(len(split))

    def event(step):
        tables, factors = encoders.encode({"model": encoder}, split)
        means, stddevs = tables["model"]
        codes = scores.Codes(
            factors=factors,
            means=means,
            stddevs=stddevs,
            factor_names=dataset.factor_names,
            code_names=encoder.names,
            groups=tuple(encoder.parts.values()),
            grid_sizes=None,
            train=rows,
            test=rows[:0],
        )
        found, _ = scores.score_rows({"model": codes}, scores.CHEAP)
        values = found["rows"]["model"]
        if stddevs is not None:
            alive = scores.alive_codes(means, stddevs, encoder.names)
            values = values | {"alive_codes": alive["alive"]}
        for name, value in values.items():
            tf.summary.scalar(f"scores/{name}", value, step=step)
        shown = "  ".join(f"{name} {v:.3g}" for name, v in values.items())
        report(f"step {step:,}: {shown}  ({len(rows):,} images)")

    return event


class Shown:
    """The fixed images of a run's pictures, read when first drawn.

    Args:
      model: a `PartsModel`.
      split: a `Split`.
    """

    def __init__(self, model, split):
        self.model, self.split = model, split
        self.spread = None

    def pictures(self):
        """Yields `(name, picture)`, pictures as `Pictures.write` takes them."""
        model = self.model
        whole = visualization.whole_units(model)
        images, labels = self._shown()
        pairs = len(images) > 1
        if model.reconstructs:
            yield (
                "reconstructions",
                visualization.reconstructions(model, images, labels),
            )
        if any(len(shape) == 1 for shape in model.parts.values()):
            yield from self._traversals()
        if whole and pairs:
            yield "swaps", self._swaps(images, labels)
        if model.sample is not None:
            yield "samples", visualization.samples(model, SAMPLE_SEED)
        if len(whole) == len(model.units) == 2 and pairs:
            yield "translation", self._translation(images, labels)
            yield from self._maps()

    def _read(self):
        """Images spread over the split, and their labels."""
        if self.spread is None:
            self.spread = self._take(_evenly(len(self.split), SPREAD))
        return self.spread

    def _shown(self):
        images, labels = self._read()
        few = _evenly(len(images), SHOWN)
        return images[few], _rows(labels, few)

    def _traversals(self):
        """One of the first image, still and moving."""
        codes = visualization.encode(self.model, *self._read())
        start = {name: code[:1] for name, code in codes.items()}
        for draw in (visualization.traversal, visualization.traversal_frames):
            yield "traversal", draw(self.model, start, codes)

    def _take(self, rows):
        batch = self.split.take(rows)
        images = pipeline.fit_images(batch["image"], self.model.image_shape)
        labels = batch.get("label") if self.model.takes_label else None
        return images.numpy(), labels

    def _swaps(self, images, labels):
        # Alternate ones, so that either side has all kinds.
        rows, columns = slice(0, 2 * GRID, 2), slice(1, 2 * GRID, 2)
        return visualization.swap_grid(
            self.model,
            images[rows],
            images[columns],
            source_labels=_rows(labels, rows),
            target_labels=_rows(labels, columns),
        )

    def _translation(self, images, labels):
        # Far apart in the split, so most likely of different classes.
        half = len(images) // 2
        count = min(PAIRS, half)
        first, second = slice(0, count), slice(half, half + count)
        return visualization.translation_grid(
            self.model,
            images[first],
            images[second],
            first_labels=_rows(labels, first),
            second_labels=_rows(labels, second),
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
        if len(rows) < visualization.TSNE_LEAST:
            return
        codes = visualization.encode(self.model, *self._take(rows))
        flat = {n: c for n, c in codes.items() if c.ndim == 2}
        yield "tsne", visualization.tsne_of_parts(flat, self.split.labels[rows])


def _rows(labels, rows):
    return None if labels is None else labels[rows]


def _evenly(size, count):
    """`count` indices spread over `range(size)`, fewer where it is short."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(int))
