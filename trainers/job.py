"""A whole job: backbone where one is needed, training, pictures, scores."""

import contextlib
import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tfdisent import models
from tfdisent.data import hierarchy
from tfdisent.data import pipeline
from tfdisent.errors import InputError
from trainers import callbacks
from trainers import config as configuration
from trainers import evaluate
from trainers import hierarchy_pictures
from trainers import hierarchy_scores
from trainers import rundir
from trainers import strategy as strategies
from trainers import train

# What --quick leaves of a data set: classes of a few-shot split, images of
# any other.
QUICK_CLASSES = 40
QUICK_IMAGES = 1_000


def run(
    config,
    workdir,
    data_dir=None,
    strategy="auto",
    backbone=None,
    quick=False,
):
    """Trains to `config.steps`, draws pictures, scores; resumes by itself.

    Args:
      config: a configuration dataclass.
      workdir: the run directory.
      data_dir: where TFDS keeps prepared data.
      strategy: a `--strategy` name.
      backbone: for models that need one, a run directory or a SavedModel; a
        run of its own in `workdir/backbone` when None.
      quick: use a small part of the data set.

    Returns:
      Text for the terminal: the table of scores and what to do next.

    Raises:
      InputError: anything the user can mend.
    """
    strategies.prepare_devices()
    strategy = strategies.choose(strategy)
    if slower := strategies.slower_here(config.precision):
        print(slower, flush=True)
    workdir = pathlib.Path(workdir)
    needs = models.get(config.model).needs
    if backbone is not None and "backbone" not in needs:
        raise InputError(
            f"--backbone={backbone}: --model={config.model} stands on none."
        )
    dataset = train.load_data(config, data_dir)
    if quick:
        dataset = small(dataset)

    def events(model):
        if "hierarchy" in needs and strategies.is_chief(strategy):
            hierarchy_pictures.draw_tree(dataset, workdir)
        return [
            *drawing(model, config, dataset, workdir),
            *scoring(model, config, dataset, workdir),
        ]

    given = (config, workdir, dataset)
    chief = strategies.is_chief(strategy)
    with rundir.alone(workdir) if chief else contextlib.nullcontext():
        if "backbone" in needs:
            plug = plug_backbone(*given, strategy, backbone)
            trained = train.train_on_codes(*given, plug, strategy, events)
        elif "episodes" in needs:
            trained = train.train_on_episodes(*given, strategy, events)
        else:
            trained = train.train_images(*given, strategy, events)
        model, seconds = trained
        if not chief:
            return ""
        return finish(model, config, dataset, workdir, seconds, quick)


def finished(config, workdir):
    """Whether a run is complete, scores and all.

    Args:
      config: what is asked for.
      workdir: the run directory.

    Raises:
      InputError: it belongs to a run of another configuration.
    """
    stored = rundir.read_scores(workdir)
    if not stored:
        return False
    before, _ = rundir.read_config(workdir)
    rundir.agreed(workdir, train.counted_as(config, before))
    return _complete(stored) and stored["step"] >= config.steps


def _complete(scores):
    """Whether a run wrote them when it ended, not somebody before."""
    return {"step", "training_seconds"} <= set(scores)


def clean_up():
    """Gives back what a run in this process kept: graphs and variables."""
    keras.utils.clear_session(free_memory=True)


def drawing(model, config, dataset, workdir):
    """The picture events of a run, as `train.fit` takes them."""
    if not hasattr(model, "parts"):
        # A classifier of episodes has nothing to decode.
        return []
    _, split = train.training_splits(config, dataset, model.needs)
    split = split or dataset.splits["train"]
    draw = callbacks.picture_events(
        model,
        split,
        workdir,
        config.traversal_steps,
        config.traversal_span or None,
        dataset.class_names,
    )
    events = [(config.image_every, draw)]
    if "hierarchy" in model.needs:
        tree = hierarchy_pictures.picture_event(model, dataset, workdir)
        events.append((config.image_every, tree))
    # Of one image, whatever its label: levels are what a ladder has.
    levels = len(model.groups) > 1 and not model.takes_label
    if model.posterior is not None and levels:
        ends = [*model.stage_ends, config.steps]
        ask = callbacks.stage_events(
            model,
            dataset.grid or split,
            workdir,
            ends,
            config.information_images,
            evaluate.report,
        )
        events.append((min(ends), ask))
    return events


def scoring(model, config, dataset, workdir):
    """The score events of a run, as `train.fit` takes them."""
    events = []
    if "hierarchy" in model.needs:
        _, split = train.training_splits(config, dataset, model.needs)
        if split is not None:
            paths = hierarchy.Tree(dataset.hierarchy).paths
            events.append(
                hierarchy_scores.score_event(model, split, paths, workdir)
            )
    images = hasattr(model, "parts") and not {"backbone", "episodes"} & (
        model.needs
    )
    if images and dataset.factor_names:
        events.append(callbacks.score_event(model, dataset, evaluate.report))
    period = config.score_every
    return [(period, event) for event in events if event and period]


def plug_backbone(config, workdir, dataset, strategy, named):
    """The frozen backbone of a run, trained first where none is named.

    Raises:
      InputError: a backbone that cannot be used, or another one than the run
        began with; and what would stop the run itself after an hour of the
        backbone's training.
    """
    own = workdir / "backbone"
    few_shot_images = train.few_shot_splits(config, dataset)[0]
    train.episode_sampler(config, few_shot_images, dataset.class_names)
    rundir.agreed(workdir, config)
    if named is not None:
        # Read before it is copied: what cannot be used is not kept.
        found = rundir.load_backbone(named, config.backbone_range)
        example = few_shot_images.take([0])["image"]
        pipeline.fit_images(example, found.image_shape)
        rundir.copy_backbone(named, own)
        known = [rundir.backbone_identity(path) for path in (named, own)]
        if known[0] != known[1]:
            raise InputError(
                f"{str(workdir)!r} has another backbone than {str(named)!r}. "
                "Name another --workdir."
            )
    elif not _finished(own):
        print(
            f"Training the backbone ({config.backbone_model}) first.",
            flush=True,
        )
        train.train_images(
            backbone_configuration(config),
            own,
            dataclasses.replace(dataset, splits={"train": few_shot_images}),
            strategy,
        )
    return rundir.load_backbone(own, config.backbone_range)


def backbone_configuration(config):
    """The configuration of the backbone that a run trains for itself.

    Raises:
      InputError: no such model, or one that needs more than images.
    """
    model_class = models.get(config.backbone_model)
    usable = not model_class.needs and not model_class.takes_label
    if not usable or not model_class.reconstructs:
        raise InputError(
            f"backbone_model={config.backbone_model}: FDEN needs a model of "
            "images alone, which encodes them to plain numbers and restores "
            "them from these."
        )
    return configuration.build(
        config.backbone_model,
        config.dataset,
        config.backbone_preset or "default",
        seed=config.seed,
        steps=config.backbone_steps or None,
        image_size=config.image_size,
        grey=config.grey,
    )


def _finished(backbone):
    """Whether a backbone is there: a run at its last step, or a SavedModel."""
    if (backbone / "saved_model.pb").exists():
        return True
    if not (backbone / "config.json").exists():
        return False
    config, _ = rundir.read_config(backbone)
    return (backbone / "checkpoints" / f"ckpt-{config.steps}.index").exists()


def small(dataset):
    """A data set cut for `--quick`: the first classes, random images.

    Of a factor grid nothing complete is left, so no score asks for all of it.
    """

    def few_classes(split):
        classes = np.unique(split.labels)[:QUICK_CLASSES]
        return split.subset(np.flatnonzero(np.isin(split.labels, classes)))

    def few_images(split):
        order = np.random.default_rng(0).permutation(len(split))
        return split.subset(np.sort(order[:QUICK_IMAGES]))

    return dataclasses.replace(
        dataset,
        splits={n: few_images(s) for n, s in dataset.splits.items()},
        grid=None,
        few_shot={n: few_classes(s) for n, s in dataset.few_shot.items()},
        description=f"{dataset.description}, cut for --quick",
    )


def finish(model, config, dataset, workdir, seconds, quick=False):
    """Scores and pictures of a trained model, and the words to print."""
    step = int(model.step.numpy())
    stored = rundir.read_scores(workdir, undefined=np.nan)
    if not _complete(stored) or stored["step"] != step:
        drawn = any((workdir / "images").glob(f"*-{step}.png"))
        logs = tf.summary.create_file_writer(str(workdir / "logs"))
        events = [
            *drawing(model, config, dataset, workdir),
            *scoring(model, config, dataset, workdir),
        ]
        for period, event in events:
            if not (drawn and period and step % period == 0):
                with logs.as_default(step=step):
                    event(step)
        logs.close()
        stored = evaluate.evaluate(workdir, dataset=dataset, quick=quick)
    memory = max(train.peak_memory(), stored.get("peak_memory_bytes", 0))
    evaluate.add_metrics(
        workdir,
        {"peak_memory_bytes": memory, "training_seconds": seconds},
    )
    return "\n".join(
        [
            evaluate.table(stored),
            f"peak memory {memory / 1e9:.2f} GB, training {seconds:,.0f} s",
            f"pictures: {workdir / 'images'}    scores: "
            f"{workdir / 'metrics.json'}",
            "Next: look with  tensorboard --logdir "
            f"{workdir}   export with  python -m export.run --run={workdir} "
            f"--output=models/{config.model}",
        ]
    )
