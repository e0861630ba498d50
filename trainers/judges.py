"""Independent classifiers: judges of swapped and generated images.

A judge is trained on real images of a data set only and takes no part in any
model's training, so what it sees in a generated image is there. It is trained
once a data set and kept in the user's cache directory.

```python
judge = judges.of_dataset(dataset, model.image_shape)
_, held_out = judges.independent_splits(dataset)
swaps = judges.swap_judge(model, judge, held_out)
print(judges.swap_table(swaps))
scores = judges.sample_scores(model, dataset, judges.for_samples(dataset))
```
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdisent import layers
from tfdisent import networks
from tfdisent.data import base
from tfdisent.data import pipeline
from tfdisent.errors import InputError
from tfdisent.metrics.frechet_distance import frechet_distance
from tfdisent.metrics.inception_score import inception_score
from tfdisent.optimizers import Adam
from trainers import rundir
from trainers import train

# Share of a split that is set aside where there is no other.
HELD_OUT = 0.1
# Held-out images on which a judge's accuracy is measured.
ACCURACY_IMAGES = 10_000
# Images that stand for a data set in the key of its cached judge.
PROBES = 64
# Width of the layer whose outputs a Frechet distance compares.
FEATURES = 512
# Raised when judges of the same settings come out differently.
VERSION = 1
# Rows of a swap table beside the units: nothing swapped, everything.
NOTHING, EVERYTHING = "(nothing)", "(everything)"
# Images a Frechet distance or an Inception score needs to be stable.
SAMPLES = 10_000
SPLITS = 10
# Images, and pairs of images of which every unit is swapped, at once.
BATCH = 250
PAIRS = 50
REPORT_EVERY = 500
# What NumPy raises for .npz files that are cut short or overwritten.
UNREADABLE = (
    EOFError,
    KeyError,
    OSError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
INCEPTION_WEIGHTS = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a judge is trained.

    Attributes:
      steps: training steps; the learning rate falls to 0 over them.
      batch_size: images a step.
      learning_rate: of Adam, at the start.
      seed: of weights and batches.
    """

    steps: int = 4_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Judge:
    """A classifier of images; call it with images to have its answers.

    Attributes:
      name: what it is, for tables and metrics.json.
      image_shape: `(H, W, C)` it works at; others are fitted to it.
      sizes: {head: classes}: `"label"` and every factor, or `"imagenet"`.
      trunk: images `[B, *image_shape]` -> features `[B, d]`.
      head: features -> the logits of all heads, one after another.
      targets: a batch of a split -> {head: int `[B]`}, the truth; None where
        the classes are not the data set's.
      accuracy: {head: share of held-out real images it gets right}.
      in_domain: whether it was trained on the data set it judges.
    """

    name: str
    image_shape: tuple
    sizes: Mapping[str, int]
    trunk: Callable
    head: Callable
    targets: Callable | None = None
    accuracy: Mapping[str, float] = dataclasses.field(default_factory=dict)
    in_domain: bool = True

    def __call__(self, images):
        """Features and logits of images.

        Args:
          images: uint8, or float in [0, 1], `[B, h, w, C]`.

        Returns:
          float32 `[B, d]` and {head: float32 `[B, classes]`}.
        """
        if images.shape[-1] == 1 and self.image_shape[-1] == 3:
            images = tf.repeat(images, 3, axis=-1)
        features = self.trunk(pipeline.fit_images(images, self.image_shape))
        logits = tf.split(self.head(features), list(self.sizes.values()), -1)
        return features, dict(zip(self.sizes, logits, strict=True))


# ---- judges of a data set ----------------------------------------------------


def of_dataset(
    dataset,
    image_shape=None,
    settings=None,
    directory=None,
    report=print,
):
    """The judge of a data set: from the cache, else trained and kept there.

    Trained and measured on real images, on those of `independent_splits`.

    Args:
      dataset: a `Dataset` with classes or factors. Each is a head.
      image_shape: `(H, W, C)` of the images it will see, the model's; the
        data set's when None.
      settings: a `Settings`; the default ones when None.
      directory: where judges are kept; `judges/` of `cache_directory()` when
        None. A damaged file is trained anew; what cannot be written is
        reported, and trained anew next time.
      report: called with lines of progress.

    Returns:
      A `Judge`.

    Raises:
      InputError: a data set with neither classes nor factors, or with too few
        images.
    """
    settings = settings or Settings()
    sizes = head_sizes(dataset)
    targets = targets_of(dataset)
    fit, held_out = independent_splits(dataset)
    shape = tuple(image_shape or dataset.image_shape)
    record = {
        "dataset": dataset.name,
        "fingerprint": _fingerprint(fit, targets),
        "image_shape": list(shape),
        "sizes": sizes,
        "version": VERSION,
        "settings": dataclasses.asdict(settings),
    }
    with train.precision("float32"):
        network = _network(shape, sum(sizes.values()), settings)
    directory = pathlib.Path(directory or cache_directory() / "judges")
    path = directory / _file_name(dataset.name, record)
    judge = Judge(
        name=f"in-domain classifier of {dataset.name}",
        image_shape=shape,
        sizes=sizes,
        trunk=layers.Stack(network.blocks[:-1]),
        head=network.blocks[-1],
        targets=targets,
    )
    accuracy = _restore(network, path, record, report)
    if accuracy is None:
        _fit(network, fit, judge, settings, report)
        accuracy = held_out_accuracy(judge, held_out)
        try:
            _store(network, path, record, accuracy)
        except OSError as error:
            report(f"The judge is not kept in {path}: {error.strerror}.")
        shown = ", ".join(f"{h} {100 * a:.1f} %" for h, a in accuracy.items())
        report(f"judge of {dataset.name}: held-out accuracy {shown}")
    return dataclasses.replace(judge, accuracy=accuracy)


def cache_directory():
    """Where what can be made again is kept: `$XDG_CACHE_HOME/tfdisent`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(home).expanduser() / "tfdisent"


def head_sizes(dataset):
    """{head: classes} of a data set: its label, and every factor.

    Raises:
      InputError: it has neither.
    """
    sizes = {}
    if dataset.num_classes:
        sizes["label"] = int(dataset.num_classes)
    if dataset.factor_names:
        names = dataset.factor_names
        sizes |= dict(zip(names, dataset.factor_sizes, strict=True))
    if not sizes:
        raise InputError(
            f"Data set {dataset.name!r} has neither classes nor factors: there "
            "is nothing a judge could learn."
        )
    return sizes


def targets_of(dataset):
    """A function: batch of a split -> {head: int `[B]`}, as `head_sizes`."""

    def targets(batch):
        found = {}
        if dataset.num_classes:
            found["label"] = batch["label"]
        for k, name in enumerate(dataset.factor_names or ()):
            found[name] = batch["factors"][:, k]
        return found

    return targets


def independent_splits(dataset):
    """What a judge learns from, and what it and any swap are measured on.

    The training and the test split, but for three cases: without a test split,
    and where its classes are unseen ones (few-shot sets, whose judge is one of
    the unseen classes), images are held out of the only split there is; of a
    complete grid, where `test` is a part of `train`, it is taken out.

    Args:
      dataset: a `Dataset`.

    Returns:
      `(learned, held out)`: splits without a common image.

    Raises:
      InputError: too few images to hold any out.
    """
    learned, held_out = dataset.splits["train"], dataset.splits.get("test")
    if dataset.grid is not None and held_out is not None:
        factors = held_out.take(np.arange(len(held_out)))["factors"]
        taken = np.ravel_multi_index(tuple(factors.T), dataset.factor_sizes)
        rest = np.setdiff1d(np.arange(len(dataset.grid)), taken)
        return dataset.grid.subset(rest), held_out
    only = learned if held_out is None else None
    if held_out is not None and held_out.labels is not None:
        if not np.isin(held_out.labels, learned.labels).any():
            only = held_out
    if only is None:
        return learned, held_out
    parts = base.held_out(only, HELD_OUT)
    if "test" not in parts:
        raise InputError(
            f"Data set {dataset.name!r} has too few images for a judge."
        )
    return parts["train"], parts["test"]


def held_out_accuracy(judge, split):
    """{head: share of right answers} on at most 10,000 images of a split."""
    some = split.spread(ACCURACY_IMAGES)
    right = {name: 0 for name in judge.sizes}
    answer = tf.function(
        lambda images: _answers(judge, images), reduce_retracing=True
    )
    for batch in pipeline.in_order(some, judge.image_shape, BATCH):
        truth = judge.targets(batch)
        for name, given in answer(batch["image"]).items():
            right[name] += int(np.sum(given.numpy() == truth[name].numpy()))
    return {name: count / len(some) for name, count in right.items()}


def _answers(judge, images):
    """{head: int64 `[B]`}, what a judge sees in images."""
    _, logits = judge(images)
    return {name: tf.argmax(values, -1) for name, values in logits.items()}


def _network(image_shape, outputs, settings):
    """Overlapping patches, two convolutions, a dense layer, and the head.

    The patches leave a side of about 16, whatever the images have.
    """
    keras.utils.set_random_seed(settings.seed)
    patch = max(1, min(image_shape[:2]) // 16)
    blocks = []
    for filters, kernel, stride in (
        (64, 2 * patch, patch),
        (64, 3, 2),
        (128, 3, 2),
    ):
        blocks.append(
            keras.layers.Conv2D(filters, kernel, stride, padding="same")
        )
        blocks.append(layers.activation("relu"))
    blocks += [
        keras.layers.Flatten(),
        keras.layers.Dense(FEATURES),
        layers.activation("relu"),
        keras.layers.Dense(outputs),
    ]
    return networks.built(layers.Stack(blocks), image_shape)


def _fit(network, split, judge, settings, report):
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, settings.steps
    )
    optimizer = Adam(schedule)
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=False)
    def step(batch):
        truth = judge.targets(batch)
        with tf.GradientTape() as tape:
            _, logits = judge(batch["image"])
            losses = [
                tf.nn.sparse_softmax_cross_entropy_with_logits(truth[head], own)
                for head, own in logits.items()
            ]
            loss = tf.reduce_mean(tf.add_n(losses))
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    batches = pipeline.batches(
        split, settings.batch_size, judge.image_shape, settings.seed
    )
    with pipeline.input_errors():
        for number, batch in enumerate(batches.take(settings.steps), 1):
            loss = step(batch)
            if number % REPORT_EVERY == 0:
                report(
                    f"{judge.name}: step {number:,}/{settings.steps:,}  loss "
                    f"{float(loss):.3f}"
                )


# ---- swaps -------------------------------------------------------------------


def swap_judge(model, judge, split, pairs=1_000, seed=0):
    """Whether swapping a unit moves what it should, and only that.

    Of random pairs of images, one unit of the target is put into the source,
    decoded and shown to the judge. Among the pairs whose truth differs in a
    head, `arrives` is how often the judge sees the target's value in the
    result, `stays` how often the source's.

    Two rows bound the others: `(nothing)`, the source's reconstruction, and
    `(everything)`, the target's. What the judge cannot see there it cannot see
    in any swap; nor where its accuracy on real images, part of the result, is
    low.

    Args:
      model: a `PartsModel`.
      judge: a `Judge` with `targets`, trained at the model's image shape.
      split: images that the judge did not learn from, with the truth:
        `independent_splits(dataset)[1]`.
      pairs: how many, at least 1.
      seed: of the pairs.

    Returns:
      Plain data:

      - `"judge"`, `"judge_accuracy"` ({head: share}), `"pairs"`, `"seed"`;
      - `"differing"`: {head: pairs whose truth differs};
      - `"arrives"` and `"stays"`: {row: {head: share in [0, 1]}}, rows being
        `(nothing)`, `(everything)` and the model's units; None where no pair
        differs;
      - `"heads"`: {head: the unit that carries it}: `"unit"`, with which it
        arrives most often, `"arrives"`, `"others_stay"`: the mean over other
        heads of how often they stay when this unit is swapped, and
        `"stays_elsewhere"`: the mean over other units of how often this head
        stays when they are. Means over nothing are None.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(split), size=(2, pairs))
    mixes = _mixes(model)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def look(images, labels):
        """{row: {head: answers}} of one batch of pairs."""
        count = tf.shape(images[0])[0]
        return {
            row: _answers(
                judge,
                model.swap(*images, tf.repeat(mix[None], count, 0), *labels),
            )
            for row, mix in mixes.items()
        }

    batches = zip(
        *(
            pipeline.in_order(split.subset(rows), model.image_shape, PAIRS)
            for rows in chosen
        ),
        strict=True,
    )
    truths, sights = [], []
    for both in batches:
        images = [batch["image"] for batch in both]
        labels = [b["label"] for b in both] if model.takes_label else []
        truths.append([judge.targets(batch) for batch in both])
        sights.append(look(images, labels))
    seen = {
        row: {h: _joined(s[row][h] for s in sights) for h in judge.sizes}
        for row in mixes
    }
    source, target = (
        {h: _joined(t[side][h] for t in truths) for h in judge.sizes}
        for side in range(2)
    )
    arrives, stays = (
        {
            row: {
                h: _share(answers[h], truth[h], source[h] != target[h])
                for h in judge.sizes
            }
            for row, answers in seen.items()
        }
        for truth in (target, source)
    )
    return {
        "judge": judge.name,
        "judge_accuracy": dict(judge.accuracy),
        "pairs": pairs,
        "seed": seed,
        "differing": {
            h: int(np.sum(source[h] != target[h])) for h in judge.sizes
        },
        "arrives": arrives,
        "stays": stays,
        "heads": {
            h: _carrier(h, list(model.units), arrives, stays)
            for h in judge.sizes
        },
    }


def _mixes(model):
    """{row of a swap table: mix float32 `[units]`}."""
    units = len(model.units)
    mixes = [np.zeros(units), np.ones(units), *np.eye(units)]
    rows = [NOTHING, EVERYTHING, *model.units]
    return {
        row: tf.constant(mix, tf.float32)
        for row, mix in zip(rows, mixes, strict=True)
    }


def _joined(batches):
    return np.concatenate([np.asarray(batch) for batch in batches])


def _share(answers, truth, counted):
    """How often answers are the truth among the counted; None of nothing."""
    return _mean((answers == truth)[counted])


def _mean(values):
    return float(np.mean(values)) if len(values) else None


def _carrier(head, units, arrives, stays):
    """One entry of `heads` in what `swap_judge` returns."""
    if arrives[NOTHING][head] is None:
        names = ("unit", "arrives", "others_stay", "stays_elsewhere")
        return dict.fromkeys(names)
    unit = max(units, key=lambda u: arrives[u][head])
    others = [s for h, s in stays[unit].items() if h != head and s is not None]
    return {
        "unit": unit,
        "arrives": arrives[unit][head],
        "others_stay": _mean(others),
        "stays_elsewhere": _mean([stays[u][head] for u in units if u != unit]),
    }


def swap_table(scores):
    """What `swap_judge` found as lines for a terminal.

    Args:
      scores: what `swap_judge` returned.

    Returns:
      Text: a row a unit, a column a head, "arrives / stays" in percent.
    """
    heads = list(scores["judge_accuracy"])
    rows = [["arrives / stays, %", *heads]]
    accuracy = [_percent(scores["judge_accuracy"][h]) for h in heads]
    rows.append(["judge on real images", *accuracy])
    for row, arrives in scores["arrives"].items():
        stays = scores["stays"][row]
        cells = [
            f"{_percent(arrives[h])} / {_percent(stays[h])}" for h in heads
        ]
        rows.append([row, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}"
        + "".join(
            f"  {c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True)
        )
        for row in rows
    )


def _percent(share):
    return "-" if share is None else f"{100 * share:.1f}"


# ---- samples -----------------------------------------------------------------


def for_samples(dataset, image_shape=None, **options):
    """What samples are judged by: ImageNet's Inception, else the in-domain one.

    Args:
      dataset, image_shape, **options: as `of_dataset` takes them.

    Returns:
      A `Judge`; its `name` says which.
    """
    return imagenet() or of_dataset(dataset, image_shape, **options)


def imagenet():
    """Keras' InceptionV3 with ImageNet's weights, or None.

    The weights are only taken from where Keras keeps downloads
    (`$KERAS_HOME/models`, `~/.keras/models`); nothing is ever downloaded. It
    is not the 2015 graph that published FIDs use: compare with care.
    """
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    path = pathlib.Path(home).expanduser() / "models" / INCEPTION_WEIGHTS
    if not path.exists():
        return None
    inception = keras.applications.InceptionV3(
        weights=str(path), classifier_activation=None
    )
    features = keras.Model(
        inception.input, inception.get_layer("avg_pool").output
    )
    return Judge(
        name="ImageNet InceptionV3 (Keras)",
        image_shape=tuple(inception.input_shape[1:]),
        sizes={"imagenet": inception.output_shape[-1]},
        # From [0, 1] to the range it was trained in.
        trunk=lambda images: features(2 * images - 1, training=False),
        head=inception.get_layer("predictions"),
        in_domain=False,
    )


class Reading(NamedTuple):
    """A judge's answers to many images.

    `features` is float32 `[N, d]`, `logits` {head: float32 `[N, classes]`}.
    """

    features: np.ndarray
    logits: dict


def read(judge, batches):
    """What a judge sees in many images.

    Args:
      judge: a `Judge`.
      batches: an iterable of images `[B, h, w, C]`, at least one batch.

    Returns:
      A `Reading`.
    """
    step = tf.function(
        lambda images: judge(images), jit_compile=False, reduce_retracing=True
    )
    features, logits = zip(
        *(step(tf.convert_to_tensor(images)) for images in batches), strict=True
    )
    return Reading(
        _joined(features),
        {
            head: _joined(batch[head] for batch in logits)
            for head in judge.sizes
        },
    )


def image_scores(judge, generated, real):
    """Inception score and Frechet distance of what a judge saw.

    Args:
      judge: the `Judge` whose readings these are.
      generated, real: `Reading` of at least 10,000 images each, in random
        order.

    Returns:
      {"judge": its name, "images": [generated, real], "splits": 10, and two
      scores whose names say whether ImageNet's network took them:
      `inception_score` and `fid`, or `in_domain_inception_score` and
      `in_domain_frechet_distance`}. An Inception score is {head: {"mean",
      "std"}}, `std` over 10 splits.

    Raises:
      ValueError: fewer images.
    """
    counts = [len(r.features) for r in (generated, real)]
    if min(counts) < SAMPLES:
        raise ValueError(
            f"generated and real must hold at least {SAMPLES:,} images each. "
            f"Received: {counts[0]:,} and {counts[1]:,}"
        )
    inception, frechet = (
        ("in_domain_inception_score", "in_domain_frechet_distance")
        if judge.in_domain
        else ("inception_score", "fid")
    )
    return {
        "judge": judge.name,
        "images": counts,
        "splits": SPLITS,
        inception: {
            head: inception_score(
                logits, from_logits=True, splits=SPLITS
            )._asdict()
            for head, logits in generated.logits.items()
        },
        frechet: frechet_distance(generated.features, real.features),
    }


def sample_scores(model, dataset, judge, images=SAMPLES, seed=0):
    """`image_scores` of a model's samples, beside those of real images.

    Args:
      model: a `PartsModel` with `sample`.
      dataset: the `Dataset` it was trained on.
      judge: a `Judge`, by `for_samples`.
      images: how many samples, at least 10,000, and at most how many real
        images they are compared with.
      seed: of the samples; sample i follows (seed, i) alone.

    Returns:
      `image_scores` of the samples, with "real": the split they are compared
      with (`test`, or `train` where that has fewer than 10,000), "seed", and
      "training_images": `image_scores` of other training images, what a
      perfect model would reach.

    Raises:
      InputError: the model has no prior, or the data set too few images.
    """
    if model.sample is None:
        raise InputError("The model has no prior to sample from.")
    fit, held_out = independent_splits(dataset)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(fit))
    others = fit.subset(order[:images])
    real, name = held_out, "test"
    if len(held_out) < SAMPLES:
        real, name = fit.subset(order[images : 2 * images]), "train"
    if min(len(real), len(others)) < SAMPLES:
        raise InputError(
            f"Data set {dataset.name!r} has too few images to score samples: "
            f"two sets of {SAMPLES:,} are needed."
        )
    draw = tf.function(model.sample, jit_compile=False, reduce_retracing=True)

    def samples():
        for start in range(0, images, BATCH):
            rows = np.arange(start, min(start + BATCH, images))
            seeds = np.stack([np.full(len(rows), seed), rows], axis=1)
            yield draw(tf.constant(seeds, tf.int32))

    def pictures(split):
        # A split may be sorted, the splits of an Inception score must not be.
        order = rng.permutation(len(split))[:images]
        shape = model.image_shape
        for batch in pipeline.in_order(split.subset(order), shape, BATCH):
            yield batch["image"]

    truth = read(judge, pictures(real))
    scores = image_scores(judge, read(judge, samples()), truth)
    perfect = image_scores(judge, read(judge, pictures(others)), truth)
    return scores | {"real": name, "seed": seed, "training_images": perfect}


# ---- the cache ---------------------------------------------------------------


def _fingerprint(split, targets):
    """A digest of a few images and their targets, and of how many there are."""
    digest = hashlib.sha256(str(len(split)).encode())
    some = split.spread(PROBES)
    batch = some.take(np.arange(len(some)))
    for array in (batch["image"], *targets(batch).values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _file_name(name, record):
    key = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    readable = re.sub(r"\W+", "-", name).strip("-")[-40:]
    return f"{readable}-{key.hexdigest()[:16]}.npz"


def _store(network, path, record, accuracy):
    content = io.BytesIO()
    weights = {f"w{i}": w for i, w in enumerate(network.get_weights())}
    record = json.dumps(record | {"accuracy": accuracy})
    np.savez(content, record=np.array(record), **weights)
    rundir.write_atomically(path, content.getvalue())


def _restore(network, path, record, report):
    """Puts stored weights into a network.

    Returns:
      The stored accuracy; None where there is no file, or a damaged one.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = json.loads(str(stored["record"]))
            accuracy = found.pop("accuracy")
            if found != record:
                raise ValueError("it is another judge's")
            count = len(network.get_weights())
            network.set_weights([stored[f"w{i}"] for i in range(count)])
    except UNREADABLE as error:
        report(f"The judge in {path} is damaged ({error}); training it anew.")
        return None
    return accuracy
