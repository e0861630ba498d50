"""The run directory: what a run writes, atomically, and reads back."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import tempfile

import keras
import tensorflow as tf

from tfdisent import models
from tfdisent.errors import InputError
from tfdisent.models.backbone import SavedModelBackbone
from trainers import config as configuration

PACKAGES = (
    "keras",
    "numpy",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "tensorflow-probability",
)
KEPT_CHECKPOINTS = 2
# What TensorFlow raises for checkpoints that are cut short, overwritten or of
# another model.
UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError)


def write_atomically(path, content):
    """Writes text or bytes under a temporary name, then renames.

    Raises:
      OSError: nothing of an older file is lost then.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; these are the user's to share.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path, value):
    """Plain data as JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def versions():
    """{package: version} of what numbers depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def read_scores(run, name="metrics.json", undefined=None):
    """What metrics.json of a run says; {} without one.

    Args:
      run: the run directory.
      name: of the file.
      undefined: what stands for NaN, which a score may be but JSON may not.

    Raises:
      InputError: the file is damaged.
    """
    path = pathlib.Path(run) / name
    if not path.exists():
        return {}
    try:
        return json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=lambda _: undefined,
        )
    except ValueError as error:
        raise InputError(
            f"{str(path)!r} is damaged ({error}); remove it to score again."
        ) from error


def read_config(run):
    """`(config, image_shape)` of a run directory.

    Raises:
      InputError: it is none, or its config.json cannot be read.
    """
    path = pathlib.Path(run) / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        config = configuration.from_dict(stored["config"])
        return config, tuple(stored["image_shape"])
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{str(run)!r} is no run directory (it has no config.json)."
        ) from None
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} is damaged: {error!r}.") from error


def agreed(workdir, config):
    """The configuration of a run in a directory; nothing is written.

    Args:
      workdir: the run directory.
      config: of the run about to start.

    Returns:
      The configuration: as stored, where it stops as asked for.

    Raises:
      InputError: the directory belongs to a run of another configuration.
    """
    workdir = pathlib.Path(workdir)
    asked = configuration.to_dict(config)
    if (workdir / "config.json").exists():
        stored = configuration.to_dict(read_config(workdir)[0])
        ignored = set(configuration.FREE_FIELDS)
        if not stored["leaves"]:
            # Of an earlier version, which kept the shape of the tree alone.
            ignored.add("leaves")
        if not asked["schedule_steps"]:
            ignored.add("schedule_steps")
            asked["schedule_steps"] = stored["schedule_steps"]
        differing = [
            f"{key} {stored[key]!r} there, {value!r} asked for"
            for key, value in asked.items()
            if key not in ignored and stored.get(key) != value
        ]
        if differing:
            raise InputError(
                f"{str(workdir)!r} belongs to a run of another configuration "
                f"({'; '.join(differing)}). Name another --workdir."
            )
    elif not asked["schedule_steps"]:
        asked["schedule_steps"] = asked["steps"]
    return configuration.from_dict(asked)


def claim(workdir, config, image_shape):
    """Makes the directory this run's, or finds that it already is.

    Args:
      workdir: the run directory.
      config: of the run about to start.
      image_shape: the model's.

    Returns:
      The configuration of the run, as `agreed` has it.

    Raises:
      InputError: the directory belongs to a run of another configuration.
    """
    config = agreed(workdir, config)
    write_json(
        pathlib.Path(workdir) / "config.json",
        {
            "config": configuration.to_dict(config),
            "image_shape": list(image_shape),
            "versions": versions(),
        },
    )
    return config


@contextlib.contextmanager
def alone(workdir):
    """Holds a run directory against other processes while it is written.

    Args:
      workdir: the run directory; made when there is none, and removed again
        when nothing was put there.

    Raises:
      InputError: another process holds it.
    """
    workdir = pathlib.Path(workdir)
    made = not workdir.exists()
    workdir.mkdir(parents=True, exist_ok=True)
    handle = os.open(workdir, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            # Not every file system has locks; then nobody is kept out.
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{str(workdir)!r} is in use by another process. Wait for "
                    "it, or name another --workdir."
                ) from None
        yield
    finally:
        os.close(handle)
        if made:
            with contextlib.suppress(OSError):
                # Only an empty directory can be removed so.
                workdir.rmdir()


class Checkpoints:
    """The newest checkpoints of a run; a damaged one falls back to the last.

    Args:
      model: a compiled model; its optimizers are part of it.
      directory: `checkpoints/` of the run.
      keep: whether this process writes there. Every worker must save where
        there are several, and all restore what the chief wrote: the others
        write to a temporary directory.

    Attributes:
      seconds: training time so far, over all sittings.
    """

    def __init__(self, model, directory, keep=True):
        self.model = model
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.checkpoint = tf.train.Checkpoint(
            weights=weights(model),
            optimizers={
                name: [v.value for v in optimizer.variables]
                for name, optimizer in model.optimizer_of.items()
            },
            seconds=self.seconds,
        )
        self.manager = manager(self.checkpoint, directory)
        self.writer = self.manager
        if not keep:
            # Removed when this process ends.
            self.elsewhere = tempfile.TemporaryDirectory()
            self.writer = manager(self.checkpoint, self.elsewhere.name)

    def save(self):
        """Writes the state of this step.

        Raises:
          InputError: the disk is full or gone; older checkpoints stay.
        """
        try:
            self.writer.save(checkpoint_number=int(self.model.step.numpy()))
        except (tf.errors.OpError, OSError) as error:
            self._remove_unfinished()
            # TensorFlow's own words start with the operation's name.
            reason = str(error).splitlines()[0].rpartition("; ")[2]
            raise InputError(
                f"Cannot write a checkpoint to {self.writer.directory}: "
                f"{reason}. Older checkpoints are intact; "
                "free some space and give the same command again."
            ) from error

    def restore(self, report=print):
        """Restores the newest readable checkpoint.

        Args:
          report: called with a line for every damaged one.

        Returns:
          Whether there was one.

        Raises:
          InputError: there are checkpoints, but none can be read.
        """
        self._remove_unfinished()
        if not written(self.manager.directory):
            return False
        if not restore_newest(self.checkpoint, self.manager.directory, report):
            raise InputError(
                f"No checkpoint in {self.manager.directory} can be read. "
                "Remove the directory to start again."
            )
        return True

    def _remove_unfinished(self):
        """What a full disk or a kill left of a checkpoint on its way."""
        for left in pathlib.Path(self.writer.directory).glob("ckpt-*_temp"):
            shutil.rmtree(left, ignore_errors=True)


def weights(model):
    """The model's variables in order, as a checkpoint holds them.

    Named by position: Keras' lists and dictionaries of layers are invisible
    to `tf.train.Checkpoint`, which would leave them out without a word.
    """
    return [v.value for v in model.variables]


def manager(checkpoint, directory):
    """The manager of a run's `checkpoints/`, which keeps the newest few.

    TensorFlow's list of them, a file of its own, is written anew from what is
    there: one that was damaged or lost would start the run again.
    """
    paths = [pathlib.Path(path) for path in written(directory)]
    if paths:
        lines = [f'model_checkpoint_path: "{paths[0].name}"']
        for path in paths[::-1]:
            when = path.with_suffix(".index").stat().st_mtime
            lines += [
                f'all_model_checkpoint_paths: "{path.name}"',
                f"all_model_checkpoint_timestamps: {when}",
            ]
        write_atomically(paths[0].parent / "checkpoint", "\n".join(lines))
    return tf.train.CheckpointManager(
        checkpoint, str(directory), max_to_keep=KEPT_CHECKPOINTS
    )


def written(directory):
    """Paths of the checkpoints in a directory, the newest first."""
    numbers = (
        re.fullmatch(r"ckpt-(\d+)\.index", path.name)
        for path in pathlib.Path(directory).glob("ckpt-*.index")
    )
    newest = sorted((int(n[1]) for n in numbers if n), reverse=True)
    return [str(pathlib.Path(directory) / f"ckpt-{n}") for n in newest]


def restore_newest(checkpoint, directory, report):
    """Restores the newest readable checkpoint.

    Args:
      checkpoint: what to restore.
      directory: where they are.
      report: called with a line for every damaged one.

    Returns:
      Whether one could be read.
    """
    for path in written(directory):
        try:
            status = checkpoint.restore(path)
            status.assert_existing_objects_matched().expect_partial()
            return True
        except UNREADABLE as error:
            reason = str(error).strip().splitlines()[0][:120]
            report(
                f"Checkpoint {path} is damaged ({reason}); trying the one "
                "before."
            )
    return False


def build_model(config, image_shape, backbone=None):
    """A new model as the configuration says, weights seeded.

    Args:
      config: a configuration dataclass.
      image_shape: the model's.
      backbone: where the model needs one.

    Raises:
      InputError: the constructor refuses a value, or values together.
    """
    keras.utils.set_random_seed(config.seed)
    arguments = configuration.model_arguments(config)
    model_class = models.get(config.model)
    if "backbone" in model_class.needs:
        arguments["backbone"] = backbone
    else:
        arguments["image_shape"] = image_shape
    try:
        return model_class(**arguments)
    except ValueError as error:
        raise InputError(f"--model={config.model}: {error}") from error


def load_model(run, report=print):
    """The trained model of a run directory, in float32, ready to encode.

    Args:
      run: a run directory.
      report: called with a line for every damaged checkpoint, and for a run
        that has not come to its end.

    Returns:
      The model.

    Raises:
      InputError: no run there, or none of its checkpoints can be read.
    """
    run = pathlib.Path(run)
    config, image_shape = read_config(run)
    backbone = None
    if "backbone" in models.get(config.model).needs:
        backbone = load_backbone(run / "backbone", config.backbone_range)
    model = build_model(config, image_shape, backbone)
    checkpoint = tf.train.Checkpoint(weights=weights(model))
    if not restore_newest(checkpoint, run / "checkpoints", report):
        raise InputError(f"{str(run)!r} has no readable checkpoint yet.")
    step = int(model.step.numpy())
    if step < config.steps:
        report(f"{run} is at step {step:,} of {config.steps:,} so far.")
    return model


def load_parts_model(run):
    """`load_model` for what works on named parts.

    Raises:
      InputError: as `load_model`; the model has none.
    """
    model = load_model(run)
    if not getattr(model, "parts", None):
        raise InputError(
            f"{str(run)!r} holds a {type(model).__name__}, which has no named "
            "parts to encode to or decode from."
        )
    return model


def load_backbone(path, value_range=(0.0, 1.0)):
    """A frozen encoder and decoder: a run directory or any SavedModel.

    Args:
      path: directory with `config.json` or `saved_model.pb`.
      value_range: pixel range of a foreign SavedModel.

    Raises:
      InputError: neither, or a model FDEN cannot be plugged into.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").exists():
        return SavedModelBackbone(path, value_range)
    if not (path / "config.json").exists():
        raise InputError(
            f"Backbone {str(path)!r} is neither a run directory (config.json) "
            "nor a SavedModel (saved_model.pb)."
        )
    backbone = load_parts_model(path)
    unusable = [n for n, shape in backbone.parts.items() if len(shape) != 1]
    if backbone.takes_label or unusable:
        raise InputError(
            f"Backbone {str(path)!r}: FDEN needs a code of plain numbers from "
            f"an image alone; this model has "
            f"{'a label' if backbone.takes_label else ', '.join(unusable)}."
        )
    if not backbone.reconstructs:
        raise InputError(
            f"Backbone {str(path)!r}: its codes do not restore an image, which "
            "FDEN needs."
        )
    return backbone


def backbone_identity(path):
    """What tells backbones apart: plain data, equal for equal ones.

    Of a run its configuration, wherever it stopped; of a SavedModel its files.

    Args:
      path: as `load_backbone` takes it.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").exists():
        files = [path / "saved_model.pb", *sorted(path.glob("variables/*"))]
        return {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }
    config, image_shape = read_config(path)
    fields = configuration.to_dict(config)
    kept = set(fields) - set(configuration.FREE_FIELDS)
    return {k: fields[k] for k in kept} | {"image_shape": image_shape}


def copy_backbone(source, target):
    """Copies what `load_backbone` reads, atomically.

    Of a run directory only its configuration and checkpoints; a SavedModel
    whole.
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(dir=target.parent))
    names = ("config.json", "checkpoints", "backbone")
    if (source / "saved_model.pb").exists():
        names = [p.name for p in source.iterdir()]
    try:
        for name in names:
            origin = source / name
            if origin.is_dir():
                shutil.copytree(origin, temporary / name)
            elif origin.exists():
                shutil.copy2(origin, temporary / name)
        temporary.chmod(0o755)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
