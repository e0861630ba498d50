"""Traversals of one run, or of several side by side, as PNG or GIF.

    python -m trainers.traverse --runs=runs/a,runs/b --output=traversal.png
    python -m trainers.traverse --runs=runs/a --from_prior --output=t.gif
    python -m trainers.traverse --runs=runs/paper,runs/weak --output=z.png

Every entry of the code is a row, levels have brackets; within a level the
entry with the largest KL comes first, dead ones are folded. Above stands how
many factors the model found, where its scores tell (CascadeVAE, figure 5).
Models of labels show what every entry of a part does to an image of each class
(ClassVAE, figures 6 and 7).
"""

import math
import pathlib

from tfdisent.errors import InputError
from trainers import command

# Images that tell every entry's KL.
IMAGES = 500
# A picture, and memory, grow with every step.
STEPS = 99
SPAN = 2.5
CLASS_SPAN = 5.0


def define_flags(flags):
    flags.DEFINE_list("runs", [], "Run directories of one data set.")
    flags.DEFINE_string("output", None, "A .png, or of one run a .gif.")
    flags.DEFINE_integer("image", 0, "Number of the held-out image to start.")
    flags.DEFINE_bool("from_prior", False, "Start at the prior's mean instead.")
    flags.DEFINE_float(
        "span",
        None,
        f"Go from minus this to this; {SPAN:g} when not given, {CLASS_SPAN:g} "
        "for models of labels.",
    )
    flags.DEFINE_string(
        "part", None, "Part of models of labels; the first when not given."
    )
    flags.DEFINE_integer("steps", 9, f"Images of a traversal, 2 to {STEPS}.")
    flags.DEFINE_string(
        "data_dir", None, "Prepared TFDS data; TFDS_DATA_DIR when not given."
    )


def main(flags):
    output = pathlib.Path(flags.output or "")
    if not flags.runs or output.suffix not in (".png", ".gif"):
        raise InputError("--runs=A,B and --output=FILE.png (.gif) are needed.")
    if output.suffix == ".gif" and len(flags.runs) > 1:
        raise InputError("A .gif shows one run; --runs names several.")
    if flags.span is not None and not 0 < flags.span < math.inf:
        raise InputError(f"--span={flags.span:g}: expected a number above 0.")
    if not 2 <= flags.steps <= STEPS:
        raise InputError(f"--steps={flags.steps}: expected 2 to {STEPS}.")
    # TensorFlow takes seconds to start; what is wrong above is said at once.
    from tfdisent import visualization
    from trainers import rundir

    models = {name: rundir.load_parts_model(name) for name in flags.runs}
    if all(model.takes_label for model in models.values()):
        picture = class_pictures(models, flags)
        rundir.write_atomically(output, visualization.png(picture))
        print(output)
        return
    unfit = [
        n
        for n, m in models.items()
        if m.takes_label or not any(len(s) == 1 for s in m.parts.values())
    ]
    if unfit:
        raise InputError(
            f"{', '.join(unfit)}: a model without codes, or one of labels "
            "among others; the run's own images/ has its traversals."
        )
    if flags.from_prior and any(m.posterior is None for m in models.values()):
        raise InputError("--from_prior is for models with a posterior.")
    if flags.part:
        raise InputError("--part is for models of labels.")
    known = {n: rundir.read_config(n)[0].dataset for n in flags.runs}
    if len(set(known.values())) > 1:
        raise InputError(
            "Runs side by side start at one image, of one data set; these have "
            + ", ".join(f"{d} ({n})" for n, d in known.items())
            + "."
        )
    images = held_out_images(flags.runs[0], flags.image, flags.data_dir)
    span = SPAN if flags.span is None else flags.span
    options = {"steps": flags.steps, "span": span}
    if flags.from_prior:
        options["start"] = visualization.prior_code
    if output.suffix == ".gif":
        (model,) = models.values()
        frames = visualization.explained_traversal(
            model, images, draw=visualization.traversal_frames, **options
        )
        content = visualization.animation(frames)
    else:
        titled = {title(name): model for name, model in models.items()}
        picture = visualization.compared_traversals(titled, images, **options)
        content = visualization.png(picture)
    rundir.write_atomically(output, content)
    print(output)


def class_pictures(models, flags):
    """What the entries of a part do to every class, run beside run.

    Args:
      models: {run: a `PartsModel` of labels}.
      flags: of the command.

    Returns:
      uint8 `[H, W, 3]`.

    Raises:
      InputError: a part that a model has not, or an option of other models.
    """
    import numpy as np

    from tfdisent import visualization
    from tfdisent.data import pipeline

    if flags.output.endswith(".gif") or flags.from_prior or flags.image:
        raise InputError(
            "Models of labels start at one image a class and are drawn as a "
            ".png; leave --from_prior and --image out."
        )
    split = held_out_split(flags.runs[0], flags.data_dir)
    _, rows = np.unique(split.labels, return_index=True)
    batch = split.take(rows)
    pictures = {}
    for run, model in models.items():
        part = flags.part or next(iter(model.parts))
        # The label is what stays.
        moving = [name for name in model.parts if name != "label"]
        if part not in moving:
            raise InputError(f"--part={part}: {run} has {', '.join(moving)}.")
        images = pipeline.fit_images(batch["image"], model.image_shape)
        pictures[title(run)] = visualization.class_traversal(
            model,
            images.numpy(),
            batch["label"],
            part,
            steps=flags.steps,
            span=CLASS_SPAN if flags.span is None else flags.span,
        )
    return visualization.framed(visualization.titled(pictures))


def title(run):
    """A run directory and, where it was scored, how many factors it found."""
    from trainers import rundir

    scores = rundir.read_scores(run).get("disentanglement")
    if not scores:
        return run
    (found, *_) = scores["rows"].values()
    if "factors_found" not in found:
        return run
    count = len(scores["protocol"]["factors"])
    return f"{run}: {found['factors_found']:.0f} of {count} factors found"


def held_out_images(run, first, data_dir=None):
    """Image `first` of a run's held-out split, then others spread over it.

    Args:
      run: a run directory.
      first: a row number.
      data_dir: where TFDS keeps prepared data.

    Returns:
      `[N, H, W, C]`.

    Raises:
      InputError: no such image, or the data cannot be had.
    """
    import numpy as np

    from tfdisent.data.base import spread

    split = held_out_split(run, data_dir)
    if not 0 <= first < len(split):
        raise InputError(
            f"--image={first}: the split has images 0 to {len(split) - 1}."
        )
    rows = spread(len(split), IMAGES)
    return split.take(np.concatenate([[first], rows]))["image"]


def held_out_split(run, data_dir=None):
    """The `Split` a run was not trained on; all it has where there is none."""
    from tfdisent import models
    from trainers import rundir
    from trainers import train

    config, _ = rundir.read_config(run)
    dataset = train.load_data(config, data_dir)
    needs = models.get(config.model).needs
    fit, split = train.training_splits(config, dataset, needs)
    return split or fit


def console():
    command.run(main, define_flags)


if __name__ == "__main__":
    console()
