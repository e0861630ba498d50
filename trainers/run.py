"""Trains a model, scores it, draws it: one command, resumed by itself.

    python -m trainers.run --model=fden --dataset=omniglot
    python -m trainers.run --model=fden --dataset=digits --quick
    python -m trainers.run --model=beta_vae --dataset=sprites --seeds=0,1,2 \\
        --grid beta=1,4,8

The same line again resumes where a run stopped; on a finished run it prints
the result. --seeds and --grid train one run after the other, each in a
directory of its own; finished ones are skipped. `trainers.compare` reads them.
"""

import dataclasses
import itertools
import pathlib
import sys
import typing

from tfdisent import data
from tfdisent import models
from tfdisent.errors import InputError
from trainers import command
from trainers import config as configuration
from trainers import presets

# What --quick makes of a run: everything once, nothing for long.
QUICK = {
    "backbone_steps": 20,
    "log_every": 10,
    "checkpoint_every": 20,
    "image_every": 0,
    "eval_episodes": 100,
    "critic_steps": 50,
    "eval_images": 100,
    "information_images": 1_000,
    "baseline_steps": 2,
    "judge_steps": 0,
}


def define_flags(flags):
    flags.DEFINE_string("model", None, "Model: " + ", ".join(models.MODELS))
    flags.DEFINE_string(
        "dataset",
        None,
        "Data set: "
        + ", ".join(sorted(data.DATASETS))
        + ", folder:PATH, npz:PATH, faces:PATH, mini_imagenet:PATH or "
        "package.module:function",
    )
    flags.DEFINE_string("preset", "default", "Named settings.")
    flags.DEFINE_multi_string(
        "set", [], "key=value, any field of the configuration (see below)."
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "Run directory, runs/MODEL-DATASET-SEED by default; of several runs, "
        "the one their own are put into.",
    )
    flags.DEFINE_integer("steps", None, "Where to stop.")
    flags.DEFINE_integer("seed", None, "Of weights, noise and data order.")
    flags.DEFINE_list("seeds", [], "Several seeds, a run each.")
    flags.DEFINE_multi_string(
        "grid", [], "key=value,value: a run each; several span a grid."
    )
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
    flags.DEFINE_bool(
        "quick",
        False,
        "Everything once, in about a minute, to see that it works: nothing is "
        "learned. In a directory of its own, runs/...-quick.",
    )


def help_text():
    """Every field of every configuration with its default, and presets."""
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
        lines += [
            f"    --preset={preset}, on {', '.join(datasets)}"
            for preset, datasets in presets.listed(name).items()
        ]
    return "\n".join(lines)


def variations(kind, grids, seeds):
    """The runs that --grid and --seeds ask for.

    Args:
      kind: the model's configuration dataclass.
      grids: texts as `"beta=1,4"`.
      seeds: texts.

    Returns:
      A tuple of `"key=value"` settings for each run, seeds changing fastest;
      one empty tuple where nothing is asked for.

    Raises:
      InputError: no such text, a key twice, or one whose values are lists.
    """
    axes = {}
    for text in [*grids, *([f"seed={','.join(seeds)}"] if seeds else [])]:
        key, _, values = text.partition("=")
        values = [value for value in values.split(",") if value]
        if not values or len(set(values)) < len(values):
            raise InputError(
                f"--grid {text}: expected key=value,value,... without "
                "repetitions."
            )
        if key in axes:
            raise InputError(f"{key} is given twice by --grid and --seeds.")
        if typing.get_origin(typing.get_type_hints(kind).get(key)) is tuple:
            raise InputError(
                f"--grid {text}: the values of {key} are lists themselves; "
                "give a line of --set for each."
            )
        if key == "structure" and any(set("->=") & set(v) for v in values):
            raise InputError(
                f"--grid {text}: the edges of a structure have commas between "
                "them themselves; give a line of --set for each."
            )
        axes[key] = [f"{key}={value}" for value in values]
    return list(itertools.product(*axes.values()))


def default_workdir(config, varied=(), root="runs", quick=False):
    """`ROOT/MODEL-DATASET-SEED`, of names that are paths their last part.

    Args:
      config: of the run.
      varied: its settings on a grid; they stand before the seed.
      root: a directory.
      quick: of `--quick`, which the run proper must not meet there.
    """
    names = [config.model, config.dataset]
    short = [n.rstrip("/").replace(":", "/").split("/")[-1] for n in names]
    grid = [v.replace("/", "-") for v in varied if not v.startswith("seed=")]
    last = [str(config.seed), "quick"] if quick else [str(config.seed)]
    return pathlib.Path(root) / "-".join([*short, *grid, *last])


def keep_apart(workdir, dataset):
    """Refuses a run directory below the user's images.

    Raises:
      InputError: the run's pictures would be data of the next one.
    """
    form, _, path = dataset.partition(":")
    root = pathlib.Path(path).expanduser().resolve()
    place = pathlib.Path(workdir).resolve()
    if form in data.FORMS and root in (place, *place.parents):
        raise InputError(
            f"The run directory {str(workdir)!r} lies in {path!r}, where its "
            "pictures would become data. Name a --workdir elsewhere."
        )


def main(flags):
    for name in ("model", "dataset"):
        if not getattr(flags, name):
            raise InputError(f"--{name}=NAME is needed; --help lists them.")
    data.check(flags.dataset)
    if flags.seeds and flags.seed is not None:
        raise InputError("Give --seed or --seeds, not both.")
    kind = configuration.config_class(flags.model)
    planned = {}
    for varied in variations(kind, flags.grid, flags.seeds):
        config = configuration.build(
            flags.model,
            # Shells complete folders with a slash.
            flags.dataset.rstrip("/"),
            flags.preset,
            [*flags.set, *varied],
            steps=flags.steps,
            seed=flags.seed,
            precision=flags.precision,
        )
        if flags.quick:
            # A number of steps that was asked for stands.
            config = dataclasses.replace(
                config, **QUICK, steps=flags.steps or config.quick_steps
            )
        workdir = default_workdir(
            config, varied, flags.workdir or "runs", flags.quick
        )
        planned[workdir] = config
    several = bool(flags.grid or flags.seeds)
    if flags.workdir and not several:
        planned = {pathlib.Path(flags.workdir): config}
    for workdir in planned:
        keep_apart(workdir, config.dataset)
    # TensorFlow takes seconds to start; what is wrong above is said at once.
    from trainers import job

    options = {
        "data_dir": flags.data_dir,
        "strategy": flags.strategy,
        "backbone": flags.backbone,
        "quick": flags.quick,
    }
    if not several:
        print(job.run(config, workdir=next(iter(planned)), **options))
        return
    failed = []
    for number, (workdir, config) in enumerate(planned.items(), 1):
        print(f"[{number}/{len(planned)}] {workdir}", flush=True)
        if job.finished(config, workdir):
            print("finished before", flush=True)
            continue
        try:
            print(job.run(config, workdir, **options), flush=True)
        except InputError as error:
            # What keeps a run from starting keeps the others, too; what
            # breaks off one in training (a loss that is NaN) may not.
            if not (workdir / "config.json").exists():
                raise
            print(" ".join(str(error).split()), file=sys.stderr, flush=True)
            failed.append(str(workdir))
        job.clean_up()
    if failed:
        raise InputError(
            f"{len(failed)} of {len(planned)} runs broke off: "
            f"{', '.join(failed)}. The same line tries them again."
        )
    print(f"Next: python -m trainers.compare {' '.join(map(str, planned))}")


def console():
    command.run(main, define_flags, help_text)


if __name__ == "__main__":
    console()
