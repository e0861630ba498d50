"""Writes a trained run as the next version of a SavedModel.

    python -m export.run --run=runs/fden-omniglot-0 --output=models/fden

The version is complete or not there at all; TF Serving can watch the
directory while this writes.
"""

import pathlib

from tfdisent.errors import InputError
from trainers import command


def define_flags(flags):
    flags.DEFINE_string("run", None, "Run directory of the trained model.")
    flags.DEFINE_string(
        "output",
        None,
        "Directory of the served model, models/NAME; versions go below it.",
    )
    flags.DEFINE_string(
        "data_dir", None, "Prepared TFDS data; TFDS_DATA_DIR when not given."
    )
    flags.DEFINE_integer(
        "max_pixels",
        None,
        "Encoded images whose header claims more pixels are refused "
        "undecoded; 16 million when not given.",
        lower_bound=1,
    )


def main(flags):
    for name in ("run", "output"):
        if not getattr(flags, name):
            raise InputError(f"--{name}=DIRECTORY is needed.")
    check(flags.run, flags.output)
    # TensorFlow takes seconds to start; what is wrong above is said at once.
    version, card = export_run(
        flags.run, flags.output, flags.data_dir, flags.max_pixels
    )
    print(report(version, card))


def check(run, output):
    """Refuses what cannot be exported, before TensorFlow is imported.

    Raises:
      InputError: no run directory, or an output that is none for models.
    """
    if not (pathlib.Path(run) / "config.json").is_file():
        raise InputError(
            f"{run!r} is no run directory (it has no config.json)."
        )
    output = pathlib.Path(output)
    if output.name.isdigit() or (output / "saved_model.pb").exists():
        raise InputError(
            f"--output={output}: name the model's directory (models/NAME); "
            "the version below it is chosen here."
        )
    existing = next(
        p for p in (output, *output.absolute().parents) if p.exists()
    )
    if not existing.is_dir():
        raise InputError(f"--output={output}: {str(existing)!r} is a file.")


def export_run(run, output, data_dir=None, max_pixels=None):
    """Exports the trained model of a run directory.

    Args:
      run: the run directory.
      output: `models/NAME`.
      data_dir: prepared TFDS data, for sample images.
      max_pixels: of encoded images; `saved_model.MAX_PIXELS` when None.

    Returns:
      `(version, card)`: the new version's path and its model card.

    Raises:
      InputError: no run there, no readable checkpoint, a model without named
        parts, or an output that cannot be written.
    """
    from export import saved_model
    from tfdisent.data.base import spread
    from trainers import config as configuration
    from trainers import rundir

    config, _ = rundir.read_config(run)
    model = rundir.load_parts_model(run)
    dataset, images = held_out_images(config, model, data_dir)
    samples = None
    card = {
        "dataset": {"name": config.dataset, **dataset},
        "configuration": configuration.to_dict(config),
        "step": int(model.step.numpy()),
        "scores": rundir.read_scores(run),
    }
    if images is not None:
        card["ranges"] = saved_model.code_ranges(
            model, images["image"], images.get("label")
        )
        few = spread(len(images["image"]), saved_model.SAMPLES)
        samples = {name: values[few] for name, values in images.items()}
    try:
        version = saved_model.export_model(
            model,
            output,
            card=card,
            samples=samples,
            max_pixels=max_pixels or saved_model.MAX_PIXELS,
        )
    except OSError as error:
        raise InputError(f"Cannot write to {output!r}: {error}.") from error
    return version, saved_model.read_card(version)


def held_out_images(config, model, data_dir=None):
    """Some images that the model was not trained on.

    Args:
      config: of the run.
      model: the trained model.
      data_dir: prepared TFDS data.

    Returns:
      `(description, images)`: what the model card says of the data set, and
      a dict as `Split.take` gives it; `({}, None)` where the data set is not
      at hand, as on a machine that only exports.
    """
    from export import saved_model
    from tfdisent.data.base import spread
    from trainers import train

    try:
        dataset = train.load_data(config, data_dir)
        seen, held_out = train.training_splits(config, dataset, model.needs)
    except InputError as error:
        print(f"No sample images or ranges from the data set: {error}")
        return {}, None
    split = held_out or seen
    description = {
        "description": dataset.description,
        "num_classes": dataset.num_classes,
        "class_names": dataset.class_names,
    }
    return description, split.take(spread(len(split), saved_model.RANGED))


def report(version, card):
    """The signature table, where it was written and what to type next."""
    rows = [("signature", "inputs", "outputs")]
    for name, verb in card["signatures"].items():
        rows.append((name, _listed(verb["inputs"]), _listed(verb["outputs"])))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}"
        for row in rows
    )
    return "\n".join(
        [
            table,
            "",
            f"Written: {version}",
            "Next:",
            f"  tf.saved_model.load({str(version)!r}).signatures['encode']",
            f"  python -m serving.run --models={version.parent.parent}",
            "  tensorflow_model_server --rest_api_port=8501 "
            f"--model_name={version.parent.name} "
            f"--model_base_path={version.parent.resolve()}",
        ]
    )


def _listed(specs):
    return ", ".join(
        f"{name} {spec['dtype']} "
        f"[{', '.join(['B', *map(str, spec['shape'][1:])])}]"
        for name, spec in specs.items()
    )


def console():
    command.run(main, define_flags)


if __name__ == "__main__":
    console()
