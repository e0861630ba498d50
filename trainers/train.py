"""The training loop: one function, from a configuration to a trained model."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import resource
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from tfdisent import data
from tfdisent import models
from tfdisent.data import augment
from tfdisent.data import hierarchy
from tfdisent.data import pipeline
from tfdisent.data.base import held_out
from tfdisent.data.episodes import EpisodeSampler
from tfdisent.errors import InputError
from trainers import rundir
from trainers import strategy as strategies

# Images from which a model takes its fixed statistics (`adapt`).
ADAPT_IMAGES = 10_000
# What of the training images is held out to choose settings by.
VALIDATION_SHARE = 0.1
# Cached codes and in-order passes are computed in batches of this size.
ENCODE_BATCH = 500


def load_data(config, data_dir=None):
    """The data set of a run, at the size and in the channels asked for.

    Labels are leaves where the model needs a hierarchy.
    """
    options = {}
    if config.hierarchy:
        options["hierarchy"] = config.hierarchy
    if config.image_size:
        options["size"] = config.image_size
    if config.grey:
        options["grey"] = True
    dataset = data.load(config.dataset, data_dir, report=print, **options)
    if "hierarchy" in models.get(config.model).needs:
        return hierarchy.arrange(dataset, config.held_out)
    return dataset


def model_shape(model_class, image_shape):
    """The image shape a model works at for images of this shape.

    The smallest side it declares that does not shrink the images, else its
    largest.
    """
    height, width, channels = image_shape
    sides = getattr(model_class, "image_sides", None)
    if not sides:
        return tuple(image_shape)
    fitting = [s for s in sides if s >= max(height, width)]
    side = min(fitting) if fitting else max(sides)
    return (side, side, channels)


def training_splits(config, dataset, needs):
    """`(train, test)`: what a run fits and what it is scored on.

    Raises:
      InputError: a model of episodes or labels on a data set without
        classes, or validation classes where there are none.
    """
    if "episodes" in needs:
        return few_shot_splits(config, dataset)
    train, test = dataset.splits["train"], dataset.splits.get("test")
    if "label" in needs and (train.labels is None or not dataset.num_classes):
        raise InputError(
            f"Model {config.model!r} trains on labelled images, and data set "
            f"{dataset.name!r} has no labels."
        )
    if config.evaluation_split == "validation":
        parts = held_out(train, VALIDATION_SHARE)
        train, test = parts["train"], parts.get("test")
    return train, test


def few_shot_splits(config, dataset):
    """`(train, test)` with disjoint classes; see `training_splits`."""
    if not dataset.few_shot:
        raise InputError(
            f"Data set {dataset.name!r} has no classes to draw episodes from; "
            "few-shot models need labels of at least 4 classes."
        )
    train = dataset.few_shot["train"]
    if config.evaluation_split == "test":
        return train, dataset.few_shot["test"]
    if "validation" not in dataset.few_shot:
        raise InputError(f"Data set {dataset.name!r} has no validation split.")
    validation = dataset.few_shot["validation"]
    held_out = np.isin(train.labels, np.unique(validation.labels))
    return train.subset(np.flatnonzero(~held_out)), validation


def encode_split(encode, split, image_shape, report=None, change=None):
    """Codes of every image of a split, in order.

    Args:
      encode: images `[B, H, W, C]` -> `[B, n]`.
      split: a `Split`.
      image_shape: what `encode` takes.
      report: called with (done, total) now and then.
      change: `(images, batch number) -> images`, done before encoding.

    Returns:
      float32 `[N, n]`.
    """
    # A partial function: TensorFlow takes closures of one code for the same
    # function and warns of "retracing" when several splits are encoded.
    step = tf.function(
        functools.partial(_encoded, encode, change),
        jit_compile=False,
        reduce_retracing=True,
    )
    codes, done = [], 0
    batches = pipeline.in_order(split, image_shape, ENCODE_BATCH)
    for number, batch in enumerate(batches):
        codes.append(step(batch["image"], tf.constant(number)).numpy())
        done += len(codes[-1])
        if report:
            report(done, len(split))
    return np.concatenate(codes)


def _encoded(encode, change, images, number):
    return encode(change(images, number) if change else images)


def jitter(seed, copy):
    """The change that makes jittered copy `copy`; None for copy 0."""
    if not copy:
        return None
    key = tf.constant([seed, copy])
    return lambda images, number: augment.jitter(
        images, tf.random.fold_in(key, number)
    )


class Cache:
    """Codes of a split, computed once and kept in the run directory."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def get(self, name, compute, rows=None):
        """The stored array of this name, or a computed one that is stored.

        Args:
          name: of the array.
          compute: () -> array.
          rows: how many it must have: images may have come or gone since, and
            labels would then be those of others. Any number when None.
        """
        path = self.directory / f"{name}.npy"
        if path.exists():
            with contextlib.suppress(ValueError, OSError, EOFError):
                array = np.load(path, allow_pickle=False)
                if rows in (None, len(array)):
                    return array
        array = compute()
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=self.directory, suffix=".partial.npy"
        )
        os.close(handle)
        try:
            np.save(temporary, array)
            # mkstemp makes files private; others may share the directory.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise
        return array


class Progress:
    """Lines with rate and time left.

    Args:
      total: steps of the run.
      per_step: images or episodes a step.
      unit: their name.
      write: where lines go.
    """

    def __init__(self, total, per_step, unit="images", write=None):
        self.total, self.per_step, self.unit = total, per_step, unit
        self.write = write or (lambda line: print(line, flush=True))
        self.last = None

    def __call__(self, step, scalars):
        now = time.perf_counter()
        rate = ""
        if self.last and step > self.last[0]:
            speed = (step - self.last[0]) / max(1e-9, now - self.last[1])
            left = (self.total - step) / speed
            hours, rest = divmod(int(left), 3600)
            rate = (
                f"  {speed:.1f} steps/s  {speed * self.per_step:,.0f} "
                f"{self.unit}/s  {hours}:{rest // 60:02d}:{rest % 60:02d} left"
            )
        self.last = (step, now)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in scalars.items())
        self.write(f"step {step:,}/{self.total:,}{rate}  {shown}")


def multi_step(model, strategy):
    """A compiled function that trains several steps in a row.

    Returns:
      `(iterator, count) -> int64`, the steps done: fewer than `count` where
      the loss stopped being finite.
    """

    @tf.function(jit_compile=False)
    def run(iterator, count):
        done = tf.constant(0, tf.int64)
        finite = tf.constant(True)
        while finite and done < count:
            logs = strategy.run(model.train_step, args=(next(iterator),))
            # One decision for all replicas, or they would wait for ever.
            values = [
                strategy.reduce("SUM", value, axis=None)
                for value in logs.values()
            ]
            finite = tf.reduce_all(
                tf.math.is_finite(
                    tf.stack([tf.cast(v, tf.float32) for v in values])
                )
            )
            done += 1
        return done

    return run


def fit(
    model,
    make_batches,
    config,
    workdir,
    strategy=None,
    events=(),
    progress=None,
):
    """Trains a compiled model from its step to `config.steps`.

    Args:
      model: compiled in the strategy's scope.
      make_batches: `(start, input_context) -> tf.data.Dataset`.
      config: `steps`, `log_every`, `checkpoint_every` are read.
      workdir: the run directory.
      strategy: a `tf.distribute` strategy, the current one when None.
      events: `(period, function(step))` pairs, called at multiples of their
        period.
      progress: a `Progress`.

    Returns:
      Training seconds of the whole run, all sittings together.

    Raises:
      InputError: the loss stopped being finite (the message names the step),
        a checkpoint cannot be written, or none can be read.
    """
    workdir = pathlib.Path(workdir)
    strategy = strategy or tf.distribute.get_strategy()
    chief = strategies.is_chief(strategy)
    with strategy.scope():
        checkpoints = rundir.Checkpoints(model, workdir / "checkpoints", chief)
        restored = checkpoints.restore()
    step = int(model.step.numpy())
    if not restored and step == 0:
        checkpoints.save()
    if step >= config.steps:
        return float(checkpoints.seconds.numpy())
    if step and progress:
        progress.write(f"going on from step {step:,} of {config.steps:,}")
    logs = tf.summary.create_noop_writer()
    if chief:
        logs = tf.summary.create_file_writer(str(workdir / "logs"))
    iterator = iter(
        strategy.distribute_datasets_from_function(
            lambda context: make_batches(step, context)
        )
    )
    run = multi_step(model, strategy)
    periods = [config.log_every, config.checkpoint_every]
    periods += [period for period, _ in events if period]
    started = time.perf_counter()
    while step < config.steps:
        until = min(p * (step // p + 1) for p in periods)
        count = min(until, config.steps) - step
        with pipeline.input_errors():
            done = int(run(iterator, tf.constant(count, tf.int64)))
        step += done
        scalars = {n: float(t.result()) for n, t in model.trackers.items()}
        saves = step % config.checkpoint_every == 0 or step == config.steps
        bad = [n for n, v in scalars.items() if not np.isfinite(v)]
        if not bad and saves and not finite_weights(model):
            # A loss shows it one step later only.
            bad = ["weights"]
        if bad:
            kept = checkpoints.manager.latest_checkpoint
            raise InputError(
                f"{', '.join(bad)} became NaN or infinite at step {step}. The "
                f"last good checkpoint is {kept}; try a smaller learning_rate "
                "or another --seed in another --workdir."
            )
        if step % config.log_every == 0 or step == config.steps:
            if progress:
                progress(step, scalars)
            with logs.as_default(step=step):
                for name, value in scalars.items():
                    tf.summary.scalar(f"train/{name}", value)
            for tracker in model.trackers.values():
                tracker.reset_state()
        now = time.perf_counter()
        checkpoints.seconds.assign_add(now - started)
        for period, event in events:
            if chief and period and step % period == 0:
                with logs.as_default(step=step):
                    event(step)
        # Last: a run that is killed while it draws comes back before that.
        if saves:
            checkpoints.save()
        started = time.perf_counter()
    logs.flush()
    return float(checkpoints.seconds.numpy())


def finite_weights(model):
    """Whether every weight of a model is a finite number."""
    return all(np.all(np.isfinite(v.numpy())) for v in model.variables)


def peak_memory():
    """Largest resident size of this process so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def train_images(config, workdir, dataset, strategy, events=lambda model: ()):
    """Trains a model of images; returns it with its training seconds."""
    model_class = models.get(config.model)
    train, test = training_splits(config, dataset, model_class.needs)
    shape = model_shape(model_class, dataset.image_shape)
    config = rundir.agreed(workdir, counted(config, dataset, train))
    print(described(dataset, train, test, shape), flush=True)
    with strategy.scope(), precision(config.precision):
        model = rundir.build_model(config, shape)
        model.compile()
    # What cannot be built leaves no directory behind.
    rundir.claim(workdir, config, shape)
    adapt_to(model, train, shape)
    seconds = fit(
        model,
        lambda start, context: pipeline.batches(
            train, config.batch_size, shape, config.seed, start, context
        ),
        config,
        workdir,
        strategy,
        events(model),
        Progress(config.steps, config.batch_size),
    )
    return model, seconds


def described(dataset, train, test, shape):
    """What a run has: images, those held out, classes, the model's size."""
    words = [f"{len(train):,} images to train on"]
    if test is not None:
        words.append(f"{len(test):,} held out")
    if dataset.num_classes:
        words.append(f"{dataset.num_classes:,} classes")
    sides = ["x".join(map(str, s)) for s in (dataset.image_shape, shape)]
    words.append(sides[0])
    if sides[1] != sides[0]:
        words.append(f"fitted to the model's {sides[1]}")
    return f"{dataset.name}: {', '.join(words)}"


def train_on_episodes(
    config, workdir, dataset, strategy, events=lambda model: ()
):
    """Trains a model of episodes of images; returns it with its seconds."""
    train, _ = few_shot_splits(config, dataset)
    shape = model_shape(models.get(config.model), dataset.image_shape)
    config = rundir.agreed(workdir, config)
    sampler = episode_sampler(config, train, dataset.class_names)
    with strategy.scope(), precision(config.precision):
        model = rundir.build_model(config, shape)
        model.compile()
    rundir.claim(workdir, config, shape)
    seconds = fit(
        model,
        lambda start, context: sampler.batches(
            lambda rows: train.take(rows)["image"],
            config.batch_size,
            start,
            context,
        ),
        config,
        workdir,
        strategy,
        events(model),
        Progress(config.steps, config.batch_size, "episodes"),
    )
    return model, seconds


def episode_sampler(config, split, class_names, copies=1):
    """Episodes as the configuration wants them.

    Raises:
      InputError: too few classes, or a class with too few images.
    """
    return EpisodeSampler(
        split.labels,
        config.ways,
        config.shots,
        config.queries,
        seed=config.seed,
        class_names=class_names,
        copies=copies,
    )


def counted(config, dataset, train):
    """The configuration with what only the data can say, where it is asked.

    How many images the training split has (`data_size`), unless set; how many
    classes there are (`num_classes`); their hierarchy (`tree`, `leaves`).
    """
    known = {}
    if getattr(config, "data_size", None) == 0:
        known["data_size"] = len(train)
    if hasattr(config, "num_classes"):
        known["num_classes"] = dataset.num_classes
    if hasattr(config, "tree"):
        known["tree"] = hierarchy.Tree(dataset.hierarchy).children
        known["leaves"] = tuple(dataset.class_names)
    return dataclasses.replace(config, **known)


def counted_as(config, before):
    """`counted` by what an earlier run of the same data found."""
    open_fields = [n for n in ("num_classes", "tree") if hasattr(config, n)]
    open_fields.append("leaves")
    if getattr(config, "data_size", None) == 0:
        open_fields.append("data_size")
    return dataclasses.replace(
        config, **{n: getattr(before, n, None) for n in open_fields}
    )


def adapt_to(model, train, shape):
    """Lets a new model take its statistics from a part of the training set."""
    some = train.spread(ADAPT_IMAGES)
    batches = pipeline.in_order(some, shape, ENCODE_BATCH)
    model.adapt(image for b in batches for image in b["image"].numpy())


def train_on_codes(
    config, workdir, dataset, backbone, strategy, events=lambda model: ()
):
    """Trains a model of episodes of a frozen backbone's codes.

    Returns:
      `(model, seconds)`.
    """
    train, _ = few_shot_splits(config, dataset)
    config = rundir.agreed(workdir, config)
    sampler = episode_sampler(
        config, train, dataset.class_names, 1 + config.jitters
    )
    with strategy.scope(), precision(config.precision):
        model = rundir.build_model(config, backbone.image_shape, backbone)
        model.compile()
    rundir.claim(workdir, config, backbone.image_shape)
    cache = Cache(pathlib.Path(workdir) / "cache")
    codes = [
        cache.get(
            f"train-{config.evaluation_split}-{copy}",
            lambda copy=copy: encode_split(
                model.codes,
                train,
                backbone.image_shape,
                counter("encoding with the backbone"),
                jitter(config.seed, copy),
            ),
            len(train),
        )
        for copy in range(1 + config.jitters)
    ]
    model.adapt(codes[0])
    codes = np.concatenate(codes)
    seconds = fit(
        model,
        lambda start, context: sampler.batches(
            codes.__getitem__, config.batch_size, start, context
        ),
        config,
        workdir,
        strategy,
        events(model),
        Progress(config.steps, config.batch_size, "episodes"),
    )
    return model, seconds


def counter(what, unit="images"):
    """A report of (done, total) that prints rate and time left.

    Args:
      what: is being done.
      unit: of what is counted.

    Returns:
      `report(done, total)`; it prints about every ten seconds, and at the end.
    """
    started = last = time.perf_counter()

    def report(done, total):
        nonlocal last
        now = time.perf_counter()
        if now - last > 10 or done == total:
            last = now
            rate = done / max(1e-9, now - started)
            left = (total - done) / rate
            print(
                f"{what}: {done:,}/{total:,}  {rate:,.0f} {unit}/s  "
                f"{left:,.0f} s left",
                flush=True,
            )

    return report


@contextlib.contextmanager
def precision(name):
    """Builds models under a Keras dtype policy and puts the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
