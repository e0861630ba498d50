"""Few-shot scores: unseen classes, and what needs no training beside them.

Every classifier answers the same episodes; accuracies carry intervals, and
what is compared is compared episode by episode.
"""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from tfdisent import models
from tfdisent.data import base
from tfdisent.data import pipeline
from tfdisent.data.episodes import EpisodeSampler
from tfdisent.metrics.few_shot import few_shot_accuracy
from tfdisent.metrics.few_shot import paired_difference
from tfdisent.metrics.linear_probe import linear_probe
from tfdisent.models import few_shot
from trainers import rundir
from trainers import train
from trainers.critic import held_out_bound

# Ways and shots of the settings in FDEN's table 1.
SETTINGS = {
    "5-way 1-shot": (5, 1),
    "5-way 5-shot": (5, 5),
    "20-way 1-shot": (20, 1),
}
EPISODE_SEED = 1_000_003  # Apart from every training seed in use.
EPISODES_A_BATCH = 100
# Episodes of the paper's own evaluation, reported beside ours.
PAPER_EPISODES = 1_000
# Classes of the linear probe: enough to be hard, few enough to be quick.
PROBE_CLASSES = 100
# Images on which the cost of plugging in is averaged.
PLUG_IN_IMAGES = 10_000


def correct_answers(classify, items, labels, ways, shots, episodes):
    """Which episodes a classifier gets right.

    Args:
      classify: `(support [E, C, K, ...], query [E, 1, ...])` -> logits
        `[E, 1, C]`.
      items: float32 `[N, ...]`, what episodes are drawn from.
      labels: int `[N]`.
      ways, shots: of the episodes.
      episodes: how many, one query each.

    Returns:
      bool `[episodes]`; the same episodes for every classifier and item.
    """
    sampler = EpisodeSampler(labels, ways, shots, seed=EPISODE_SEED)
    # A partial function, as in `train.encode_split`.
    step = tf.function(
        functools.partial(classify), jit_compile=False, reduce_retracing=True
    )
    correct = []
    for number in range(-(-episodes // EPISODES_A_BATCH)):
        drawn = sampler.sample(number, EPISODES_A_BATCH)
        logits = step(
            tf.constant(items[drawn["support"]]),
            tf.constant(items[drawn["query"]]),
        )
        correct.append(np.argmax(logits, axis=-1) == drawn["target"])
    return np.concatenate(correct)[:episodes, 0]


def missing(labels):
    """`{setting: why not}` of those that the classes or images do not allow."""
    counts = np.unique(labels, return_counts=True)[1]
    return {
        name: f"needs {ways} classes of {shots + 1} images; there are "
        f"{len(counts)}, the smallest of {counts.min()}"
        for name, (ways, shots) in SETTINGS.items()
        if len(counts) < ways or counts.min() <= shots
    }


def accuracies(rows, labels, episodes):
    """Accuracy of several classifiers on the same unseen-class episodes.

    Args:
      rows: {name: `(classify, items)`}; the first is compared with the rest.
      labels: int `[N]`.
      episodes: per setting.

    Returns:
      {setting: {row: {"mean", "low", "high", "mean_1000", and, but for the
      first, "difference" with its interval}}}, accuracies in [0, 1].
    """
    scores, left_out = {}, missing(labels)
    for setting, (ways, shots) in SETTINGS.items():
        if setting in left_out:
            continue
        answers = {
            name: correct_answers(
                classify, items, labels, ways, shots, episodes
            )
            for name, (classify, items) in rows.items()
        }
        first = next(iter(answers.values()))
        scores[setting] = {}
        for name, correct in answers.items():
            row = few_shot_accuracy(correct)._asdict()
            row["mean_1000"] = float(np.mean(correct[:PAPER_EPISODES]))
            if correct is not first:
                row["difference"] = paired_difference(first, correct)._asdict()
            scores[setting][name] = row
    return scores


def probe_scores(parts, labels, seed=0):
    """Linear-probe accuracy of the class from every code part.

    Half the images of each of `PROBE_CLASSES` seeded classes train a logistic
    regression, the other half are scored. Classes of one image are left out.

    Args:
      parts: {part: float32 `[N, n]`}.
      labels: int `[N]`.
      seed: of the choice of classes and halves.

    Returns:
      {part: accuracy} with "chance", "classes" and "images"; {} where fewer
      than two classes are left.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    classes = classes[counts > 1]
    if len(classes) < 2:
        return {}
    classes = rng.permutation(classes)[:PROBE_CLASSES]
    train_rows, test_rows = [], []
    for c in classes:
        rows = rng.permutation(np.flatnonzero(labels == c))
        train_rows.append(rows[: len(rows) // 2])
        test_rows.append(rows[len(rows) // 2 :])
    train_rows = np.concatenate(train_rows)
    test_rows = np.concatenate(test_rows)
    scores = {
        part: linear_probe(
            codes[train_rows],
            labels[train_rows],
            codes[test_rows],
            labels[test_rows],
        )
        for part, codes in parts.items()
    }
    return scores | {
        "chance": 1 / len(classes),
        "classes": len(classes),
        "images": len(test_rows),
    }


def plug_in_errors(model, codes, split, image_shape):
    """What plugging in costs: errors of z and of images, with and without.

    Args:
      model: an FDEN.
      codes: float32 `[N, Dim]` of the split.
      split: the images themselves.
      image_shape: the model's.

    Returns:
      {"z_relative": ||z~ - z||^2 / ||z - mean||^2, "image_backbone",
      "image_plugged_in": mean squared pixel errors of dec(z) and dec(z~)}.
    """
    some = base.spread(len(split), PLUG_IN_IMAGES)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def errors(image, z):
        restored = model.entangle(*model.disentangle(z))
        return (
            tf.reduce_sum(tf.square(restored - z), axis=-1),
            tf.reduce_sum(tf.square(z - model.code_mean), axis=-1),
            tf.reduce_mean(tf.square(model.decode_codes(z) - image), [1, 2, 3]),
            tf.reduce_mean(
                tf.square(model.decode_codes(restored) - image), [1, 2, 3]
            ),
        )

    sums, done = np.zeros(4), 0
    for batch in pipeline.in_order(split.subset(some), image_shape):
        count = len(batch["image"])
        z = codes[some[done : done + count]]
        sums += [float(tf.reduce_sum(e)) for e in errors(batch["image"], z)]
        done += count
    return {
        "z_relative": sums[0] / sums[1],
        "image_backbone": sums[2] / done,
        "image_plugged_in": sums[3] / done,
        "images": done,
    }


def baseline_rows(codes, pixels, untrained_codes, mean, scale):
    """Classifiers without training, on what FDEN sees and on pixels."""
    standard = (codes - mean) / scale
    cosine = {"distance": "cosine"}
    nearest, prototypes = few_shot.nearest_neighbour, few_shot.prototypes
    rows = {
        "nearest neighbour on z": (nearest, standard),
        "nearest neighbour on z, cosine": (
            functools.partial(nearest, **cosine),
            standard,
        ),
        "prototypes on z": (prototypes, standard),
        "prototypes on z, cosine": (
            functools.partial(prototypes, **cosine),
            standard,
        ),
        "nearest neighbour on pixels": (nearest, pixels),
    }
    if untrained_codes is not None:
        rows["nearest neighbour on an untrained backbone's z"] = (
            nearest,
            untrained_codes,
        )
    return rows


def untrained_codes(run, split, image_shape):
    """Codes of the backbone's network before training, or None.

    A SavedModel from elsewhere cannot be had untrained, nor is a model that
    stands on another trained one.
    """
    directory = pathlib.Path(run) / "backbone"
    if not (directory / "config.json").exists():
        return None
    config, shape = rundir.read_config(directory)
    if "backbone" in models.get(config.model).needs:
        return None
    fresh = rundir.build_model(config, shape)

    def encode(image):
        parts = fresh.encode(image)
        return tf.concat([parts[p] for p in fresh.parts], axis=-1)

    return train.encode_split(encode, split, image_shape)


def evaluate_factors(model, config, dataset, run, suffix=""):
    """All scores of a model that splits a backbone's codes into factors.

    Args:
      model: an FDEN.
      config: of the run.
      dataset: a `Dataset`.
      run: the run directory, where its codes are kept.
      suffix: of their name, where the data set is not the run's own.

    Returns:
      Plain data for metrics.json.
    """
    fit, split = train.few_shot_splits(config, dataset)
    shape = model.image_shape
    codes = train.Cache(pathlib.Path(run) / "cache").get(
        config.evaluation_split + suffix,
        lambda: train.encode_split(
            model.codes, split, shape, train.counter("encoding unseen classes")
        ),
        len(split),
    )
    pixels = flat_pixels(split, shape)
    factors = factor_codes(model, codes)
    rows = {config.model: (model.classify, factors["identity"])}
    rows |= baseline_rows(
        codes,
        pixels,
        untrained_codes(run, split, shape),
        model.code_mean.numpy(),
        model.code_scale.numpy(),
    )
    scores = {
        "few_shot": accuracies(rows, split.labels, config.eval_episodes),
        "protocol": episode_protocol(config, fit, split),
        "linear_probe": probe_scores(factors, split.labels),
        "plug_in": plug_in_errors(model, codes, split, shape),
    }
    if config.critic_steps:
        scores["mutual_information"] = held_out_bound(
            factors["identity"], factors["style"], config.critic_steps
        )
    return scores


def evaluate_episodes(model, config, dataset):
    """Scores of a model that classifies episodes of images.

    Returns:
      Plain data for metrics.json.
    """
    fit, split = train.few_shot_splits(config, dataset)
    shape = model.image_shape
    codes = train.encode_split(model.embed, split, shape)
    rows = {
        config.model.partition(":")[2] or config.model: (model.classify, codes),
        "nearest neighbour on pixels": (
            few_shot.nearest_neighbour,
            flat_pixels(split, shape),
        ),
    }
    return {
        "few_shot": accuracies(rows, split.labels, config.eval_episodes),
        "protocol": episode_protocol(config, fit, split),
    }


def flat_pixels(split, shape):
    """Every image of a split as a row, float32 `[N, H W C]`."""
    images = [b["image"].numpy() for b in pipeline.in_order(split, shape)]
    return np.concatenate(images).reshape(len(split), -1)


def episode_protocol(config, fit, split):
    """How few-shot scores were taken, for metrics.json."""
    return {
        "classes": f"{len(np.unique(split.labels))} unseen classes of the "
        f"{config.evaluation_split} split; trained on "
        f"{len(np.unique(fit.labels))}",
        "episodes": config.eval_episodes,
        "queries": "one an episode",
        "episode_seed": EPISODE_SEED,
        "interval": "95%, normal approximation over episodes",
        "absent": missing(split.labels),
    }


def factor_codes(model, codes):
    """{"identity", "style"} of cached codes, float32 `[N, Dim]` each."""
    step = tf.function(model.disentangle, reduce_retracing=True)
    batches = [
        step(codes[start : start + train.ENCODE_BATCH])
        for start in range(0, len(codes), train.ENCODE_BATCH)
    ]
    identity, style = zip(*batches, strict=True)
    return {
        "identity": np.concatenate(identity),
        "style": np.concatenate(style),
    }


def table(scores):
    """Lines for a terminal of what `evaluate_factors` and others gave."""
    lines = []
    for setting, rows in scores.get("few_shot", {}).items():
        lines.append(f"{setting} accuracy, unseen classes, 95% interval")
        for name, row in rows.items():
            half = 100 * (row["high"] - row["mean"])
            line = f"  {name:<48} {100 * row['mean']:6.2f} +- {half:.2f} %"
            if "difference" in row:
                low, high = row["difference"]["low"], row["difference"]["high"]
                line += f"   lead over it {100 * low:+.2f} .. {100 * high:+.2f}"
            lines.append(line)
    for setting, why in scores.get("protocol", {}).get("absent", {}).items():
        lines.append(f"absent: {setting} ({why})")
    probe = scores.get("linear_probe")
    if probe:
        lines.append(
            f"linear probe of the class ({probe['classes']} unseen classes): "
            f"identity {100 * probe['identity']:.1f} %, style "
            f"{100 * probe['style']:.1f} %, chance {100 * probe['chance']:.1f}"
            " %"
        )
    bound = scores.get("mutual_information")
    if bound:
        lines.append(
            f"held-out bound between the factors: {bound['joint']:.2f} nats, "
            f"shuffled pairs {bound['shuffled']:.2f} nats"
        )
    errors = scores.get("plug_in")
    if errors:
        lines.append(
            f"plugging in: relative error of z {errors['z_relative']:.4f}; "
            f"squared pixel error {errors['image_backbone']:.5f} before, "
            f"{errors['image_plugged_in']:.5f} after"
        )
    return lines
