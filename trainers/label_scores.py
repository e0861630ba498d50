"""What the parts of a model hold of the class, and what a class transfer keeps.

The tables of ClassVAE's paper and what they leave out. Their "accuracy on w" is
of codes that were computed from the true label, so it is no classifier of
images: beside it stands w of a random label, and w averaged over all labels.
"""

import warnings

import numpy as np
import tensorflow as tf
from scipy import ndimage
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from tfdisent import noise
from tfdisent import visualization
from tfdisent.data import pipeline

# The equal probes: one hidden layer, this many epochs.
PROBE_HIDDEN, PROBE_EPOCHS = 128, 20
# Images that train and test a probe, at most, and those that are transferred.
TRAIN_IMAGES, TEST_IMAGES, TRANSFERS = 60_000, 10_000, 2_000
# Data sets of more classes are for few-shot scores.
MOST_CLASSES = 100
BATCH = 500
SEED = 7
# Brighter pixels are ink.
INK = 0.5


def applies(model, dataset, split):
    """Whether there is a posterior to draw codes from and a class to tell."""
    return (
        model.posterior is not None
        and split is not None
        and split.labels is not None
        and 2 <= (dataset.num_classes or 0) <= MOST_CLASSES
    )


def scores(model, dataset, fit, split):
    """Everything this file measures of a trained model.

    Args:
      model: a `PartsModel` with a posterior.
      dataset: the `Dataset`, for the number of classes.
      fit, split: labelled `Split`s: what the model was fitted on, what it is
        scored on.

    Returns:
      Plain data for metrics.json: "class_probe", and "class_transfer" where
      the label is a part.
    """
    fit, split = fit.spread(TRAIN_IMAGES), split.spread(TEST_IMAGES)
    found = {"class_probe": class_probe(model, dataset.num_classes, fit, split)}
    if model.takes_label:
        found["class_transfer"] = class_transfer(model, split.spread(TRANSFERS))
    return found


# ---- probes -----------------------------------------------------------------


def class_probe(model, classes, fit, split):
    """Accuracy of equal probes of the class on draws from every posterior.

    Args:
      model: a `PartsModel` with a posterior.
      classes: their number, n.
      fit, split: labelled `Split`s that train and test the probes.

    Returns:
      {"accuracy": {row: accuracy}, "chance": 1 / n, "commonest": share of the
      commonest class, "images", "protocol"}. A row is a part; where it is
      computed from the label, also "PART, random label" (the true class, of
      codes of random labels), "PART, the random label itself" (how much of the
      label given leaks) and "PART, averaged over labels".
    """
    rng = np.random.default_rng(SEED)
    splits, draw = (fit, split), _drawing(model)
    true = [np.asarray(s.labels) for s in splits]
    random = [rng.integers(0, classes, len(s)) for s in splits]

    def draws(labels):
        return [
            _codes(draw, model, s, given, SEED + i)
            for i, (s, given) in enumerate(zip(splits, labels, strict=True))
        ]

    train, test = draws([[y] for y in true])
    accuracy = {
        part: probe(train[part], true[0], test[part], true[1]) for part in train
    }
    depends = []
    if model.takes_label:
        depends = [part for part in accuracy if _sees(model, part, split)]
    if depends:
        train, test = draws([[y] for y in random])
        mean_train, mean_test = draws(
            [[np.full(len(s), c) for c in range(classes)] for s in splits]
        )
    for part in depends:
        accuracy |= {
            f"{part}, random label": probe(
                train[part], true[0], test[part], true[1]
            ),
            f"{part}, the random label itself": probe(
                train[part], random[0], test[part], random[1]
            ),
            f"{part}, averaged over labels": probe(
                mean_train[part], true[0], mean_test[part], true[1]
            ),
        }
    return {
        "accuracy": accuracy,
        "chance": 1 / classes,
        "commonest": float(np.bincount(true[1]).max() / len(split)),
        "images": [len(fit), len(split)],
        "protocol": f"one draw an image, perceptron of {PROBE_HIDDEN} hidden "
        f"units, {PROBE_EPOCHS} epochs",
    }


def probe(codes, labels, test_codes, test_labels):
    """Test accuracy of the small perceptron that all rows share.

    Args:
      codes, test_codes: float `[N, d]`, `[M, d]`.
      labels, test_labels: int `[N]`, `[M]`.
    """
    # It learns for as long as every other, not until it is done.
    classifier = MLPClassifier(
        (PROBE_HIDDEN,),
        max_iter=PROBE_EPOCHS,
        n_iter_no_change=PROBE_EPOCHS,
        random_state=SEED,
    )
    # More than one thread only waits for TensorFlow's.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(codes, labels)
    return float(classifier.score(test_codes, test_labels))


def _drawing(model):
    """`(image, label, seed) -> {part: draws}` from every posterior."""

    @tf.function(jit_compile=False, reduce_retracing=True)
    def draw(image, label, seed):
        given = (label,) if model.takes_label else ()
        posterior = model.posterior(image, *given)
        return {
            part: q.sample(seed=noise.fold(seed, number))
            for number, (part, q) in enumerate(posterior.items())
        }

    return draw


def _codes(draw, model, split, labels, seed):
    """Draws from every posterior, {part: float32 `[N, d]`}.

    Args:
      draw: of `_drawing`.
      model: a `PartsModel`.
      split: a `Split`.
      labels: a list of int `[N]`; codes are averaged over its entries.
      seed: int, of the draws.
    """
    labels = np.stack(labels).astype(np.int32)
    batches, done = [], 0
    for batch in pipeline.in_order(split, model.image_shape, BATCH):
        stop = done + len(batch["image"])
        drawn = [
            # The noise of all labels is one: a mean of several draws would
            # tell more than the one draw of every other row.
            draw(batch["image"], label, tf.constant([seed, done]))
            for label in labels[:, done:stop]
        ]
        batches.append(
            {part: np.mean([d[part] for d in drawn], 0) for part in drawn[0]}
        )
        done = stop
    return {
        part: np.concatenate([b[part] for b in batches]) for part in batches[0]
    }


def _sees(model, part, split):
    """Whether another label gives another posterior of this part."""
    image = pipeline.fit_images(split.take([0])["image"], model.image_shape)
    means = [
        model.posterior(image, tf.constant([label]))[part].mean()
        for label in (0, 1)
    ]
    return not np.array_equal(*means)


# ---- class transfer ---------------------------------------------------------


def class_transfer(model, split):
    """What stays of an image that gets another's class, measured in pixels.

    Every image takes the unit that holds the label from an image of another
    class.

    Args:
      model: a `PartsModel` with a part `label`.
      split: a labelled `Split`.

    Returns:
      {measure: {"reconstruction", "source", "target"}}: correlation of the
      measure on the image with its reconstruction, and of the measure on the
      transferred image with that on its source and on its target; "change":
      {unit: mean absolute pixel difference to the reconstruction when this
      unit alone is another image's}; "images".
    """
    batch = split.take(np.arange(len(split)))
    images = pipeline.fit_images(batch["image"], model.image_shape).numpy()
    codes = visualization.encode(model, images, batch["label"])
    partner = others(np.asarray(batch["label"]))
    rows = np.flatnonzero(partner >= 0)
    partner = partner[rows]
    source = {part: code[rows] for part, code in codes.items()}
    target = {part: code[partner] for part, code in codes.items()}
    plain = visualization.decode(model, source)
    found, change = {}, {}
    for number, (unit, references) in enumerate(model.units.items()):
        mix = np.zeros((len(rows), len(model.units)), np.float32)
        mix[:, number] = 1
        mixed = model.mix(source, target, mix)
        mixed = {part: np.asarray(code) for part, code in mixed.items()}
        swapped = visualization.decode(model, mixed)
        change[unit] = float(np.mean(np.abs(swapped - plain)))
        if "label" not in references:
            continue
        for name, measure in MEASURES.items():
            measured = measure(images)
            after = measure(swapped)
            found[name] = {
                "reconstruction": correlation(measured[rows], measure(plain)),
                "source": correlation(measured[rows], after),
                "target": correlation(measured[partner], after),
            }
    return {**found, "change": change, "images": len(rows)}


def others(labels):
    """For every row a seeded random row of another class, or -1."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(labels))
    partner = np.full(len(labels), -1)
    for c in np.unique(labels):
        own = np.flatnonzero(labels == c)
        rest = order[labels[order] != c]
        if len(rest):
            partner[own] = rng.choice(rest, len(own))
    return partner


def thickness(images):
    """Width of the strokes in pixels, `[B]`; 0 without ink.

    4 m - 2, m the mean distance of inked pixels to the nearest other: exact
    for bars of even width.

    Args:
      images: float `[B, H, W, C]` in [0, 1].
    """
    ink = np.pad(np.mean(images, axis=-1) > INK, ((0, 0), (1, 1), (1, 1)))
    means = [
        np.mean(ndimage.distance_transform_edt(image)[image])
        if image.any()
        else 0.5
        for image in ink
    ]
    return 4 * np.asarray(means) - 2


def brightness(images):
    """Mean of the pixels that are not black, `[B]`; 0 where all are."""
    seen = images > 0.1
    return np.sum(images * seen, (1, 2, 3)) / np.maximum(
        1, np.sum(seen, (1, 2, 3))
    )


def correlation(first, second):
    """Pearson's, or 0 where one of the two is constant."""
    if min(np.std(first), np.std(second)) < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


MEASURES = {"thickness": thickness, "brightness": brightness}


# ---- words ------------------------------------------------------------------


def lines(stored):
    """The scores of `scores` as lines for a terminal."""
    probes = stored.get("class_probe")
    written = []
    if probes:
        written.append(
            f"class probe, accuracy (chance {probes['chance']:.3f}, commonest "
            f"class {probes['commonest']:.3f})"
        )
        for row, accuracy in probes["accuracy"].items():
            written.append(f"  {row:<44} {accuracy:.3f}")
    transfer = stored.get("class_transfer", {})
    for name in MEASURES:
        if name in transfer:
            shown = ", ".join(f"{k} {v:.2f}" for k, v in transfer[name].items())
            written.append(f"class transfer, {name} correlates with: {shown}")
    if transfer:
        shown = ", ".join(
            f"{unit} {change:.4f}"
            for unit, change in transfer["change"].items()
        )
        written.append(f"pixel change of one swapped unit: {shown}")
    return written
