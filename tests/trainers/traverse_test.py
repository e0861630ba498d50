import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdisent import InputError
from tfdisent import data
from tfdisent.models.base import StepModel
from trainers import command
from trainers import config as configuration
from trainers import rundir
from trainers import train
from trainers import traverse


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory, digits = tmp_path_factory.mktemp("runs"), data.load("digits")
    for name in ("beta_vae", "pro_vlae"):
        config = configuration.build(
            name, "digits", settings=["batch_size=4", "steps=3"]
        )
        train.train_images(
            config, directory / name, digits, tf.distribute.get_strategy()
        )
    return directory


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        command.run(
            traverse.main,
            traverse.define_flags,
            argv=["traverse", *map(str, arguments)],
        )
    return end.value.code


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_runs_stand_side_by_side(runs, tmp_path):
    both = f"--runs={runs / 'beta_vae'},{runs / 'pro_vlae'}"
    sizes = {}
    for name, extra in {
        "image": [],
        "other": ["--image=7"],
        "prior": ["--from_prior"],
        "long": ["--steps=11", "--span=4"],
    }.items():
        output = tmp_path / f"{name}.png"
        assert not run(both, f"--output={output}", *extra)
        sizes[name] = picture(output)
    assert np.any(sizes["image"] != sizes["other"])
    assert np.any(sizes["image"] != sizes["prior"])
    # Smaller images, but more of them.
    assert sizes["long"].shape != sizes["image"].shape


def test_the_title_tells_the_factors_that_were_found(tmp_path):
    run = str(tmp_path)
    assert traverse.title(run) == run
    scores = {
        "protocol": {"factors": ["shape", "scale", "hue"]},
        "rows": {"vae": {"factors_found": 2.0}, "PCA": {"factors_found": 1.0}},
    }
    stored = {"disentanglement": scores}
    (tmp_path / "metrics.json").write_text(json.dumps(stored))
    assert traverse.title(run) == f"{run}: 2 of 3 factors found"
    del scores["rows"]["vae"]["factors_found"]
    (tmp_path / "metrics.json").write_text(json.dumps(stored))
    assert traverse.title(run) == run


def test_one_run_moves(runs, tmp_path):
    output = tmp_path / "t.gif"
    assert not run(
        f"--runs={runs / 'pro_vlae'}", f"--output={output}", "--steps=4"
    )
    with Image.open(output) as gif:
        assert gif.n_frames == 6


def test_models_of_labels_show_every_class(runs, tmp_path, capsys):
    config = configuration.build(
        "class_vae", "digits", settings=["batch_size=4", "steps=3"]
    )
    digits, one = data.load("digits"), tf.distribute.get_strategy()
    train.train_images(config, tmp_path / "run", digits, one)
    labelled, output = f"--runs={tmp_path / 'run'}", tmp_path / "t.png"

    def drawn(*arguments):
        assert not run(labelled, f"--output={output}", *arguments)
        return picture(output)

    generic = drawn("--steps=3")
    specific = drawn("--steps=3", "--part=specific")
    assert np.any(generic != specific)
    np.testing.assert_array_equal(generic, drawn("--steps=3", "--part=generic"))
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    both = f"{labelled},{tmp_path / 'again'}"
    assert not run(both, "--steps=3", f"--output={tmp_path / 'two.png'}")
    assert picture(tmp_path / "two.png").shape[1] > 1.9 * generic.shape[1]
    capsys.readouterr()
    for arguments, message in (
        ([labelled, "--part=z"], "has generic, specific"),
        ([labelled, "--from_prior"], "one image a class"),
        ([f"{labelled},{runs / 'beta_vae'}"], "one of labels among others"),
        ([f"--runs={runs / 'beta_vae'}", "--part=z"], "models of labels"),
    ):
        assert run(f"--output={tmp_path / 'no.png'}", *arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--runs=A,B and --output"),
        (["--runs=a,b", "--output=x.gif"], "shows one run"),
        (["--runs=a", "--output=x.png", "--steps=1"], "2 to 99"),
        (["--runs=a", "--output=x.png", "--steps=100"], "2 to 99"),
        (["--runs=a", "--output=x.png", "--span=nan"], "--span=nan: expected"),
        (["--runs=a", "--output=x.png", "--span=-1"], "--span=-1: expected"),
        (["--runs=a", "--output=x.png"], "no run directory"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_runs_of_different_data_are_one_line(runs, tmp_path, capsys):
    shutil.copytree(runs / "beta_vae", tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    stored = json.loads(path.read_text())
    stored["config"]["dataset"] = "mnist"
    path.write_text(json.dumps(stored))
    both = f"--runs={runs / 'pro_vlae'},{tmp_path / 'other'}"
    assert run(both, f"--output={tmp_path / 'x.png'}") == 2
    error = capsys.readouterr().err
    assert "mnist" in error and "digits" in error
    assert len(error.splitlines()) == 1


def test_a_run_without_parts_is_one_line(runs, monkeypatch, capsys):
    monkeypatch.setattr(rundir, "load_model", lambda _: StepModel((8, 8, 1)))
    assert run(f"--runs={runs / 'beta_vae'}", "--output=x.png") == 2
    assert "a StepModel, which has no named parts" in capsys.readouterr().err


def test_an_image_that_is_not_there(runs):
    with pytest.raises(InputError, match="images 0 to"):
        traverse.held_out_images(runs / "beta_vae", 10**6)
