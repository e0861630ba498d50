"""Scores of a trained model, each with its protocol.

    python -m trainers.evaluate --run=runs/beta_vae-sprites-0
    python -m trainers.evaluate --run=RUN --metrics=mig,dci_10000
    python -m trainers.evaluate --run=RUN --dataset=dsprites
    python -m trainers.evaluate --model=SAVED_MODEL --dataset=sprites
    python -m trainers.evaluate --codes=codes.npz

Every model is scored by its losses on held-out images. Where factors are
known, one pass over the images gives the codes that all scores are computed
from, with an untrained encoder and the pixels' principal components beside
them. Few-shot models are scored on episodes of unseen classes. Results go to
`metrics.json` of the run and to `images/`, the codes to `codes.npz`; of a
SavedModel or an .npz (`factors` [N, K], `codes` [N, D], optional `stddevs`,
`factor_names`) they are printed, and kept where --output says.
"""

import dataclasses
import io
import pathlib

import numpy as np

from tfdisent.errors import InputError
from trainers import command
from trainers import scores as code_scores

# Held-out images on which losses and image errors are averaged.
LOSS_IMAGES = 10_000
# Images of the likelihood's bounds, each decoded 64 times.
BOUND_IMAGES = 500
# Beside the scores of codes, what else --metrics can name.
OTHERS = ("losses", "bounds", "swaps", "samples", "structure", "hierarchy")
UNTRAINED, PCA = "untrained encoder", "PCA"
# Of the whole run, whatever step its scores are of.
KEPT_SCORES = ("peak_memory_bytes",)


# ---- runs --------------------------------------------------------------------


def evaluate(run, data_dir=None, dataset=None, names=None, quick=False):
    """Scores a run and adds them to its metrics.json.

    Args:
      run: a run directory with a checkpoint.
      data_dir: where TFDS keeps prepared data.
      dataset: the `Dataset`, or the name of another one than the run's own,
        whose scores go to `metrics-NAME.json`; loaded as the run's
        configuration says when None.
      names: of `scores.SCORES` and `OTHERS`; None for the usual ones.
      quick: do without what takes long.

    Returns:
      The scores.

    Raises:
      InputError: no run there, its data cannot be had, or none of the scores
        asked for exist for it.
    """
    from trainers import few_shot_scores
    from trainers import rundir
    from trainers import train

    run = pathlib.Path(run)
    config, _ = rundir.read_config(run)
    suffix = ""
    if isinstance(dataset, str):
        if dataset != config.dataset:
            suffix = "-" + dataset.replace(":", "-").replace("/", "-")
        config = dataclasses.replace(config, dataset=dataset)
        dataset = None
    dataset = dataset or train.load_data(config, data_dir)
    model = rundir.load_model(run)
    step = int(model.step.numpy())
    if step in getattr(model, "stage_ends", ())[:-1]:
        # A stage that only begins has learned nothing; pictures are of the one
        # before, too.
        model.step.assign(step - 1)
    if getattr(model, "takes_label", False):
        (classes,) = model.parts["label"]
        if (dataset.num_classes or 0) > classes:
            raise InputError(
                f"{str(run)!r} holds a model of {classes} classes; data set "
                f"{dataset.name!r} has {dataset.num_classes}."
            )
    if "hierarchy" in model.needs:
        from trainers import hierarchy_scores

        hierarchy_scores.check_tree(
            model, dataset, () if suffix else config.leaves
        )
    if names and {"backbone", "episodes"} & model.needs:
        raise InputError(
            f"--metrics={','.join(names)}: {config.model} is scored on "
            "episodes; leave --metrics out."
        )
    if "backbone" in model.needs:
        scores = few_shot_scores.evaluate_factors(
            model, config, dataset, run, suffix
        )
    elif "episodes" in model.needs:
        scores = few_shot_scores.evaluate_episodes(model, config, dataset)
    else:
        chosen = ("losses", *code_scores.CHEAP) if quick else names
        scores = evaluate_images(model, config, dataset, run, chosen, suffix)
    if "hierarchy" in model.needs and (names is None or "hierarchy" in names):
        scores |= hierarchy_scores.evaluate(model, config, dataset, run, suffix)
    elif names and "hierarchy" in names:
        scores["hierarchy"] = {"absent": "the model has no hierarchy"}
    if hasattr(model, "parts") and not quick:
        scores |= judged(model, config, dataset, names)
    if names and not quick:
        if not dataset.factor_names:
            reason = f"data set {dataset.name!r} has no known factors"
            against_factors = [n for n in names if n not in OTHERS]
            scores |= {n: {"absent": reason} for n in against_factors}
        check_asked(names, scores)
    scores["dataset"] = dataset.description
    scores["step"] = step
    scores["seed"] = config.seed
    scores["versions"] = rundir.versions()
    add_metrics(run, scores, f"metrics{suffix}.json")
    return scores


def evaluate_images(model, config, dataset, run, names=None, suffix=""):
    """Scores of a model of images.

    Args:
      model: trained.
      config: of the run.
      dataset: a `Dataset`.
      run: the run directory; codes and pictures are written to it.
      names: see `evaluate`.
      suffix: of the names of files; empty for the run's own data set.

    Returns:
      Plain data for metrics.json; {"absent": reason} in place of what was
      asked for, or is usual, and does not exist.
    """
    from trainers import encoders
    from trainers import label_scores
    from trainers import likelihood
    from trainers import train

    scores = {}
    fit, test = train.training_splits(config, dataset, model.needs)
    # Of a grid that was trained on as a whole, `test` is a part; another data
    # set was not trained on.
    held_out = bool(suffix) or (test is not None and fit is not dataset.grid)
    if test is not None and (names is None or "losses" in names):
        scores |= losses(model, test, held_out)
    if not hasattr(model, "parts"):
        return scores
    if names is None and label_scores.applies(model, dataset, test):
        scores |= label_scores.scores(model, dataset, fit, test)
    if model.graph is not None and (names is None or "structure" in names):
        scores |= follows_structure(model, config, dataset, run, suffix)
    elif names and "structure" in names:
        absent = "the model has no structure over its latents"
        scores["structure"] = {"absent": absent}
    if names is None or "bounds" in names:
        if model.posterior is None:
            found = {"absent": "the model has no posterior"}
        elif model.log_likelihood is None:
            found = {"absent": "the model has no likelihood"}
        else:
            found = likelihood.evidence_bounds(
                model,
                (fit if test is None else test).spread(BOUND_IMAGES),
                report=train.counter("bounds of the likelihood"),
            ) | {"held_out": held_out}
        scores["bounds"] = found
    encoder = encoders.of_model(model)
    wanted = names and tuple(n for n in names if n not in OTHERS)
    if encoder is None or wanted == ():
        return scores
    if wanted and not dataset.factor_names:
        # There is nothing to score codes against.
        return scores
    controls = {}
    if dataset.factor_names:
        controls[UNTRAINED] = encoders.untrained(run, fit, model.step)
        controls[PCA] = principal_components(encoder, dataset)
    found, pictures, sample = score_encoder(
        {config.model: encoder} | controls, dataset, wanted
    )
    drawn = drawn_matrices(pictures)
    keep_pictures(run, drawn, int(model.step.numpy()), suffix)
    keep_codes(pathlib.Path(run) / f"codes{suffix}.npz", sample)
    return scores | found


def follows_structure(model, config, dataset, run, suffix=""):
    """Whether codes follow the structure of their model, drawn too.

    Args:
      model: a `PartsModel` with a `graph`.
      config: of the run.
      dataset: a `Dataset`.
      run: the run directory, for picture `structure_correlations`.
      suffix: of its name.

    Returns:
      {"structure": plain data for metrics.json}.
    """
    from tfdisent import visualization
    from trainers import structure_scores

    judge = None
    if not no_judge(config, dataset):
        judge = independent_judge(
            model, config, judged_on(model, config, dataset)
        )
    scores = structure_scores.of_model(model, dataset, judge)
    found = scores["structure"]
    drawn = {
        "structure": found["reencoded"]["expected"],
        "samples, encoded again": found["reencoded"]["correlations"],
        "codes of images": found["images"]["correlations"],
    }
    names = found["names"]
    picture = visualization.stack(
        [
            visualization.matrix(matrix, names, names, title, least=-1)
            for title, matrix in drawn.items()
        ]
    )
    step = int(model.step.numpy())
    keep_pictures(run, {"structure_correlations": picture}, step, suffix)
    return scores


def judged_on(model, config, dataset):
    """The data set that judges learn from and look at.

    Where settings are chosen, the test images stay out of it.
    """
    from trainers import train

    if config.evaluation_split == "test":
        return dataset
    fit, test = train.training_splits(config, dataset, model.needs)
    splits = {"train": fit} | ({} if test is None else {"test": test})
    return dataclasses.replace(dataset, splits=splits)


def judged(model, config, dataset, names=None):
    """What an independent classifier sees in a model's swaps and samples.

    Args:
      model: a `PartsModel`.
      config: of the run.
      dataset: a `Dataset`; without classes and factors there is no judge,
        nor where some of the test images' classes are among the training
        images' and some are not.
      names: see `evaluate`.

    Returns:
      {"swaps": `judges.swap_judge`, "samples": `judges.sample_scores`}, each
      {"absent": reason} where it does not exist.
    """
    from trainers import judges

    asked = [n for n in ("swaps", "samples") if not names or n in names]
    dataset = judged_on(model, config, dataset)
    if reason := no_judge(config, dataset):
        return {name: {"absent": reason} for name in asked}
    scores = {}
    if "swaps" in asked:
        units = len(model.units)
        if not names and units > code_scores.WIDE:
            # Of hundreds of single entries none is a unit that anybody names.
            found = {
                "absent": f"takes long for {units} units; ask for it with "
                "--metrics=swaps"
            }
        else:
            judge = independent_judge(model, config, dataset)
            _, images = judges.independent_splits(dataset)
            found = judges.swap_judge(model, judge, images)
        scores["swaps"] = found
    if "samples" in asked:
        if model.sample is None:
            found = {"absent": "the model has no prior to draw from"}
        else:
            judge = judges.for_samples(
                dataset, model.image_shape, **judge_options(config)
            )
            try:
                found = judges.sample_scores(model, dataset, judge)
            except InputError as error:
                found = {"absent": str(error)}
        scores["samples"] = found
    return scores


def no_judge(config, dataset):
    """Why a run has no judge, or an empty text."""
    if not (dataset.num_classes or dataset.factor_names):
        return "the data set has neither classes nor factors for a judge"
    if not one_set_of_classes(dataset):
        return "a judge knows some of the test images' classes, and not all"
    return "" if config.judge_steps else "no judge: judge_steps is 0"


def one_set_of_classes(dataset):
    """Whether all test images are of training classes, or none of them is."""
    train, test = (dataset.splits.get(name) for name in ("train", "test"))
    if test is None or test.labels is None:
        return True
    seen = np.isin(test.labels, train.labels)
    return bool(seen.all() or not seen.any())


def judge_options(config):
    """How a run's judges are trained, for `judges.of_dataset`."""
    from trainers import judges

    settings = judges.Settings(steps=config.judge_steps)
    return {"settings": settings, "report": report}


def independent_judge(model, config, dataset):
    """The classifier of a data set, at a model's image shape."""
    from trainers import judges

    return judges.of_dataset(
        dataset, model.image_shape, **judge_options(config)
    )


def losses(model, split, held_out):
    """Mean losses and image errors of a model on a split.

    Args:
      model: a `StepModel`.
      split: a `Split`; at most `LOSS_IMAGES` of its images are taken.
      held_out: whether the model was not trained on it.

    Returns:
      {"held_out" or "training_images": {loss: mean}, "protocol"}; of a model
      that reconstructs, the sum of squared pixel errors of an image is among
      them.
    """
    import tensorflow as tf

    from tfdisent.data import pipeline
    from trainers import train

    @tf.function(jit_compile=False, reduce_retracing=True)
    def step(batch):
        found = dict(model.evaluate_batch(batch))
        if getattr(model, "reconstructs", False):
            label = (batch["label"],) if model.takes_label else ()
            restored = model.decode(**model.encode(batch["image"], *label))
            error = tf.square(restored - batch["image"])
            error = tf.reduce_sum(error, axis=[1, 2, 3])
            found["squared_error"] = tf.reduce_mean(error)
        return found

    sums, done, shown = {}, 0, split.spread(LOSS_IMAGES)
    report = train.counter("losses")
    for batch in pipeline.in_order(shown, model.image_shape):
        count = len(batch["image"])
        for name, value in step(batch).items():
            sums[name] = sums.get(name, 0.0) + count * float(value)
        done += count
        report(done, len(shown))
    return {
        "held_out" if held_out else "training_images": {
            name: total / done for name, total in sums.items()
        },
        "protocol": {"images": done},
    }


def principal_components(encoder, dataset):
    """As many principal components of the images as an encoder has codes."""
    from trainers import encoders

    return encoders.principal_components(
        dataset.grid or dataset.splits["train"],
        encoder.image_shape,
        len(encoder.names),
    )


# ---- codes -------------------------------------------------------------------


def score_encoder(rows, dataset, names=None):
    """Codes of a data set, scored where its factors are known.

    The images are the complete grid where a score needs it, else a sample
    of it or of the training split: these scores ask how codes follow factors,
    and the papers ask it of all images.

    Args:
      rows: {name: `encoders.Encoder`}; the first is the model, the others its
        controls.
      dataset: a `Dataset`.
      names: of `scores.SCORES`; None for the usual ones.

    Returns:
      `(scores, pictures, sample)`: plain data for metrics.json, {name:
      (matrix `[D, K]`, code names, factor names)}, and the arrays of
      `codes.npz`.
    """
    from trainers import encoders
    from trainers import train

    model = next(iter(rows.values()))
    split = dataset.grid
    if split is None:
        known = dataset.splits.get("test") if not dataset.factor_names else None
        split = known or dataset.splits["train"]
    fit, test = chosen = code_scores.split_rows(len(split))
    whole = dataset.grid is not None and code_scores.wants_grid(
        names, posterior=not model.no_posterior
    )
    if not whole:
        split = split.subset(np.concatenate(chosen))
        fit, test = np.split(np.arange(len(split)), [len(fit)])
    tables, factors = encoders.encode(
        rows, split, train.counter("encoding for the scores")
    )
    means, stddevs = next(iter(tables.values()))
    sample = {"codes": means[fit], "code_names": np.array(model.names)}
    sample["rows"] = chosen[0]
    scores, pictures = {}, {}
    if stddevs is not None:
        sample["stddevs"] = stddevs[fit]
        scores["alive"] = code_scores.alive_codes(
            sample["codes"], sample["stddevs"], model.names
        )
    elif names is None:
        scores["alive"] = {"absent": model.no_posterior}
    if not dataset.factor_names:
        return scores, pictures, sample
    sizes = np.array(dataset.factor_sizes)
    varied = code_scores.varied_factors(dataset)
    factor_names = tuple(dataset.factor_names[k] for k in varied)
    factors = factors[:, varied]
    arrays = {
        name: code_scores.Codes(
            factors=factors,
            means=means,
            stddevs=stddevs,
            factor_names=factor_names,
            code_names=rows[name].names,
            groups=tuple(rows[name].parts.values()),
            grid_sizes=tuple(sizes[varied].tolist()) if whole else None,
            train=fit,
            test=test,
        )
        for name, (means, stddevs) in tables.items()
    }
    sample |= {
        "factors": factors[fit],
        "factor_names": np.array(factor_names),
    }
    scores["disentanglement"], matrices = code_scores.score_rows(
        arrays, names, report, model.no_posterior
    )
    scores["disentanglement"]["protocol"]["constant_factors"] = [
        name for name in dataset.factor_names if name not in factor_names
    ]
    return scores, named(matrices, arrays), sample


def score_saved_model(
    path, dataset, names=None, value_range=(0.0, 1.0), data_dir=None
):
    """Scores of any SavedModel with an `encode` signature.

    An untrained encoder cannot be had of it; PCA stands beside it.

    Args:
      path: directory of the SavedModel.
      dataset: name of a data set with known factors.
      names: of `scores.SCORES`; None for the usual ones.
      value_range: `(low, high)` of the pixels it takes.
      data_dir: where TFDS keeps prepared data.

    Returns:
      `(scores, pictures)` as `score_encoder`.

    Raises:
      InputError: a model or data set that cannot be used.
    """
    from tfdisent import data
    from trainers import encoders

    encoder = encoders.of_saved_model(path, value_range)
    loaded = data.load(dataset, data_dir, report=print)
    if not loaded.factor_names:
        raise InputError(
            f"Data set {dataset!r} has no known factors to score codes against."
        )
    rows = {str(path): encoder, PCA: principal_components(encoder, loaded)}
    scores, pictures, _ = score_encoder(rows, loaded, names)
    return scores | {"dataset": loaded.description}, pictures


def score_codes(path, names=None):
    """Scores of an .npz of codes that were made elsewhere.

    Args:
      path: a file with `factors` int `[N, K]` and `codes` float `[N, D]`, row
        i of both from image i, in any order; optional `stddevs` `[N, D]` of
        the posterior, `factor_names` `[K]` and `code_names` `[D]`.
      names: of `scores.SCORES`; None for the usual ones.

    Returns:
      `(scores, pictures)` as `score_encoder`.

    Raises:
      InputError: a file or arrays that cannot be used; one line.
    """
    from tfdisent.data.arrays import read_npz
    from tfdisent.data.factors import positions_on_grid
    from tfdisent.metrics import validate

    keys = ("codes", "factors", "stddevs", "factor_names", "code_names")
    stored = read_npz(path, keys)
    if "factors" not in stored:
        raise InputError(f"{str(path)!r} has no array 'factors'.")
    try:
        factors, codes = validate.factors_and_codes(
            stored["factors"], stored["codes"]
        )
        stddevs = stored.get("stddevs")
        if stddevs is not None:
            codes, stddevs = validate.posterior(codes, stddevs)
    except ValueError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    dense = np.stack(
        [np.unique(v, return_inverse=True)[1] for v in factors.T], axis=-1
    )
    sizes = tuple(int(n) for n in dense.max(axis=0) + 1)
    order = None
    if len(dense) == np.prod(np.array(sizes, object)):
        order = positions_on_grid(dense, sizes)
    if order is not None:
        dense, codes = dense[order], codes[order]
        stddevs = None if stddevs is None else stddevs[order]
    train_rows, test_rows = code_scores.split_rows(len(dense))
    rows = {
        pathlib.Path(path).name: code_scores.Codes(
            factors=dense,
            means=codes,
            stddevs=stddevs,
            factor_names=_names(stored, "factor_names", "v", dense, path),
            code_names=_names(stored, "code_names", "z", codes, path),
            groups=(codes.shape[1],),
            grid_sizes=None if order is None else sizes,
            train=train_rows,
            test=test_rows,
        )
    }
    reason = "there are no 'stddevs' in the file"
    found, matrices = code_scores.score_rows(rows, names, report, reason)
    scores = {"disentanglement": found}
    if stddevs is not None:
        scores["alive"] = code_scores.alive_codes(
            codes, stddevs, next(iter(rows.values())).code_names
        )
    elif names is None:
        scores["alive"] = {"absent": reason}
    return scores, named(matrices, rows)


def _names(stored, key, letter, columns, path):
    """Names of columns, as stored or made up."""
    count = columns.shape[1]
    names = stored.get(key, np.array([f"{letter}[{i}]" for i in range(count)]))
    if names.shape != (count,):
        raise InputError(
            f"{str(path)!r}: {key} must be {count} names. Received shape "
            f"{names.shape}."
        )
    return tuple(str(name) for name in names)


def check_asked(names, scores):
    """Refuses an evaluation that came to nothing.

    Args:
      names: that were asked for.
      scores: that were found.

    Raises:
      InputError: not one score; the message says why.
    """
    codes = scores.get("disentanglement", {"conventions": {}, "absent": {}})
    absent = code_scores.absences(scores)
    if codes["conventions"] or set(scores) - {"disentanglement", *absent}:
        return
    absent = codes["absent"] | absent
    reasons = [f"{name}: {why}" for name, why in absent.items()]
    raise InputError(
        f"--metrics={','.join(names)}: none of them exists here "
        f"({'; '.join(reasons) or 'the model has no such thing'})."
    )


def named(matrices, rows):
    """{picture: (matrix, code names, factor names)} of the first row."""
    first = next(iter(rows.values()))
    return {
        name: (matrix, first.code_names, first.factor_names)
        for name, matrix in matrices.items()
    }


def report(line):
    print(line, flush=True)


# ---- files -------------------------------------------------------------------


def add_metrics(run, values, name="metrics.json"):
    """Merges values into a run's metrics.json, atomically.

    They join what is there of the same step; scores of another step go.
    """
    from trainers import rundir

    stored = rundir.read_scores(run, name, undefined=np.nan)
    if stored.get("step") != values.get("step", stored.get("step")):
        stored = {k: stored[k] for k in KEPT_SCORES if k in stored}
    if "disentanglement" in values and stored.get("step") == values.get("step"):
        values = values | {
            "disentanglement": _joined(
                stored.get("disentanglement"), values["disentanglement"]
            )
        }
    rundir.write_json(pathlib.Path(run) / name, stored | values)


def _joined(old, new):
    """Scores of codes of one step, from two evaluations."""
    if old is None or any(
        old["protocol"][key] != new["protocol"][key]
        for key in ("factors", "codes", "train_rows", "test_rows", "seed")
    ):
        return new
    rows = {
        row: old["rows"].get(row, {}) | values
        for row, values in new["rows"].items()
    }
    computed = [*dict.fromkeys(old["computed"] + new["computed"])]
    absent = old["absent"] | new["absent"]
    return new | {
        "rows": rows,
        "computed": computed,
        "conventions": old["conventions"] | new["conventions"],
        "absent": {n: w for n, w in absent.items() if n not in computed},
    }


def keep_pictures(folder, pictures, step=0, suffix=""):
    """Writes {name: picture} to `images/` of a folder and to TensorBoard."""
    if not pictures:
        return
    import tensorflow as tf

    from trainers import callbacks

    written = callbacks.Pictures(folder)
    logs = tf.summary.create_file_writer(str(pathlib.Path(folder) / "logs"))
    with logs.as_default(step=step):
        for name, picture in pictures.items():
            written.write(name + suffix, step, picture)
    logs.close()


def drawn_matrices(matrices):
    """{name: picture} of {name: (matrix, codes, factors)}."""
    from tfdisent import visualization

    return {
        name: visualization.matrix(*matrix, TITLES.get(name, name))
        for name, matrix in matrices.items()
    }


TITLES = {
    "information": "I(z_j; v_k) / H(v_k), codes in 20 bins",
    "importance": "importance of codes for factors (boosted trees)",
    "aggregate_information": "I(z_j; v_k) / H(v_k), aggregated posterior",
}


def keep_codes(path, arrays):
    """Writes an .npz, atomically: what `--codes` and `compare` read."""
    from trainers import rundir

    stream = io.BytesIO()
    np.savez(stream, **arrays)
    rundir.write_atomically(path, stream.getvalue())


# ---- words -------------------------------------------------------------------


def table(scores):
    """The scores as lines for a terminal."""
    lines, absent = [], code_scores.absences(scores)
    scores = {n: found for n, found in scores.items() if n not in absent}
    if "few_shot" in scores:
        from trainers import few_shot_scores

        lines += few_shot_scores.table(scores)
    if "disentanglement" in scores:
        lines += code_scores.table(scores["disentanglement"])
    if "alive" in scores:
        lines.append(code_scores.alive_line(scores["alive"]))
    for kind, words in (("held_out", "held-out"), ("training_images", "seen")):
        for name, value in scores.get(kind, {}).items():
            lines.append(f"{words} {name}: {value:.4g}")
    bounds = scores.get("bounds")
    if bounds:
        lines.append(
            f"log p(x) of {bounds['images']} "
            f"{'held-out' if bounds['held_out'] else 'seen'} images, nats: "
            f"ELBO {bounds['elbo']:.2f} +- {bounds['elbo_error']:.2f}, "
            f"importance-weighted ({bounds['samples']} samples) "
            f"{bounds['importance_weighted']:.2f} +- "
            f"{bounds['importance_weighted_error']:.2f}"
        )
    if "class_probe" in scores:
        from trainers import label_scores

        lines += label_scores.lines(scores)
    if "hierarchy" in scores:
        from trainers import hierarchy_scores

        lines += hierarchy_scores.table(scores["hierarchy"])
    if "structure" in scores:
        from trainers import structure_scores

        lines += structure_scores.table(scores)
    if "swaps" in scores:
        from trainers import judges

        lines.append(judges.swap_table(scores["swaps"]))
    if "samples" in scores:
        lines += sample_lines(scores["samples"])
    return "\n".join(lines + code_scores.absent_lines(absent))


def sample_lines(found):
    """What `judges.sample_scores` gave, as lines for a terminal."""
    images, others = found["images"]
    lines = [
        f"{images:,} samples and {others:,} real images seen by the "
        f"{found['judge']}; in brackets other training images for samples"
    ]
    best = found["training_images"]
    for name, value in found.items():
        if name.endswith("inception_score"):
            shown = ", ".join(
                f"{head} {v['mean']:.2f} +- {v['std']:.2f} "
                f"({best[name][head]['mean']:.2f})"
                for head, v in value.items()
            )
            lines.append(f"  {name}: {shown}")
        elif name.endswith(("frechet_distance", "fid")):
            lines.append(f"  {name}: {value:.2f} ({best[name]:.2f})")
    return lines


# ---- the command -------------------------------------------------------------


def define_flags(flags):
    flags.DEFINE_string("run", None, "Run directory to score.")
    flags.DEFINE_string(
        "model",
        None,
        "SavedModel with an `encode` signature, in place of a run (trusted "
        "code).",
    )
    flags.DEFINE_string(
        "codes", None, ".npz with `factors` and `codes`, in place of a run."
    )
    flags.DEFINE_string(
        "dataset", None, "Data set; the run's own when not given."
    )
    flags.DEFINE_list(
        "metrics",
        [],
        f"Scores, or all: {', '.join((*code_scores.SCORES, *OTHERS))}. The "
        "usual ones when not given.",
    )
    flags.DEFINE_list(
        "pixel_range", ["0", "1"], "Range of the pixels --model takes."
    )
    flags.DEFINE_string(
        "output", None, "Directory for the results of --model and --codes."
    )
    flags.DEFINE_string(
        "data_dir", None, "Prepared TFDS data; TFDS_DATA_DIR when not given."
    )


def main(flags):
    given = [n for n in ("run", "model", "codes") if getattr(flags, n)]
    if len(given) != 1:
        raise InputError(
            "One of --run=DIRECTORY, --model=SAVED_MODEL and --codes=FILE is "
            f"needed; given: {', '.join(f'--{n}' for n in given) or 'none'}."
        )
    names = code_scores.parse_names(flags.metrics, OTHERS if flags.run else ())
    if flags.dataset:
        from tfdisent import data

        data.check(flags.dataset)
    if flags.run:
        found = evaluate(flags.run, flags.data_dir, flags.dataset, names)
        print(table(found))
        return
    if flags.output and (pathlib.Path(flags.output) / "config.json").exists():
        raise InputError(
            f"--output={flags.output} is a run; its scores are its own."
        )
    if flags.codes:
        if flags.dataset:
            raise InputError("--codes has its factors; leave --dataset out.")
        scores, pictures = score_codes(flags.codes, names)
    else:
        if not flags.dataset:
            raise InputError("--model needs --dataset=NAME.")
        scores, pictures = score_saved_model(
            flags.model,
            flags.dataset,
            names,
            pixel_range(flags.pixel_range),
            flags.data_dir,
        )
    if names:
        check_asked(names, scores)
    print(table(scores))
    if flags.output:
        from trainers import rundir

        source = str(flags.codes or flags.model)
        scores |= {"source": source, "versions": rundir.versions()}
        # Older scores there may be of other codes: none of them stays.
        path = pathlib.Path(flags.output) / "metrics.json"
        rundir.write_json(path, scores)
        keep_pictures(flags.output, drawn_matrices(pictures))
        print(f"kept in {flags.output}")
    else:
        print("--output=DIRECTORY keeps these numbers and draws the matrices.")


def pixel_range(texts):
    """`(low, high)` of a --pixel_range.

    Raises:
      InputError: anything but two numbers.
    """
    try:
        low, high = (float(text) for text in texts)
    except ValueError:
        raise InputError(
            f"--pixel_range={','.join(texts)}: expected two numbers, as 0,1."
        ) from None
    return low, high


def console():
    command.run(main, define_flags)


if __name__ == "__main__":
    console()
