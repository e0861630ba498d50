"""Runs side by side: settings, spread, the best three, controls, pictures."""

import json
import pathlib
import types

import numpy as np
import pytest
from PIL import Image

from tfdisent import InputError
from trainers import compare


def make_run(folder, seed, mig, error=20.0, codes=None, **fields):
    """A run directory with the scores that a comparison reads."""
    config = {
        "model": "beta_vae",
        "dataset": "sprites",
        "beta": 1.0,
        "steps": 100,
        "seed": seed,
        "schedule_steps": 100,
        **fields,
    }
    path = folder / f"{config['model']}-{config['beta']:g}-{seed}"
    path.mkdir(parents=True)
    scores = {
        "step": 100,
        "held_out": {
            "loss": 50.0,
            "squared_error": error,
            "reconstruction": 10 * error,
        },
        "bounds": {"elbo": -30.0, "importance_weighted": -29.0},
        "alive": {"alive": 4},
        "disentanglement": {
            "rows": {
                config["model"]: {"mig": mig, "mig_sup": mig / 2},
                "PCA": {"mig": 0.01},
            }
        },
    }
    (path / "config.json").write_text(json.dumps({"config": config}))
    (path / "metrics.json").write_text(json.dumps(scores))
    if codes is not None:
        np.savez(path / "codes.npz", codes=codes, rows=np.arange(len(codes)))
    return path


def test_few_shot_models_stand_in_one_table(tmp_path):
    paths = []
    for model, accuracy in (("fden", 0.95), ("prototypes", 0.9)):
        paths.append(make_run(tmp_path, 0, 0.1, model=model))
        scores = {"few_shot": {"5-way 1-shot": {model: {"mean": accuracy}}}}
        (paths[-1] / "metrics.json").write_text(json.dumps(scores))
    lines = compare.table(compare.compare(paths)).splitlines()
    assert lines[0].split() == ["seeds", "5-way", "1-shot"]
    assert [line.split()[-1] for line in lines[1:3]] == ["0.9500", "0.9000"]


@pytest.fixture
def sweep(tmp_path):
    """Two settings of five seeds each, a run without scores, a file."""
    for beta, migs in ((1.0, (1, 2, 3, 4, 5)), (4.0, (6, 2, 2, 7, 8))):
        for seed, mig in enumerate(migs):
            make_run(
                tmp_path, seed, mig / 10, error=20.0 * beta + seed, beta=beta
            )
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "notes.txt").write_text("")
    return sorted(tmp_path.iterdir())


def test_settings_have_mean_spread_and_the_best_three(sweep):
    found = compare.compare(sweep)
    assert list(found["settings"]) == ["beta_vae beta=1", "beta_vae beta=4"]
    setting = found["settings"]["beta_vae beta=1"]
    assert setting["seeds"] == [0, 1, 2, 3, 4]
    mig = setting["quantities"]["mig"]
    assert mig["mean"] == pytest.approx(0.3)
    assert mig["std"] == pytest.approx(np.std([1, 2, 3, 4, 5], ddof=1) / 10)
    assert mig["best_three"] == pytest.approx(0.4)
    # Of errors the best are the smallest.
    error = setting["quantities"]["squared_error"]
    assert error["best_three"] == pytest.approx(21.0)
    assert setting["quantities"]["elbo"]["mean"] == -30
    assert [pathlib.Path(p).name for p in found["left_out"]] == [
        "notes.txt",
        "unfinished",
    ]
    assert found["controls"]["PCA"]["mig"]["mean"] == pytest.approx(0.01)


def test_the_best_losses_are_the_smallest(sweep):
    found = compare.compare(sweep)["settings"]["beta_vae beta=1"]
    # Errors of 20 to 24; the loss is 50 in all of them.
    assert found["quantities"]["squared_error"]["best_three"] == 21.0
    assert not compare.LOWER_IS_BETTER & compare.HIGHER_IS_BETTER


@pytest.mark.parametrize(
    ("quantity", "best"),
    [("mig", 3.0), ("class from generic", 2.0), ("kl_generic", None)],
)
def test_the_best_three_need_a_direction(quantity, best):
    assert compare.summary(quantity, [1.0, 4.0, 2.0, 3.0])["best_three"] == best


def test_probes_and_samples_stand_in_the_table():
    scores = {
        "class_probe": {
            "accuracy": {"generic": 0.1, "specific, random label": 0.5}
        },
        "class_transfer": {
            "thickness": {"source": 0.6, "target": 0.2, "reconstruction": 0.9},
            "change": {"generic": 0.09, "specific": 0.1},
            "images": 2000,
        },
        "swaps": {
            "heads": {
                "label": {"arrives": 0.9, "stays_elsewhere": 0.8},
                "only unit": {"arrives": 0.7, "stays_elsewhere": None},
                "constant factor": {"arrives": None, "stays_elsewhere": None},
            }
        },
        "samples": {"in_domain_frechet_distance": 12.0},
        "held_out": {"reconstruction": 80.0, "total_correlation": 1.0},
    }
    own = {"mig": 0.3, "total_correlation": 0.5}
    assert compare.quantities_of(scores, own) == {
        "reconstruction": 80.0,
        "total_correlation": 0.5,
        "mig": 0.3,
        "thickness from source": 0.6,
        "thickness from target": 0.2,
        "pixel change of generic": 0.09,
        "pixel change of specific": 0.1,
        "label arrives": 0.9,
        "label stays elsewhere": 0.8,
        "only unit arrives": 0.7,
        "class from generic": 0.1,
        "class from specific: random label": 0.5,
        "in_domain_frechet_distance": 12.0,
    }


def test_samples_and_structures_stand_in_the_table(tmp_path):
    """CascadeVAE's table 1, and its dependencies over lambda_B."""
    inception = {"shape": {"mean": 2.0}, "scale": {"mean": 5.0}}
    wholes = {"mean": 0.8, "control": {"mean": 0.3, "share_as_high": 0.01}}
    scores = {
        "samples": {
            "in_domain_inception_score": inception,
            "in_domain_frechet_distance": 12.0,
        },
        "structure": {
            "reencoded": {
                "largest_gap": 0.08,
                "divergence": 0.4,
                "edges": {"z1->z3": [0.5, 0.58]},
            },
            "images": {"largest_gap": 0.5},
            "information": {"absent": "the data set has no known factors"},
            "traversals": {"wholes": wholes},
        },
    }
    assert compare.quantities_of(scores, {}) == {
        "in_domain_inception_score": 3.5,
        "in_domain_inception_score of shape": 2.0,
        "in_domain_inception_score of scale": 5.0,
        "in_domain_frechet_distance": 12.0,
        "structure_gap": 0.08,
        "structure_gap_on_images": 0.5,
        "structure_divergence": 0.4,
        "correlation z1->z3": 0.5,
        "structure_overlap": 0.8,
        "structure_overlap_elsewhere": 0.3,
    }
    runs = []
    for weight in (1.0, 20.0):
        runs.append(
            make_run(tmp_path / str(weight), 0, 0.1, structure_weight=weight)
        )
        (runs[-1] / "metrics.json").write_text(json.dumps(scores))
    lines = compare.table(compare.compare(runs)).splitlines()
    assert lines[0].split()[1:] == [
        "in_domain_inception_score",
        "in_domain_frechet_distance",
        "structure_gap",
        "structure_gap_on_images",
        "structure_overlap",
        "structure_overlap_elsewhere",
    ]
    assert "structure_weight=20" in lines[2]
    shown = ["12.00", "0.0800", "0.5000", "0.8000", "0.3000"]
    assert lines[2].split()[-5:] == shown
    one = {"samples": {"inception_score": {"imagenet": {"mean": 2.0}}}}
    assert compare.quantities_of(one, {}) == {"inception_score": 2.0}


def test_how_a_run_is_drawn_makes_no_other_setting(tmp_path):
    for seed in range(2):
        make_run(tmp_path, seed, 0.5, traversal_span=float(seed))
    (found,) = compare.compare(sorted(tmp_path.iterdir()))["settings"].values()
    assert found["seeds"] == [0, 1]


def test_few_seeds_have_no_best_three_and_one_has_no_spread(tmp_path):
    runs = [make_run(tmp_path, seed, 0.2) for seed in (0, 1, 2)]
    found = compare.compare(runs)["settings"]["beta_vae"]["quantities"]["mig"]
    assert found["best_three"] is None
    assert found["std"] == 0
    found = compare.compare(runs[:1])["settings"]["beta_vae"]["quantities"]
    assert found["mig"]["std"] is None


def test_the_table_names_what_differs(sweep):
    text = compare.table(compare.compare(sweep))
    lines = text.splitlines()
    assert lines[0].split()[:3] == [
        "seeds",
        "reconstruction",
        "squared_error",
    ]
    row = next(line for line in lines if line.startswith("beta_vae beta=4"))
    assert "0.5000 +- 0.2828" in row
    best = lines[lines.index(row) + 1]
    assert best.startswith("  best three") and "0.7000" in best
    assert any(line.startswith("PCA") and "0.0100" in line for line in lines)
    assert "unfinished" in lines[-1]
    chosen = compare.table(compare.compare(sweep), ["alive_codes"])
    assert chosen.splitlines()[0].split() == ["seeds", "alive_codes"]
    with pytest.raises(InputError, match="no run has it"):
        compare.table(compare.compare(sweep), ["mgi"])


def test_points_are_means_over_the_best_seeds_by_score(sweep):
    settings = compare.compare(sweep)["settings"].values()
    points = compare.points(settings, "squared_error", "mig")
    # Seeds 2, 3 and 4 of beta 1; 0, 3 and 4 of beta 4.
    assert points == {
        "beta_vae": [
            (pytest.approx(23.0), pytest.approx(0.4), "beta=1"),
            (pytest.approx(80 + 7 / 3), pytest.approx(0.7), "beta=4"),
        ]
    }
    assert compare.points(settings, "squared_error", "sap") == {}


def test_agreement_ranks_runs_without_labels(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(500, 3))
    mixed = true @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    kept = {0: true, 1: -true[:, ::-1], 2: mixed}
    runs = [make_run(tmp_path, s, 0.1, codes=c) for s, c in kept.items()]
    found = compare.compare(runs)
    udr = found["settings"]["beta_vae"]["udr"]
    assert udr[str(runs[0])] > udr[str(runs[2])]
    assert udr[str(runs[1])] > udr[str(runs[2])]
    assert "chosen without labels, beta_vae:" in compare.table(found)
    # Neither do codes that are cut short.
    kept = (runs[2] / "codes.npz").read_bytes()
    (runs[2] / "codes.npz").write_bytes(kept[: len(kept) // 2])
    udr = compare.compare(runs)["settings"]["beta_vae"]["udr"]
    assert set(udr) == {str(run) for run in runs[:2]}
    # Codes of other images say nothing about each other.
    np.savez(runs[1] / "codes.npz", codes=true, rows=np.arange(500) + 1)
    np.savez(runs[2] / "codes.npz", codes=true, rows=np.arange(500) + 2)
    assert compare.compare(runs)["settings"]["beta_vae"]["udr"] == {}


def test_different_models_and_data_are_different_settings(tmp_path):
    runs = [
        make_run(tmp_path / "a", 0, 0.1),
        make_run(tmp_path / "b", 0, 0.1, dataset="shapes"),
        make_run(tmp_path / "c", 0, 0.1, model="vlae", log_every=7),
    ]
    found = compare.compare(runs)
    assert list(found["settings"]) == [
        "beta_vae dataset=sprites",
        "beta_vae dataset=shapes",
        "vlae dataset=sprites",
    ]
    assert set(found["controls"]) == {"PCA on sprites", "PCA on shapes"}


def test_arguments_are_compared_within_a_model_and_points_say_the_rest(
    tmp_path,
):
    runs = [
        make_run(tmp_path / str(number), 0, 0.1, **fields)
        for number, fields in enumerate(
            (
                {"batch_size": 64, "gamma": 1000.0},
                {"batch_size": 64, "gamma": 1000.0, "beta": 4.0},
                {"batch_size": 64, "gamma": 0.5, "model": "pro_vlae"},
                {"batch_size": 32, "model": "vlae"},
            )
        )
    ]
    settings = compare.compare(runs)["settings"]
    assert list(settings) == [
        "beta_vae beta=1 batch_size=64",
        "beta_vae beta=4 batch_size=64",
        "pro_vlae batch_size=64",
        "vlae batch_size=32",
    ]
    points = compare.points(settings.values(), "squared_error", "mig")
    words = {model: [p[2] for p in found] for model, found in points.items()}
    assert words == {
        "beta_vae": ["beta=1", "beta=4"],
        "pro_vlae": [""],
        "vlae": [""],
    }


def test_what_is_absent_is_no_quantity(tmp_path):
    path = make_run(tmp_path, 0, 0.1)
    scores = json.loads((path / "metrics.json").read_text())
    reason = {"absent": "the model has no posterior"}
    scores |= dict.fromkeys(("bounds", "alive", "swaps", "samples"), reason)
    (path / "metrics.json").write_text(json.dumps(scores))
    assert compare.read_run(path).quantities == {
        "mig": 0.1,
        "mig_sup": 0.05,
        "loss": 50.0,
        "squared_error": 20.0,
        "reconstruction": 200.0,
    }


def test_damage_is_one_line(tmp_path):
    path = make_run(tmp_path, 0, 0.1)
    (path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics.json.*damaged"):
        compare.compare([path])
    (path / "metrics.json").write_text("{}")
    (path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        compare.compare([path])
    with pytest.raises(InputError, match="give run directories"):
        compare.compare([tmp_path / "none"])


def test_the_command_writes_numbers_and_pictures(sweep, capsys):
    paths = [str(path) for path in sweep]
    given = {"arguments": paths, "metrics": [], "output": None}
    compare.main(types.SimpleNamespace(**given))
    output = sweep[0].parent / "comparison"
    told = capsys.readouterr().out
    assert "beta_vae beta=4" in told and f"kept in {output}" in told
    stored = json.loads((output / "comparison.json").read_text())
    assert len(stored["settings"]) == 2
    for name in ("error-and-scores.png", "mig-and-mig-sup.png"):
        assert np.asarray(Image.open(output / name)).std() > 0
    with pytest.raises(InputError, match="as runs"):
        compare.main(types.SimpleNamespace(**given | {"arguments": []}))
    # Pictures of these runs would be taken for those of the next comparison.
    compare.main(types.SimpleNamespace(**given | {"arguments": paths[:1]}))
    drawn = capsys.readouterr().out.rpartition("kept in ")[2]
    for path in output.glob("*.png"):
        assert path.name in drawn
