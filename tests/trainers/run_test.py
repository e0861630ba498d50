"""The command itself: the main job once, and bad input in one line."""

import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from tfdisent import InputError
from tfdisent.models.beta_vae import BetaVAE
from trainers import config as configuration
from trainers import presets
from trainers import run
from trainers import rundir

ROOT = pathlib.Path(__file__).parents[2]


def command(*arguments, module="trainers.run", **options):
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        **options,
    )


def own_lines(text):
    """Lines of ours: TensorFlow's start-up notes are not."""
    noise = ("I0000", "E0000", "W0000", "WARNING: All log", "20")
    return [
        line
        for line in text.splitlines()
        if line.strip()
        and not line.startswith(noise)
        and not line.startswith("To enable the following")
    ]


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("quick") / "run"
    result = command(
        "--model=fden", "--dataset=digits", f"--workdir={workdir}", "--quick"
    )
    assert result.returncode == 0, result.stderr
    return workdir, result


def test_the_main_job_leaves_a_whole_run_directory(quick_run):
    workdir, result = quick_run
    for name in ("config.json", "checkpoints", "backbone", "logs", "images"):
        assert (workdir / name).exists(), name
    scores = json.loads((workdir / "metrics.json").read_text())
    row = scores["few_shot"]["5-way 1-shot"]["fden"]
    assert row["low"] <= row["mean"] <= row["high"]
    assert scores["peak_memory_bytes"] < 4e9
    assert {"identity", "style", "chance"} <= set(scores["linear_probe"])
    assert "5-way 1-shot accuracy" in result.stdout
    assert "export.run" in result.stdout
    pictures = list((workdir / "images").glob("*.png"))
    assert len(pictures) >= 3
    for path in pictures:
        assert np.asarray(Image.open(path)).std() > 0, path


def test_a_finished_run_prints_its_result_again(quick_run):
    workdir, first = quick_run
    again = command(
        "--model=fden", "--dataset=digits", f"--workdir={workdir}", "--quick"
    )
    assert again.returncode == 0, again.stderr
    assert "step " not in again.stdout
    table = [x for x in first.stdout.splitlines() if "+-" in x]
    assert [x for x in again.stdout.splitlines() if "+-" in x] == table


@pytest.fixture(scope="module")
def exported(quick_run, tmp_path_factory):
    workdir, _ = quick_run
    output = tmp_path_factory.mktemp("models")
    result = command(
        f"--run={workdir}", f"--output={output}", module="export.run"
    )
    assert result.returncode == 0, result.stderr
    return output / "1"


def test_codes_and_export_of_the_run(quick_run, exported, tmp_path):
    workdir, _ = quick_run
    images = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
    np.savez(tmp_path / "in.npz", images=images)
    result = command(
        f"--run={workdir}",
        f"--input={tmp_path / 'in.npz'}",
        f"--output={tmp_path / 'codes.npz'}",
        module="trainers.encode",
    )
    assert result.returncode == 0, result.stderr
    stored = np.load(tmp_path / "codes.npz")
    assert stored["identity"].shape == (3, 256)
    assert (exported / "saved_model.pb").exists()


@pytest.mark.slow
def test_an_exported_model_is_a_backbone_like_any_other(exported, tmp_path):
    result = command(
        "--model=fden",
        "--dataset=digits",
        f"--workdir={tmp_path / 'stacked'}",
        f"--backbone={exported}",
        "--quick",
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "stacked/backbone/saved_model.pb").exists()


def fden(*arguments):
    return ["--model=fden", "--dataset=digits", *arguments]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model=NAME is needed"),
        (["--model=fdne", "--dataset=digits"], "Did you mean 'fden'"),
        (["--model=fden", "--dataset=digit"], "Did you mean 'digits'"),
        (fden("--preset=best"), "Choices: default, paper"),
        (fden("--set=gama=1"), "Did you mean 'gamma'"),
        (fden("--set=gamma=much"), "expected float"),
        (fden("--sed=1"), "Unknown command line flag 'sed'"),
        (fden("--steps=many"), "steps"),
        (fden("--grid=gama=1,2"), "Did you mean 'gamma'"),
        (fden("--seeds=0,1", "--seed=2"), "--seed or --seeds"),
        (
            ["--model=fden", "--dataset=trainers"],
            "'trainers' is a folder here; as a data set it is called "
            "'folder:trainers'",
        ),
    ],
)
def test_bad_arguments_end_before_tensorflow_starts(
    arguments, message, tmp_path
):
    # TensorFlow takes seconds to start; here it cannot.
    package = tmp_path / "tensorflow" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise SystemExit('TensorFlow was imported')")
    result = command(
        *arguments,
        f"--workdir={tmp_path / 'run'}",
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_help_names_the_presets_that_there_are():
    text = run.help_text()
    assert "    --preset=four, on any data set" in text.splitlines()
    for model in presets.PRESETS:
        for preset, datasets in presets.listed(model).items():
            assert f"--preset={preset}, on {', '.join(datasets)}" in text
            for dataset in datasets:
                name = "digits" if dataset == "any data set" else dataset
                assert presets.find(model, name, preset)
        assert "default" not in presets.listed(model)


def test_variations_are_a_grid_with_seeds_fastest():
    kind = configuration.config_class("beta_vae")
    assert run.variations(kind, [], []) == [()]
    assert run.variations(kind, ["beta=1,4", "latent_dim=6"], ["0", "1"]) == [
        ("beta=1", "latent_dim=6", "seed=0"),
        ("beta=1", "latent_dim=6", "seed=1"),
        ("beta=4", "latent_dim=6", "seed=0"),
        ("beta=4", "latent_dim=6", "seed=1"),
    ]
    kind = configuration.config_class("cascade_vae")
    assert run.variations(kind, ["structure=d,e"], []) == [
        ("structure=d",),
        ("structure=e",),
    ]
    for text in ("1->3,2->3", "hair=colour+length,1->2"):
        with pytest.raises(InputError, match="edges of a structure have comm"):
            run.variations(kind, [f"structure={text}"], [])


@pytest.mark.parametrize(
    ("grids", "seeds", "message"),
    [
        (["beta"], [], "expected key=value,value"),
        (["beta="], [], "expected key=value,value"),
        (["beta=1,1"], [], "without repetitions"),
        (["beta=1", "beta=2"], [], "beta is given twice"),
        (["seed=1"], ["2"], "seed is given twice"),
        (["filters=8,16"], [], "lists themselves"),
    ],
)
def test_variations_that_make_no_sense(grids, seeds, message):
    kind = configuration.config_class("autoencoder")
    with pytest.raises(InputError, match=message):
        run.variations(kind, grids, seeds)


def test_work_directories_of_variations():
    config = configuration.build("beta_vae", "npz:/data/x.npz", seed=3)
    assert str(run.default_workdir(config)) == "runs/beta_vae-x.npz-3"
    varied = ("beta=4", "seed=3")
    workdir = run.default_workdir(config, varied, "sweep")
    assert str(workdir) == "sweep/beta_vae-x.npz-beta=4-3"
    # The run proper would be refused in the directory of the quick one.
    quick = run.default_workdir(config, quick=True)
    assert str(quick) == "runs/beta_vae-x.npz-3-quick"


def flags(**values):
    """Flags of `run.main` as the command line gives them."""
    defaults = {
        "model": "beta_vae",
        "dataset": "digits",
        "preset": "default",
        "set": ["latent_dim=3", "batch_size=8"],
        "workdir": None,
        "steps": None,
        "seed": None,
        "seeds": [],
        "grid": [],
        "strategy": "single",
        "precision": None,
        "data_dir": None,
        "backbone": None,
        "quick": True,
    }
    return types.SimpleNamespace(**defaults | values)


@pytest.mark.parametrize("workdir", ["photos", "photos/runs/a"])
def test_a_run_is_kept_out_of_its_own_images(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="its pictures would become data"):
        run.main(flags(dataset="folder:photos/", workdir=workdir))
    assert not list((tmp_path / "photos").iterdir())


def test_a_slash_at_the_end_makes_no_other_data_set(tmp_path, monkeypatch):
    from trainers import job

    asked = []
    monkeypatch.setattr(job, "run", lambda config, **_: asked.append(config))
    for dataset in ("folder:photos", "folder:photos/"):
        run.main(flags(dataset=dataset))
    assert asked[0] == asked[1]


def test_quick_stops_where_it_is_told_to(tmp_path, monkeypatch):
    from trainers import job

    asked = []
    monkeypatch.setattr(job, "run", lambda config, **_: asked.append(config))
    run.main(flags())
    run.main(flags(steps=3))
    assert [config.steps for config in asked] == [20, 3]
    assert {config.judge_steps for config in asked} == {0}


def weights(workdir):
    return [v.numpy() for v in rundir.load_model(workdir).trainable_variables]


@pytest.mark.slow
def test_seeds_one_after_the_other_are_the_runs_they_would_be_alone(
    tmp_path, capsys
):
    several = flags(seeds=["0", "1"], workdir=str(tmp_path / "sweep"))
    run.main(several)
    told = capsys.readouterr().out
    first, second = (
        tmp_path / f"sweep/beta_vae-digits-{n}-quick" for n in (0, 1)
    )
    assert f"trainers.compare {first} {second}" in told
    run.main(flags(seed=1, workdir=str(tmp_path / "alone")))
    for a, b in zip(weights(second), weights(tmp_path / "alone"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert not np.allclose(weights(first)[0], weights(second)[0])
    # The same line again finds nothing to do.
    before = (first / "metrics.json").stat().st_mtime_ns
    capsys.readouterr()
    run.main(several)
    assert capsys.readouterr().out.count("finished before") == 2
    assert (first / "metrics.json").stat().st_mtime_ns == before
    # A directory of another configuration is not taken for this one's.
    several.set.append("beta=2")
    with pytest.raises(InputError, match="beta 1.0 there, 2.0 asked for"):
        run.main(several)


def test_a_run_that_breaks_off_leaves_the_others_alone(
    tmp_path, capsys, monkeypatch
):
    plain = BetaVAE.objective

    def objective(self, *given, **options):
        found, rivals = plain(self, *given, **options)
        if self.beta == 9:
            found["loss"] += np.nan
        return found, rivals

    monkeypatch.setattr(BetaVAE, "objective", objective)
    several = flags(grid=["beta=9,1"], workdir=str(tmp_path))
    with pytest.raises(InputError, match="1 of 2 runs broke off.*beta=9-0"):
        run.main(several)
    assert "became NaN" in capsys.readouterr().err
    assert (tmp_path / "beta_vae-digits-beta=1-0-quick/metrics.json").exists()
    # What keeps every run from starting is said once.
    several.dataset = f"npz:{tmp_path / 'none.npz'}"
    with pytest.raises(InputError, match="There is no file"):
        run.main(several)
    assert capsys.readouterr().err == ""


def make_folder(root, classes, images):
    rng = np.random.default_rng(0)
    for c in range(classes):
        for n in range(images):
            path = root / f"class{c}" / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return root


def truncated(root):
    make_folder(root, 8, 3)
    path = root / "class3" / "1.png"
    path.write_bytes(path.read_bytes()[:200])
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "missing", "There is no folder"),
        (lambda root: root.mkdir() or root, "no PNG or JPEG"),
        (truncated, "1.png"),
        (lambda root: make_folder(root, 8, 1), "1-shot"),
        (lambda root: make_folder(root, 3, 4), "classes"),
    ],
)
def test_bad_folders_end_in_one_line(make, message, tmp_path):
    folder = make(tmp_path / "images")
    result = command(
        "--model=fden",
        f"--dataset=folder:{folder}",
        f"--workdir={tmp_path / 'run'}",
        "--quick",
    )
    assert result.returncode == 2, result.stderr
    lines = own_lines(result.stderr)
    assert len(lines) == 1, result.stderr
    assert message in lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_unprepared_data_without_a_network_names_the_command(tmp_path):
    result = command(
        "--model=fden",
        "--dataset=omniglot",
        f"--data_dir={tmp_path / 'none'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert result.returncode == 2
    lines = own_lines(result.stderr)
    assert 'tfds.builder("omniglot"' in lines[-1]
    assert "'digits'" in lines[-1]
    assert not (tmp_path / "run").exists()
