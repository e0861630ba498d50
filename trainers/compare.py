"""Several runs in one table, and pictures of what their scores cost.

    python -m trainers.compare runs/*
    python -m trainers.compare runs/* --metrics=mig,dci_disentanglement

Runs that differ in nothing but the seed are one setting: mean, standard
deviation over seeds and, of more than three, the mean of the best three, as
pro-VLAE's paper reports. Controls stand below. UDR ranks the runs of a setting
without labels. `comparison/` beside the runs gets `comparison.json` with every
number, `error-and-scores.png` and `mig-and-mig-sup.png` (that paper's figures
2 and 3).
"""

import dataclasses
import json
import pathlib
import statistics
from typing import NamedTuple

import numpy as np

from tfdisent.errors import InputError
from trainers import command
from trainers.config import FREE_FIELDS
from trainers.config import RunConfig
from trainers.scores import absences

# Not part of a setting: what a run may change without being another one, but
# for how long it trained.
FREE = {"seed", "schedule_steps", *FREE_FIELDS} - {"steps"}
# What every run has, whatever its model.
COMMON = {field.name for field in dataclasses.fields(RunConfig)}
# Shown unless others are asked for; whatever the runs have is in the JSON.
SHOWN = (
    "reconstruction",
    "squared_error",
    "elbo",
    "mig",
    "mig_sup",
    "factor_vae_score",
    "dci_disentanglement",
    "sap",
    "factors_found",
    "alive_codes",
    "udr",
    "5-way 1-shot",
    "5-way 5-shot",
    "20-way 1-shot",
    "in_domain_inception_score",
    "in_domain_frechet_distance",
    "structure_gap",
    "structure_gap_on_images",
    "structure_overlap",
    "structure_overlap_elsewhere",
    "class from z",
    "class from generic",
    "class from specific",
    "class from specific: random label",
    "label arrives",
)
# Figure 2 draws each of these against the error.
DRAWN = (
    "factor_vae_score",
    "mig",
    "mig_sup",
    "beta_vae_score",
    "dci_disentanglement",
    "dci_completeness",
    "modularity",
    "sap",
    "explicitness",
    "irs",
)
PICTURES = ("error-and-scores", "mig-and-mig-sup")
# Of what is in neither set, nobody can say which runs are the best.
HIGHER_IS_BETTER = {
    *DRAWN,
    "dci_informativeness",
    "mig_without_shape",
    "mig_sup_without_shape",
    "mig_aggregate",
    "mig_sup_aggregate",
    "mig_aggregate_without_shape",
    "mig_sup_aggregate_without_shape",
    "factors_found",
    "udr",
    "elbo",
    "importance_weighted",
    "5-way 1-shot",
    "5-way 5-shot",
    "20-way 1-shot",
    "in_domain_inception_score",
    "inception_score",
    "structure_overlap",
    "label arrives",
}
LOWER_IS_BETTER = {
    "loss",
    "reconstruction",
    "squared_error",
    "total_correlation",
    "in_domain_frechet_distance",
    "fid",
    "structure_gap",
    "structure_gap_on_images",
    "structure_divergence",
    "class from generic",
    "class from specific: the random label itself",
}
BEST = 3


class Run(NamedTuple):
    """A run as it lies on the disk.

    `config` and `quantities` are flat dicts, `controls` is {row: {quantity:
    float}}.
    """

    path: pathlib.Path
    config: dict
    quantities: dict
    controls: dict


def read_run(path):
    """The `Run` of a directory; None where it has no scores yet.

    Raises:
      InputError: files that cannot be read.
    """
    path = pathlib.Path(path)
    stored = {}
    for name in ("config.json", "metrics.json"):
        try:
            stored[name] = json.loads((path / name).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{str(path / name)!r} is damaged: {error}."
            ) from error
    scores = stored["metrics.json"]
    try:
        absent = absences(scores)
        scores = {n: found for n, found in scores.items() if n not in absent}
        config = stored["config.json"]["config"]
        rows = scores.get("disentanglement", {}).get("rows", {})
        own = rows.get(config["model"], {})
        controls = {n: v for n, v in rows.items() if n != config["model"]}
        return Run(path, config, quantities_of(scores, own), controls)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is damaged: {error!r}.") from error


def quantities_of(scores, own):
    """The numbers of a metrics.json under one name each."""
    losses = scores.get("held_out") or scores.get("training_images") or {}
    # Some terms of a loss have the name of a score of codes.
    found = dict(losses) | own
    for name in ("elbo", "importance_weighted"):
        if "bounds" in scores:
            found[name] = scores["bounds"][name]
    if "alive" in scores:
        found["alive_codes"] = scores["alive"]["alive"]
    probes = scores.get("class_probe", {}).get("accuracy", {})
    for row, accuracy in probes.items():
        # Commas separate the names that --metrics takes.
        found[f"class from {row.replace(', ', ': ')}"] = accuracy
    for name, values in scores.get("class_transfer", {}).items():
        if name == "change":
            for part, value in values.items():
                found[f"pixel change of {part}"] = value
        elif isinstance(values, dict):
            for image in ("source", "target"):
                found[f"{name} from {image}"] = values[image]
    for head, values in scores.get("swaps", {}).get("heads", {}).items():
        for name in ("arrives", "stays_elsewhere"):
            # None where no pair of images differs, or nothing else is there.
            if values[name] is not None:
                found[f"{head} {name.replace('_', ' ')}"] = values[name]
    samples = scores.get("samples", {})
    for name in ("in_domain_frechet_distance", "fid"):
        if name in samples:
            found[name] = samples[name]
    for name in ("in_domain_inception_score", "inception_score"):
        if name in samples:
            heads = {h: v["mean"] for h, v in samples[name].items()}
            # One number beside the distance; a data set of factors has a head
            # for each of them.
            found[name] = statistics.fmean(heads.values())
            if len(heads) > 1:
                found |= {f"{name} of {h}": v for h, v in heads.items()}
    found |= structure_quantities(scores.get("structure", {}))
    for setting, rows in scores.get("few_shot", {}).items():
        # The model's own row is the first.
        found[setting] = next(iter(rows.values()))["mean"]
    return found


def structure_quantities(scores):
    """What `structure_scores.of_model` found, under one name each.

    `structure_gap` is the largest of a correlation of re-encoded codes from the
    structure's, `structure_gap_on_images` that of codes of images,
    `structure_divergence` in nats, `correlation z1->z3` that of the re-encoded
    codes of an edge; `structure_overlap` is whether
    composites move what their parts move, and stands beside that of the same
    graph on other latents; `structure_information` asks what they know.
    """
    found = {}
    if "reencoded" in scores:
        found["structure_gap"] = scores["reencoded"]["largest_gap"]
        found["structure_divergence"] = scores["reencoded"]["divergence"]
        for edge, (value, _) in scores["reencoded"]["edges"].items():
            found[f"correlation {edge}"] = value
    if "images" in scores:
        found["structure_gap_on_images"] = scores["images"]["largest_gap"]
    for key, name in (
        ("traversals", "structure_overlap"),
        ("information", "structure_information"),
    ):
        wholes = scores.get(key, {}).get("wholes")
        if wholes:
            found[name] = wholes["mean"]
            found[f"{name}_elsewhere"] = wholes["control"]["mean"]
    return found


def settings_of(runs):
    """Runs by setting, named by their model and by what differs.

    A model's own arguments are compared among its runs only: another one may
    mean something else by the same name.

    Args:
      runs: a list of `Run`.

    Returns:
      {name: list of `Run`}, in the order of the runs.
    """
    settings = {}
    for run in runs:
        model = run.config["model"]
        alike = [r for r in runs if r.config["model"] == model]
        words = [model]
        for key, value in run.config.items():
            others = runs if key in COMMON else alike
            differs = any(r.config.get(key, value) != value for r in others)
            if differs and key != "model" and key not in FREE:
                words.append(f"{key}={_short(value)}")
        settings.setdefault(" ".join(words), []).append(run)
    return settings


def _short(value):
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def agreement(runs):
    """UDR of runs of one setting, from the codes they kept.

    Args:
      runs: a list of `Run`.

    Returns:
      {path: float}; empty where there are no two runs with codes of the same
      images.
    """
    from tfdisent.data.arrays import read_npz
    from tfdisent.metrics import udr

    codes, rows = {}, None
    for run in runs:
        try:
            stored = read_npz(run.path / "codes.npz", ("codes", "rows"))
            found = stored["rows"], stored["codes"]
        except (InputError, KeyError):
            continue
        rows = found[0] if rows is None else rows
        if np.array_equal(rows, found[0]):
            codes[run.path] = found[1]
    if len(codes) < 2:
        return {}
    return dict(zip(codes, udr([*codes.values()]).tolist(), strict=True))


def summary(quantity, values):
    """Mean and spread of a quantity over runs.

    Args:
      quantity: its name, which tells whether more or less of it is better.
      values: a list of floats.

    Returns:
      {"mean", "std" (n - 1; None of one value), "best_three" (their mean;
      None of fewer than four, and where neither way is better), "values"}.
    """
    higher = quantity in HIGHER_IS_BETTER
    ordered = higher or quantity in LOWER_IS_BETTER
    best = sorted(values, reverse=higher)[:BEST]
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "best_three": statistics.fmean(best)
        if ordered and len(values) > BEST
        else None,
        "values": values,
    }


def compare(paths):
    """Everything that several runs say together.

    Args:
      paths: of directories; those without scores are left out.

    Returns:
      {"settings": {name: {"model", "words" (what differs), "runs", "seeds",
      "quantities": {name: `summary`}, "udr": {run: float}}}, "controls": {name:
      {quantity: `summary`}}, "left_out": [paths]}.

    Raises:
      InputError: not one run with scores.
    """
    found = {str(path): read_run(path) for path in paths}
    runs = [run for run in found.values() if run]
    if not runs:
        raise InputError(
            f"None of {', '.join(found) or 'no directories'} is a run with "
            "scores; give run directories, as runs/*."
        )
    settings = {}
    for name, group in settings_of(runs).items():
        ranked = agreement(group)
        gathered = {}
        for run in group:
            own = dict(run.quantities)
            if run.path in ranked:
                own["udr"] = ranked[run.path]
            for quantity, value in own.items():
                gathered.setdefault(quantity, []).append(value)
        model = group[0].config["model"]
        settings[name] = {
            "model": model,
            "words": name[len(model) :].strip(),
            "runs": [str(run.path) for run in group],
            "seeds": [run.config["seed"] for run in group],
            "quantities": {
                quantity: summary(quantity, values)
                for quantity, values in gathered.items()
            },
            "udr": {str(path): value for path, value in ranked.items()},
        }
    return {
        "settings": settings,
        "controls": controls_of(runs),
        "left_out": [path for path, run in found.items() if not run],
    }


def controls_of(runs):
    """{control: {quantity: `summary`}} over all runs of each data set."""
    several = len({run.config["dataset"] for run in runs}) > 1
    gathered = {}
    for run in runs:
        for row, values in run.controls.items():
            name = f"{row} on {run.config['dataset']}" if several else row
            for quantity, value in values.items():
                of_row = gathered.setdefault(name, {})
                of_row.setdefault(quantity, []).append(value)
    return {
        row: {q: summary(q, v) for q, v in values.items()}
        for row, values in gathered.items()
    }


# ---- words -------------------------------------------------------------------


def table(compared, quantities=None):
    """One table: a line a setting, a column a quantity, controls below.

    Args:
      compared: as `compare` gives it.
      quantities: columns; None for those of `SHOWN` that there are.

    Returns:
      Text.

    Raises:
      InputError: a quantity that no run has.
    """
    settings, controls = compared["settings"], compared["controls"]
    there = {q: None for s in settings.values() for q in s["quantities"]}
    unknown = [q for q in quantities or () if q not in there]
    if unknown:
        raise InputError(
            f"--metrics={','.join(unknown)}: no run has it. There are: "
            f"{', '.join(there)}."
        )
    columns = quantities or [q for q in SHOWN if q in there]
    columns = columns or list(there)
    rows = [["", "seeds", *columns]]
    for name, setting in settings.items():
        found = setting["quantities"]
        rows.append([name, str(len(setting["seeds"]))])
        rows[-1] += [_mean(found.get(q)) for q in columns]
        if any(found[q]["best_three"] is not None for q in found):
            rows.append(["  best three", ""])
            rows[-1] += [_best(found.get(q)) for q in columns]
    for name, found in controls.items():
        rows.append([name, ""] + [_mean(found.get(q)) for q in columns])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
    lines.append("mean +- standard deviation over seeds (n - 1)")
    for name, setting in settings.items():
        if setting["udr"]:
            best = max(setting["udr"], key=setting["udr"].get)
            lines.append(
                f"chosen without labels, {name}: {best} (UDR "
                f"{setting['udr'][best]:.3f})"
            )
    if compared["left_out"]:
        lines.append(
            f"left out, no scored runs: {', '.join(compared['left_out'])}"
        )
    return "\n".join(lines)


def _number(value):
    digits = 4 if abs(value) < 1 else 2
    return f"{value:.{digits}f}"


def _mean(found):
    if found is None:
        return "-"
    spread = found["std"]
    if spread is None:
        return _number(found["mean"])
    return f"{_number(found['mean'])} +- {_number(spread)}"


def _best(found):
    best = found and found["best_three"]
    return "-" if best is None else _number(best)


# ---- pictures ----------------------------------------------------------------


def pictures(compared):
    """pro-VLAE's figures 2 and 3 of these runs.

    A point is a setting: the mean over its three best seeds by the score on
    the vertical axis.

    Args:
      compared: as `compare` gives it.

    Returns:
      {name: uint8 `[H, W, 3]`}, of what there is to draw.
    """
    from tfdisent import visualization

    settings = compared["settings"].values()
    panels = []
    for score in DRAWN:
        groups = points(settings, "reconstruction", score)
        if groups:
            panels.append(
                visualization.scatter(
                    groups, "reconstruction error of an image, nats", score
                )
            )
    found = {}
    if panels:
        lines = [
            visualization.beside(panels[start : start + 3])
            for start in range(0, len(panels), 3)
        ]
        found[PICTURES[0]] = visualization.stack(lines)
    groups = points(settings, "mig", "mig_sup")
    if groups:
        found[PICTURES[1]] = visualization.scatter(groups, "MIG", "MIG-sup")
    return found


def points(settings, across, up):
    """{model: list of (x, y, words)} of the settings that have both."""
    groups = {}
    for setting in settings:
        found = setting["quantities"]
        model = setting["model"]
        # What its settings share tells no two points of a model apart.
        shared = set.intersection(
            *(set(s["words"].split()) for s in settings if s["model"] == model)
        )
        if across not in found or up not in found:
            continue
        x, y = (np.array(found[q]["values"]) for q in (across, up))
        if len(x) != len(y) or not np.isfinite([x, y]).all():
            continue
        best = np.argsort(-y, kind="stable")[:BEST]
        words = [w for w in setting["words"].split() if w not in shared]
        point = float(x[best].mean()), float(y[best].mean()), " ".join(words)
        groups.setdefault(model, []).append(point)
    return groups


# ---- the command -------------------------------------------------------------


def define_flags(flags):
    flags.DEFINE_list(
        "metrics", [], f"Columns; {', '.join(SHOWN)} when not given."
    )
    flags.DEFINE_string(
        "output", None, "Directory of the results; comparison/ beside the runs."
    )


def main(flags):
    if not flags.arguments:
        raise InputError("Give run directories, as runs/*.")
    compared = compare(flags.arguments)
    print(table(compared, flags.metrics))
    first = next(iter(compared["settings"].values()))["runs"][0]
    output = pathlib.Path(flags.output or pathlib.Path(first).parent)
    if not flags.output:
        output /= "comparison"
    # TensorFlow comes with the pictures; the table need not wait for it.
    from tfdisent import visualization
    from trainers import rundir

    drawn = pictures(compared)
    rundir.write_json(output / "comparison.json", compared)
    for name in PICTURES:
        # Of an earlier comparison, it would be taken for this one's.
        (output / f"{name}.png").unlink(missing_ok=True)
    for name, picture in drawn.items():
        content = visualization.png(picture)
        rundir.write_atomically(output / f"{name}.png", content)
    kept = ["comparison.json", *(f"{name}.png" for name in drawn)]
    print(f"kept in {output}: {', '.join(kept)}")


def console():
    command.run(main, define_flags, arguments=True)


if __name__ == "__main__":
    console()
