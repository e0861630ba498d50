"""Scores of a model of a category hierarchy: HDN's tables 1 to 3.

Every function takes a model with `parts`, of which the first is the root and
the others are the codes of levels 2 .. L, and a data set that
`tfdisent.data.hierarchy.arrange` made.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tfdisent import visualization
from tfdisent.data import hierarchy
from tfdisent.data import pipeline
from tfdisent.errors import InputError
from tfdisent.metrics.hierarchical_accuracy import hierarchical_accuracy
from tfdisent.metrics.retrieval_map import retrieval_map
from tfdisent.metrics.unseen_category import unseen_category
from trainers import callbacks
from trainers import hashing_baselines
from trainers import rundir
from trainers import train

SEED = 0  # Of the choice of images, where a split has more than are used.
# Principal components that stand for pixels, and images they are fitted to.
COMPONENTS, COMPONENT_IMAGES = 50, 2_000
# Leaves that the table names for an unseen one.
GOES_TO = 3
# Logit of a category that a classifier was never shown.
ABSENT = -1e6
BATCH = 100
# Images whose accuracies are followed during training (as many as the authors
# test on).
FOLLOWED = 500


class Codes(NamedTuple):
    """Codes of a split: float32 `[N, L - 1, d]` and nodes int `[N, L - 1]`."""

    values: np.ndarray
    nodes: np.ndarray


def some(split, most, seed=SEED):
    """At most so many images of a split, seeded, in random order."""
    chosen = np.random.default_rng(seed).permutation(len(split))[:most]
    return split.subset(chosen)


def level_names(model):
    """Names of the parts that are codes of levels, from level 2 on."""
    return list(model.parts)[1:]


def codes_of(model, split, paths, report=None):
    """`Codes` of every image of a split, in order; see `stacked_codes`."""
    return Codes(stacked_codes(model, split, report), paths[split.labels])


def stacked_codes(model, split, report=None):
    """R_2 .. R_L of every image of a split, float32 `[N, L - 1, d]`.

    Args:
      model: an HDN.
      split: a `Split`, labelled or not.
      report: as `train.encode_split` takes it.
    """

    def encode(image):
        parts = model.encode(image)
        return tf.stack([parts[name] for name in level_names(model)], axis=1)

    return train.encode_split(encode, split, model.image_shape, report)


# ---- table 1 -----------------------------------------------------------------


def classification(
    model,
    split,
    paths,
    parents,
    judge=None,
    generated=15_000,
    passes=None,
    report=None,
):
    """Accuracy of every level on test images and on recombined ones.

    Every image is paired with another, and every non-empty subset of levels
    takes its codes from there. A level's true category, and the siblings it is
    judged among, are those of the image that gave its code. The model's own
    classifiers answer, one for each scale of its critic, whose accuracies are
    averaged; and the judge, which never saw a generated image.

    Kept codes are easy, and donors often of the same category: a generator that
    ignores all codes gets more than half right. So "generated", the paper's
    number, stands beside "arrives", where a level's code is another category's,
    and "stays", where it is the image's own; and "unchanged" is what the images
    as they were would score with a perfect classifier, which takes the first of
    siblings that are all wrong.

    Args:
      model: an HDN.
      split: held-out images, in random order.
      paths: int `[leaves, L - 1]`.
      parents: for every level, int `[K_l]`.
      judge: images `[B, H, W, C]` -> logits `[B, leaves]`, or None.
      generated: recombined images, all subsets together, after which no
        further batch of test images is recombined.
      passes: what `compiled_passes` gave, where it is to be used again.
      report: called with (done, total) test images.

    Returns:
      {"own", with a judge "independent", "unchanged": {"test", "generated",
      "arrives" and "stays": {level: accuracy, None where no image is of the
      kind}}, "test_images", "generated_images"}.
    """
    levels = level_names(model)
    subsets = [
        np.array(s, bool)
        for s in itertools.product((False, True), repeat=len(levels))
        if any(s)
    ]
    pairs = max(1, generated // len(subsets))

    answer, encode, recombine = passes or compiled_passes(model, paths, judge)
    kinds = ("test", "generated", "arrives", "stays")
    tally = {kind: _Tally(parents) for kind in kinds}
    for batch in pipeline.in_order(split, model.image_shape, BATCH):
        nodes = paths[batch["label"].numpy()]
        unchanged = [
            tf.one_hot(nodes[:, level], len(above))[None]
            for level, above in enumerate(parents)
        ]
        given = answer(batch["image"]) | {"unchanged": unchanged}
        tally["test"].add(given, nodes)
        # The partner is the image at the same place from the end.
        if tally["generated"].images < pairs * len(subsets):
            parts = encode(batch["image"])
            for taken in subsets:
                image = recombine(parts, tf.constant(taken))
                donors = np.where(taken, nodes[::-1], nodes)
                given = answer(image) | {"unchanged": unchanged}
                tally["generated"].add(given, donors)
                tally["arrives"].add(given, donors, taken & (donors != nodes))
                tally["stays"].add(given, donors, ~taken & (donors == nodes))
        if report:
            report(tally["test"].images, len(split))
    found = {kind: t.accuracies(levels) for kind, t in tally.items()}
    return {
        name: {kind: found[kind][name] for kind in found}
        for name in found["test"]
    } | {f"{k}_images": tally[k].images for k in ("test", "generated")}


def compiled_passes(model, paths, judge=None):
    """Passes of `classification`, compiled: `(answer, encode, recombine)`."""
    # Partial functions: TensorFlow takes closures of one code for the same
    # function and warns of "retracing".
    return tuple(
        tf.function(
            functools.partial(function, *given),
            jit_compile=False,
            reduce_retracing=True,
        )
        for function, given in (
            (_answers, (model, paths, judge)),
            (model.encode, ()),
            (_recombined, (model,)),
        )
    )


def _answers(model, paths, judge, image):
    """{classifier: logits `[scales, B, K_l]` of every level}."""
    answers = {"own": model.classify(image)}
    if judge is not None:
        answers["independent"] = [
            level[None] for level in _node_logits(judge(image), paths)
        ]
    return answers


def _recombined(model, parts, taken):
    """Images with the codes of some levels from the batch read backwards."""
    mixed = {
        name: tf.where(taken[number], parts[name][::-1], parts[name])
        for number, name in enumerate(level_names(model))
    }
    return model.decode(**{**parts, **mixed})


def _node_logits(leaf_logits, paths):
    """A leaf classifier's logits at every level: `[B, leaves]` -> `[B, K_l]`.

    A category's probability is the sum of its leaves'. Siblings far below the
    winner are still told apart, which probabilities in float32 would not be.
    """
    return [
        tf.stack(
            [
                tf.reduce_logsumexp(
                    tf.gather(leaf_logits, np.flatnonzero(nodes == n), axis=1),
                    axis=1,
                )
                for n in np.unique(nodes)
            ],
            axis=1,
        )
        for nodes in paths.T
    ]


class _Tally:
    """Running accuracies of several classifiers."""

    def __init__(self, parents):
        self.parents, self.right, self.images = parents, {}, 0
        self.counts = np.zeros(len(parents))

    def add(self, answers, nodes, rows=None):
        """Counts {name: per level logits `[scales, B, K_l]`}.

        Args:
          answers: of some images.
          nodes: int `[B, L - 1]`, what is right.
          rows: bool `[B, L - 1]`, which images count at a level; all if None.
        """
        if rows is None:
            rows = np.ones(nodes.shape, bool)
        for name in answers:
            self.right.setdefault(name, np.zeros(len(self.parents)))
        for level, chosen in enumerate(rows.T):
            if not chosen.any():
                continue
            for name, logits in answers.items():
                few = [values.numpy()[:, chosen] for values in logits]
                scales = zip(*few, strict=True)
                share = np.mean(
                    [
                        hierarchical_accuracy(s, nodes[chosen], self.parents)
                        for s in scales
                    ],
                    axis=0,
                )[level]
                self.right[name][level] += chosen.sum() * share
        self.counts += rows.sum(axis=0)
        self.images += len(nodes)

    def accuracies(self, levels):
        """{name: {level: accuracy, None of no image}}."""
        return {
            name: {
                level: float(hits / count) if count else None
                for level, hits, count in zip(
                    levels, right, self.counts, strict=True
                )
            }
            for name, right in self.right.items()
        }


def score_event(model, split, paths, workdir, report=print):
    """The event that follows table 1 during training, on a few images.

    Args:
      model: an HDN.
      split: held-out images.
      paths: int `[leaves, L - 1]`.
      workdir: the run directory.
      report: called with a line of accuracies.

    Returns:
      `event(step)`, as `train.fit` takes it: the accuracies of the model's own
      classifiers go to TensorBoard, `accuracy/test_level2` and so on, by step
      to `accuracy.json`, and as curves to picture `accuracy`.
    """
    few = some(split, FOLLOWED)
    # Traced at the first event, not at each.
    passes = compiled_passes(model, paths)
    pictures = callbacks.Pictures(workdir)
    path = pathlib.Path(workdir) / "accuracy.json"

    def event(step):
        found = classification(
            model,
            few,
            paths,
            model.parents,
            generated=FOLLOWED,
            passes=passes,
        )["own"]
        shares = {
            f"{kind} {level}": share
            for kind in ("test", "generated")
            for level, share in found[kind].items()
        }
        for name, share in shares.items():
            name = f"accuracy/{name.replace(' ', '_')}"
            tf.summary.scalar(name, share, step=step)
        known = {}
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
        known[str(step)] = shares
        rundir.write_json(path, known)
        curves = {
            name: [(int(s), known[s][name]) for s in sorted(known, key=int)]
            for name in shares
        }
        pictures.write(
            "accuracy",
            step,
            visualization.curves(
                curves, "step", f"accuracy, {len(few)} held-out images"
            ),
        )
        shown = "  ".join(
            f"{name} {share:.3f}" for name, share in shares.items()
        )
        report(f"step {step:,}: accuracy {shown}  ({len(few)} images)")

    return event


# ---- table 2 -----------------------------------------------------------------


def retrieval(database, queries, hashed, features):
    """Mean average precision of every level, for all codes.

    The code of level l is that of all levels down to it, R_2 .. R_l, each
    number by its spread in the database, as are a hashing network's numbers.
    HDN's bits say which of these are positive, a hashing network's which of
    its numbers are.

    Args:
      database, queries: `Codes` of training and of test images.
      hashed: {row: a `(database, queries)` for every level}, numbers whose
        signs are bits.
      features: {row: `(database, queries)`}, to compare as they are.

    Returns:
      {"real" and "bits": {row: {"level2": mAP, ..}}}, rows in the order HDN,
      hashed, features.
    """
    scores = {
        "real": {row: {} for row in ("HDN", *hashed, *features)},
        "bits": {row: {} for row in ("HDN", *hashed)},
    }
    for level in range(database.nodes.shape[1]):
        own = _scaled(
            *(
                codes.values[:, : level + 1].reshape(len(codes.values), -1)
                for codes in (database, queries)
            )
        )
        found = {n: levels[level] for n, levels in hashed.items()}
        real = {n: _scaled(*both) for n, both in found.items()}
        tables = {
            "real": {"HDN": own} | real | features,
            "bits": {"HDN": own} | found,
        }
        labels = queries.nodes[:, level], database.nodes[:, level]
        # A small database may lack what a query asks for.
        known = np.isin(*labels)
        if not known.any():
            continue
        for kind, rows in tables.items():
            bits = kind == "bits"
            for row, (stored, asked) in rows.items():
                scores[kind][row][f"level{level + 2}"] = retrieval_map(
                    asked[known] > 0 if bits else asked[known],
                    labels[0][known],
                    stored > 0 if bits else stored,
                    labels[1],
                    distance="hamming" if bits else "euclidean",
                )
    return scores


def _scaled(stored, asked):
    """Both in units of the spread of the first, around its mean."""
    scaler = StandardScaler().fit(stored)
    return scaler.transform(stored), scaler.transform(asked)


def pixel_components(splits, shape):
    """Principal components of pixels: what needs no training to speak of.

    Args:
      splits: the database, whose first images the components are of, and
        others.
      shape: of the images to compare.

    Returns:
      A list of float32 `[N, COMPONENTS]`, one a split.
    """
    few = splits[0].subset(np.arange(min(len(splits[0]), COMPONENT_IMAGES)))
    flat = train.encode_split(_flat, few, shape)
    found = PCA(min(COMPONENTS, *flat.shape), random_state=SEED)
    with threadpool_limits(1):  # TensorFlow's threads are there already.
        found.fit(flat)
    mean = tf.constant(found.mean_, tf.float32)
    axes = tf.constant(found.components_.T, tf.float32)
    return [
        train.encode_split(
            lambda image: tf.matmul(_flat(image) - mean, axes), split, shape
        )
        for split in splits
    ]


def _flat(images):
    return tf.reshape(images, [-1, np.prod(images.shape[1:])])


# ---- table 3 -----------------------------------------------------------------


def linear_classifiers(codes, parents):
    """A logistic regression among the siblings under every node.

    That is what one dense layer a level, softmax within siblings, is when it
    is fitted to its optimum: no logit is shared between two groups. Weights
    of standardised codes have an L2 penalty of C = 1.

    Args:
      codes: `Codes` to learn from, all levels together.
      parents: for every level, int `[K_l]`.

    Returns:
      A function: values `[N, L - 1, d]` -> logits of every level.
    """
    flat = codes.values.reshape(len(codes.values), -1)
    scaler = StandardScaler().fit(flat)
    flat = scaler.transform(flat)
    fitted = []
    for level, nodes in enumerate(parents):
        groups = []
        for parent in np.unique(nodes):
            members = np.flatnonzero(nodes == parent)
            rows = np.isin(codes.nodes[:, level], members)
            # Of a small set there may be nothing to choose between.
            if len(np.unique(codes.nodes[rows, level])) > 1:
                classifier = LogisticRegression(max_iter=500, tol=1e-3)
                with threadpool_limits(1):
                    classifier.fit(flat[rows], codes.nodes[rows, level])
                groups.append(classifier)
        fitted.append(groups)

    def classify(values):
        flat = scaler.transform(values.reshape(len(values), -1))
        logits = []
        for nodes, groups in zip(parents, fitted, strict=True):
            level = np.full((len(values), len(nodes)), ABSENT)
            for classifier in groups:
                # Of two classes scikit-learn keeps the difference only.
                given = classifier.decision_function(flat)
                if given.ndim == 1:
                    given = np.stack([np.zeros_like(given), given], axis=1)
                level[:, classifier.classes_] = given
            logits.append(level)
        return logits

    return classify


def unseen(classify, seen, strange, parents, names):
    """How categories out of training are answered, beside seen ones.

    Seen leaves of other parents may be easier, or fewer: beside all of them
    stand those that share an unseen one's parent.

    Args:
      classify: see `linear_classifiers`.
      seen: `Codes` of test images of the tree.
      strange: {name: `Codes`} of unseen leaves, whose nodes stop above the
        leaves: int `[N, L - 2]`.
      parents: for every level, int `[K_l]`.
      names: for every level, one name a node.

    Returns:
      {name, "seen" or "seen in PARENT": {"parent_accuracy": one a level above
      the leaves, "leaf_entropy": nats (None where no parent is right),
      "goes_to": {leaf: share}, "images"}}; of "seen" also "accuracy", the
      cascade of all levels.
    """
    given = {"seen": Codes(seen.values, seen.nodes[:, :-1])}
    asked = [codes.nodes[:, -1] for codes in strange.values()]
    for node in np.unique(np.concatenate(asked)) if asked else ():
        rows = seen.nodes[:, -2] == node
        if rows.any():
            beside = Codes(seen.values[rows], seen.nodes[rows, :-1])
            given[f"seen in {names[-2][node]}"] = beside
    given |= strange
    found = {}
    for name, codes in given.items():
        result = unseen_category(classify(codes.values), codes.nodes, parents)
        shares = {
            leaf: float(share)
            for leaf, share in zip(names[-1], result.leaf_share, strict=True)
            if share > 0
        }
        found[name] = {
            "parent_accuracy": list(result.parent_accuracy),
            "leaf_entropy": None
            if np.isnan(result.leaf_entropy)
            else result.leaf_entropy,
            "goes_to": shares,
            "images": len(codes.values),
        }
    found["seen"]["accuracy"] = list(
        hierarchical_accuracy(
            classify(seen.values), seen.nodes, parents, cascade=True
        )
    )
    return found


def strange_codes(model, dataset, tree, most):
    """{name: `Codes`} of the unseen leaves whose parents are in the tree.

    Of several of one name, "unseen" is all of them together, table 3's column
    (bald in four branches).
    """
    split = dataset.splits.get("unseen")
    if split is None or tree.depth < 3:
        return {}
    split = some(split, most)
    values = stacked_codes(model, split)
    found = {}
    for name, number in dataset.unseen.items():
        rows = split.labels == number
        above = tree.path(name.rpartition("/")[0])
        if rows.any():
            nodes = np.tile(above, (int(rows.sum()), 1))
            found[name] = Codes(values[rows], nodes)
    if len(found) > 1 and len({n.rpartition("/")[2] for n in found}) == 1:
        together = zip(*found.values(), strict=True)
        found = {"unseen": Codes(*map(np.concatenate, together))} | found
    return found


# ---- all of them -------------------------------------------------------------


def evaluate(model, config, dataset, run, suffix=""):
    """Tables 1 to 3 of a trained model; plain data for metrics.json.

    Args:
      model: an HDN.
      config: its configuration.
      dataset: as arranged, with the tree that the model was trained on.
      run: the run directory, where the baselines' codes are kept.
      suffix: of the names of their files, where the data are not the run's.
    """
    tree = hierarchy.Tree(dataset.hierarchy)
    parents, paths = model.parents, tree.paths
    fit, test = train.training_splits(config, dataset, model.needs)
    if test is None:
        return {"hierarchy": {"tree": list(tree.names)}}
    splits = {**dataset.splits, "train": fit, "test": test}
    # Where settings are chosen, the test images stay out of it.
    source = unseen_source(dataset)
    if config.evaluation_split == "validation" and source == "test":
        del splits["unseen"]
    dataset = dataclasses.replace(dataset, splits=splits)
    judge = judge_of(model, config, dataset)
    most = config.eval_images
    test = some(test, most)
    asked = test.subset(np.arange(min(len(test), max(1, most // 2))))
    stored = some(fit, 6 * most)
    database, seen = (
        codes_of(model, images, paths, train.counter(f"codes of {name} images"))
        for name, images in (("training", stored), ("test", test))
    )
    queries = Codes(*(values[: len(asked)] for values in seen))
    hashed = hashing_baselines.rows(
        model, config, fit, (stored, asked), paths, run, suffix
    )
    pixels = pixel_components((stored, asked), model.image_shape)
    scores = {
        "classification": classification(
            model,
            test,
            paths,
            parents,
            judge and (lambda image: judge(image)[1]["label"]),
            generated=3 * most // 2,
            report=train.counter("accuracy by level"),
        ),
        "retrieval": retrieval(database, queries, hashed, {"pixels": pixels}),
    }
    if judge:
        scores["judge"] = {"name": judge.name, "accuracy": {**judge.accuracy}}
    if tree.depth > 2:
        scores["unseen"] = unseen(
            linear_classifiers(database, parents),
            seen,
            strange_codes(model, dataset, tree, most),
            parents,
            tree.names,
        )
    scores["protocol"] = {
        "levels": [list(names) for names in tree.names],
        "held_out": config.held_out,
        "unseen": source and f"{source} images, trained on by nobody",
        "generated": "all non-empty subsets of levels, one partner an image",
        "retrieval_database": len(stored),
        "retrieval_queries": len(asked),
        "retrieval_bits": [
            (level + 1) * model.style_dim for level in range(len(parents))
        ],
        "retrieval_real": "each number by its spread in the database; pixels "
        "as they are",
        "retrieval_thresholds": "HDN: the database's mean; others: 0",
        "retrieval_pixels": f"{COMPONENTS} principal components",
        "retrieval_relevant": "the same category at the level",
        "baseline_steps": config.baseline_steps,
        "baseline_batch": hashing_baselines.BATCH,
        "linear_classifier": "logistic regression among siblings, on all "
        "codes, standardised, C 1",
        "seed": SEED,
    }
    return {"hierarchy": scores}


def unseen_source(dataset):
    """The split that an arranged set's unseen leaves are out of, or None."""
    splits = dataset.splits
    if "unseen" not in splits:
        return None
    trained = splits["unseen"].split is splits["train"].split
    return "train" if trained else "test"


def check_tree(model, dataset, leaves=()):
    """Refuses a data set whose tree is not the one a model was trained on.

    Args:
      model: an HDN.
      dataset: as arranged.
      leaves: names of its leaves; empty where other data may name them
        otherwise.

    Raises:
      InputError: one line.
    """
    found = hierarchy.Tree(dataset.hierarchy).children
    if found != model.tree:
        shown = (",".join(map(str, tree)) for tree in (model.tree, found))
        trained, given = shown
        raise InputError(
            f"The model was trained on a tree of {trained} children; data set "
            f"{dataset.name!r} has one of {given}."
        )
    renamed = [
        f"{new!r}, was {old!r}"
        for new, old in zip(dataset.class_names, leaves, strict=False)
        if new != old
    ]
    if renamed:
        raise InputError(
            f"Categories of data set {dataset.name!r} are not those that the "
            f"model was trained on: {renamed[0]}. Name them as they were."
        )


def judge_of(model, config, dataset):
    """The data set's independent classifier of leaves, or None."""
    from trainers import judges

    if not config.judge_steps:
        return None
    # The settings of every other judge of a run: it is trained once.
    settings = judges.Settings(steps=config.judge_steps)
    return judges.of_dataset(dataset, model.image_shape, settings)


def table(scores):
    """The scores as lines for a terminal."""
    lines = []
    found = scores.get("classification")
    if found:
        kinds = ("test", "generated", "arrives", "stays")
        heads = "".join(f"{kind:>11}" for kind in kinds)
        lines.append(f"{'accuracy among siblings':<24}{heads}")
        for judge in ("own", "independent", "unchanged"):
            rows = found.get(judge, {})
            for level in rows.get("test", {}):
                shares = (rows[kind][level] for kind in kinds)
                shown = ("-" if s is None else f"{s:.4f}" for s in shares)
                cells = "".join(f"{share:>11}" for share in shown)
                lines.append(f"  {judge:<12} {level:<9}{cells}")
    for kind, rows in scores.get("retrieval", {}).items():
        for name, levels in rows.items():
            shown = "  ".join(f"{k} {v:.4f}" for k, v in levels.items())
            lines.append(f"retrieval mAP, {kind:<4} {name:<8} {shown}")
    for name, row in scores.get("unseen", {}).items():
        parents = " ".join(f"{a:.4f}" for a in row["parent_accuracy"])
        entropy = row["leaf_entropy"]
        shown = "-" if entropy is None else f"{entropy:.4f} nats"
        line = f"{name}: parents right {parents}, leaf entropy {shown}"
        if "accuracy" in row:
            line += f", leaves right {row['accuracy'][-1]:.4f}"
        else:
            most = sorted(row["goes_to"].items(), key=lambda to: -to[1])
            line += "".join(
                f", {share:.2f} to {leaf}" for leaf, share in most[:GOES_TO]
            )
        lines.append(line)
    return lines
