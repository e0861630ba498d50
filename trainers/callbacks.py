"""Pictures of a run, in TensorBoard and as PNG files, and its scores."""

import contextlib
import json
import pathlib

import numpy as np
import tensorflow as tf

from tfdisent import visualization
from tfdisent.data import pipeline
from tfdisent.data.base import spread
from tfdisent.errors import InputError
from tfdisent.metrics.mutual_information import information_overlap
from trainers import encoders
from trainers import rundir
from trainers import scores

# Images that stand in the pictures, and those that tell a code's spread.
SHOWN, SPREAD = 20, 500
PAIRS = 3
TSNE_CLASSES, TSNE_IMAGES = 5, 20
GRID = 5
# Classes of the pictures that show one image of each.
CLASSES = 10
SAMPLE_SEED = 0
# Standard deviations to which a traversal from the prior goes.
PRIOR_SPAN = 2.5
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


def picture_events(model, split, workdir, steps=7, span=None, class_names=None):
    """The event that draws what a model's contract allows.

    Args:
      model: a `PartsModel`.
      split: a `Split` of images to show; the same ones at every step.
      workdir: the run directory.
      steps, span: of traversals, see `visualization.traverse`.
      class_names: one name a class, for legends; its number when None.

    Returns:
      `event(step)`, as `train.fit` takes it: reconstructions, traversals of
      what has codes (the latest also as GIF; from an image, and from the
      prior where there are posterior and prior), the structure of latents
      beside their traversal where there is one, swaps of whole units, samples
      of what has a prior; for models of labels, codes over all classes and the
      transfer of classes; and, for models of two whole units, the translation
      grid and t-SNE.
    """
    shown = Shown(model, split, steps, span, class_names)
    pictures = Pictures(workdir)

    def event(step):
        # At a stage's end the next one has begun, with a part faded out.
        with _as_of(model, step - 1):
            for name, picture in shown.pictures():
                pictures.write(name, step, picture)

    return event


def stage_events(model, split, workdir, ends, most, report=print):
    """The event that asks at the end of every stage what each level tells.

    Args:
      model: a `PartsModel` with `posterior` and several `groups`.
      split: a `Split`: I(x; z) is estimated on its images, one is drawn.
      workdir: the run directory.
      ends: the steps at which it does; elsewhere the event is idle.
      most: images of the estimate, see `level_information`.
      report: called with a line of the estimates, and one that they take long.

    Returns:
      `event(step)`: pictures `levels` (pro-VLAE, figure 5) and `level_grids`
      (figure 6), scalars `information/...`, and the estimates by step in
      `information.json`.
    """
    pictures = Pictures(workdir)
    path = pathlib.Path(workdir) / "information.json"

    def event(step):
        known = {}
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
        if step not in ends or str(step) in known:
            return
        # As the stage's last step had it: at its end, the next one has begun.
        with _as_of(model, step - 1):
            information = level_information(model, split, most, report)
            shown = Shown(model, split)
            start = visualization.encode(model, shown.one()[0])
            drawn = {
                "levels": visualization.information_rows(
                    model, start, information
                ),
                "level_grids": visualization.level_grids(model, start),
            }
        for name, picture in drawn.items():
            pictures.write(name, step, picture)
        nats = information["groups"] | {
            n: information[n] for n in ("total", "overlap")
        }
        for name, value in nats.items():
            tf.summary.scalar(
                f"information/{name.replace(' ', '_')}", value, step
            )
        rundir.write_json(path, known | {str(step): information})
        words = "  ".join(f"{n} {v:.2f}" for n, v in nats.items())
        report(
            f"step {step:,}: information, nats: {words}  "
            f"({information['images']:,} images, "
            f"{information['samples']:,} draws)"
        )

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
    varied = scores.varied_factors(dataset)

    def event(step):
        # As pictures are: of the stage that ends, not of the one that begins.
        with _as_of(model, step - 1):
            tables, factors = encoders.encode({"model": encoder}, split)
        means, stddevs = tables["model"]
        codes = scores.Codes(
            factors=factors[:, varied],
            means=means,
            stddevs=stddevs,
            factor_names=tuple(dataset.factor_names[k] for k in varied),
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


@contextlib.contextmanager
def _as_of(model, step):
    """The model as its schedule has it at another step."""
    now = model.step.numpy()
    model.step.assign(max(0, step))
    try:
        yield
    finally:
        model.step.assign(now)


def level_information(model, split, most, report=print):
    """I(x; z_l) of every group of codes, I(x; z) and I_over.

    Args:
      model: a `PartsModel` with `posterior`.
      split: a `Split`.
      most: how many of its images are encoded, spread over it.
      report: called with a line where the estimate takes minutes.

    Returns:
      {"groups": {name: nats}, "total", "overlap", "images", "samples"}; no
      estimate exceeds the log of the images.
    """
    rows = spread(len(split), most)
    parts = {part for part, _ in model.groups.values()}

    def moments(image):
        posterior = model.posterior(image)
        return {p: (posterior[p].mean(), posterior[p].stddev()) for p in parts}

    any_batch = tf.TensorSpec([None, *model.image_shape])
    moments = tf.function(moments, [any_batch], jit_compile=False)
    batches = [
        moments(batch["image"])
        for batch in pipeline.in_order(split.subset(rows), model.image_shape)
    ]

    def column(side):
        return np.concatenate(
            [
                np.concatenate([b[part][side].numpy() for b in batches])[
                    :, entries
                ]
                for part, entries in model.groups.values()
            ],
            axis=1,
        )

    samples = min(scores.AGGREGATE_DRAWS, len(rows))
    means, stddevs = column(0), column(1)
    minutes = scores.aggregate_minutes(samples, means)
    if minutes > 1.5:
        report(f"information of the levels: about {minutes:.0f} minutes")
    overlap = information_overlap(
        means,
        stddevs,
        [len(entries) for _, entries in model.groups.values()],
        samples=samples,
    )
    return {
        "groups": dict(zip(model.groups, overlap.groups, strict=True)),
        "total": overlap.total,
        "overlap": overlap.overlap,
        "images": len(rows),
        "samples": samples,
    }


class Shown:
    """The fixed images of a run's pictures, read when first drawn.

    Args:
      model: a `PartsModel`.
      split: a `Split`.
      steps, span: of traversals, see `visualization.traverse`.
      class_names: one name a class, or None.
    """

    def __init__(self, model, split, steps=7, span=None, class_names=None):
        self.model, self.split = model, split
        self.steps, self.span = steps, span
        self.class_names = class_names
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
        if model.takes_label:
            yield from self._classes()
        if len(whole) == len(model.units) == 2 and pairs:
            yield "translation", self._translation(images, labels)
            yield from self._maps()

    def one(self):
        """`(image, label or None)`, `[1, ...]`: a grid begins in its corner."""
        rng = np.random.default_rng(SAMPLE_SEED)
        return self._take(rng.integers(len(self.split), size=1))

    def _read(self):
        """Images spread over the split, and their labels."""
        if self.spread is None:
            self.spread = self._take(spread(len(self.split), SPREAD))
        return self.spread

    def _shown(self):
        images, labels = self._read()
        few = spread(len(images), SHOWN)
        return images[few], _rows(labels, few)

    def _traversals(self):
        """One of one image, still and moving."""
        model, steps = self.model, self.steps
        codes = visualization.encode(model, *self._read())
        start, kl = visualization.encode(model, *self.one()), None
        if model.posterior is not None:
            moments = visualization.posterior_moments(model, *self._read())
            kl = visualization.kl_by_entry(moments)
        given = (model, start, codes, steps, self.span)
        yield "traversal", visualization.traversal(*given, kl=kl)
        yield "traversal", visualization.traversal_frames(*given, kl=kl)
        if kl is not None and model.sample is not None:
            yield (
                "traversal_prior",
                visualization.traversal(
                    model,
                    visualization.prior_code(model),
                    steps=steps,
                    span=self.span or PRIOR_SPAN,
                    kl=kl,
                ),
            )
        if model.graph is not None:
            graph = visualization.structure(model.graph)
            yield "structure", graph
            # The structure's latents in its order, dead ones too.
            linked = {n - 1 for edge in model.graph.edges for n in edge}
            shown = sorted(linked) or range(model.graph.num_latents)
            rows = visualization.traversal(*given, dimensions={"z": [*shown]})
            both = visualization.beside([graph, rows])
            yield "structure_traversal", both
        for part in sorted(model.categorical):
            few = spread(len(codes[part]), SHOWN)
            some = {name: values[few] for name, values in codes.items()}
            picture = visualization.categories(model, some, part)
            yield f"{part}_by_value", picture

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

    def _classes(self):
        """Every entry of a code on one image a class, and class transfer."""
        labels = np.asarray(self.split.labels)
        classes = np.unique(labels)
        classes = classes[spread(len(classes), CLASSES)]
        # The first and the last image of every class.
        rows = [np.flatnonzero(labels == c)[[0, -1]] for c in classes]
        first, last = (self._take(r) for r in np.transpose(rows))
        codes = visualization.encode(self.model, *self._read())
        widest = visualization.widest_entries(self.model, codes, most=1)
        draw = visualization.class_traversal
        for part, entries in widest.items():
            if part == "label":
                continue
            yield f"{part}_by_entry", draw(self.model, *first, part)
            yield (
                f"{part}_by_class",
                draw(self.model, *first, part, by="class"),
            )
            yield f"{part}_widest", draw(self.model, *first, part, entries)
        units = [n for n, r in self.model.units.items() if "label" in r]
        yield (
            "class_transfer",
            visualization.swap_grid(
                self.model,
                first[0],
                last[0],
                units,
                source_labels=first[1],
                target_labels=last[1],
            ),
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
        classes = classes[spread(len(classes), TSNE_CLASSES)]
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
        labels = self.split.labels[rows]
        if self.class_names:
            labels = np.array(self.class_names)[labels]
        yield "tsne", visualization.tsne_of_parts(flat, labels)


def _rows(labels, rows):
    return None if labels is None else labels[rows]
