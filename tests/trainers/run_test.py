"""The command itself: the main job once, and bad input in one line."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

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


def test_codes_and_export_of_the_run(quick_run, tmp_path):
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
    result = command(
        f"--run={workdir}",
        f"--output={tmp_path / 'models'}",
        module="export.run",
    )
    assert result.returncode == 0, result.stderr
    # The exported model is a backbone like any other.
    result = command(
        "--model=fden",
        "--dataset=digits",
        f"--workdir={tmp_path / 'stacked'}",
        f"--backbone={tmp_path / 'models' / '1'}",
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
    ],
)
def test_bad_arguments_end_before_tensorflow_starts(
    arguments, message, tmp_path
):
    start = time.perf_counter()
    result = command(*arguments, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    # TensorFlow alone takes several seconds on these machines.
    assert "tensorflow" not in result.stderr
    assert time.perf_counter() - start < 60
    assert not (tmp_path / "run").exists()


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
    assert "tfds build omniglot" in lines[-1]
    assert "'digits'" in lines[-1]
    assert not (tmp_path / "run").exists()
