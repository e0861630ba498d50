"""Trains a model, scores it, draws it: one command, resumed by itself.

    python -m trainers.run --model=fden --dataset=omniglot
    python -m trainers.run --model=fden --dataset=digits --quick

The same line again resumes where a run stopped; on a finished run it prints
the result.
"""

import dataclasses
import pathlib

from tfdisent import data
from tfdisent import models
from tfdisent.errors import InputError
from trainers import command
from trainers import config as configuration

# What --quick makes of a run: everything once, nothing for long.
QUICK = {
    "steps": 20,
    "backbone_steps": 20,
    "log_every": 10,
    "checkpoint_every": 20,
    "image_every": 0,
    "eval_episodes": 100,
    "critic_steps": 50,
    "eval_images": 100,
    "baseline_steps": 2,
}


# Of models whose step is a long one.
QUICK_STEPS = {"hdn": 6}


def define_flags(flags):
    flags.DEFINE_string("model", None, "Model: " + ", ".join(models.MODELS))
    flags.DEFINE_string(
        "dataset",
        None,
        "Data set: "
        + ", ".join(sorted(data.DATASETS))
        + ", folder:PATH, npz:PATH",
    )
    flags.DEFINE_string("preset", "default", "Named settings.")
    flags.DEFINE_multi_string(
        "set", [], "key=value, any field of the configuration (see below)."
    )
    flags.DEFINE_string(
        "workdir", None, "Run directory; runs/MODEL-DATASET-SEED by default."
    )
    flags.DEFINE_integer("steps", None, "Where to stop.")
    flags.DEFINE_integer("seed", None, "Of weights, noise and data order.")
    flags.DEFINE_string(
        "strategy", "auto", "auto, single, mirrored or multiworker."
    )
    flags.DEFINE_string("precision", None, ", ".join(configuration.PRECISIONS))
    flags.DEFINE_string(
        "data_dir", None, "Prepared TFDS data; TFDS_DATA_DIR when not given."
    )
    flags.DEFINE_string(
        "backbone", None, "FDEN: a run directory or a SavedModel (trusted code)"
    )
    flags.DEFINE_bool("quick", False, "Everything once, within 45 seconds.")


def help_text():
    """Every field of every configuration with its default."""
    lines = [__doc__.strip(), "", "Fields of --set, with their defaults:"]
    common = configuration.describe(configuration.RunConfig)
    sections = {"every model": common}
    for name, kind in configuration.CONFIGS.items():
        own = configuration.describe(kind)
        sections[name] = {
            k: v for k, v in own.items() if common.get(k, object()) != v
        }
    for name, fields in sections.items():
        lines.append(f"  {name}:")
        lines += [f"    {k}={v!r}" for k, v in fields.items()]
    return "\n".join(lines)


def default_workdir(config):
    """`runs/MODEL-DATASET-SEED`, of names that are paths their last part."""
    names = [config.model, config.dataset]
    short = [n.rstrip("/").replace(":", "/").split("/")[-1] for n in names]
    return pathlib.Path("runs") / f"{short[0]}-{short[1]}-{config.seed}"


def main(flags):
    for name in ("model", "dataset"):
        if not getattr(flags, name):
            raise InputError(f"--{name}=NAME is needed; --help lists them.")
    data.check(flags.dataset)
    config = configuration.build(
        flags.model,
        flags.dataset,
        flags.preset,
        flags.set,
        steps=flags.steps,
        seed=flags.seed,
        precision=flags.precision,
    )
    if flags.quick:
        config = dataclasses.replace(config, **QUICK)
        steps = QUICK_STEPS.get(config.model, config.steps)
        config = dataclasses.replace(config, steps=steps)
    workdir = pathlib.Path(flags.workdir or default_workdir(config))
    # TensorFlow takes seconds to start; what is wrong above is said at once.
    from trainers import job

    result = job.run(
        config,
        workdir,
        data_dir=flags.data_dir,
        strategy=flags.strategy,
        backbone=flags.backbone,
        quick=flags.quick,
    )
    print(result)


def console():
    command.run(main, define_flags, help_text)


if __name__ == "__main__":
    console()
