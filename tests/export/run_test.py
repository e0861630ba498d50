"""The export command, from a run directory to a version."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export import run as export_run
from export import saved_model
from tfdisent.errors import InputError
from tfdisent.models.base import StepModel
from trainers import command
from trainers import config as configuration
from trainers import rundir

SMALL = ("latent_dim=8", "filters=8,8,8", "hidden=16")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, save_run):
    """A folder with the run of a backbone and of an FDEN on it."""
    folder = tmp_path_factory.mktemp("runs")
    config = configuration.build("autoencoder", "digits", settings=SMALL)
    backbone = save_run(folder / "autoencoder", config)
    config = configuration.build("fden", "digits")
    save_run(folder / "fden", config, backbone=backbone)
    rundir.copy_backbone(folder / "autoencoder", folder / "fden" / "backbone")
    (folder / "fden" / "metrics.json").write_text(
        '{"few_shot": {"accuracy": 0.5}, "undefined": NaN}'
    )
    return folder


def export(*texts):
    """The exit status of the command."""
    with pytest.raises(SystemExit) as caught:
        command.run(
            export_run.main, export_run.define_flags, argv=["export", *texts]
        )
    return caught.value.code


def test_exports_a_run(runs, tmp_path, capsys):
    output = tmp_path / "models" / "fden"
    assert export(f"--run={runs / 'fden'}", f"--output={output}") is None
    printed = capsys.readouterr().out
    for text in (
        "swap ",
        "mix float32 [B, 2]",
        "identity float32 [B, 8], style float32 [B, 8]",
        f"Written: {output / '1'}",
        f"tf.saved_model.load('{output / '1'}')",
        f"python -m serving.run --models={output.parent}",
        "tensorflow_model_server",
    ):
        assert text in printed

    card = saved_model.read_card(output / "1")
    assert card["model"] == "FDEN"
    assert card["configuration"]["alignment"] == "proto"
    assert card["dataset"]["name"] == "digits"
    assert card["scores"] == {"few_shot": {"accuracy": 0.5}, "undefined": None}
    # Classes that the episodes of training did not have.
    assert len(card["samples"]) == saved_model.SAMPLES
    assert {sample["label"] for sample in card["samples"]} <= set(range(5, 10))
    assert card["ranges"]["images"] == saved_model.RANGED
    assert list(card["ranges"]["parts"]) == ["identity", "style"]

    model = rundir.load_model(runs / "fden")
    image = tf.constant(np.random.default_rng(0).random((2, 32, 32, 1)))
    image = tf.cast(image, tf.float32)
    loaded = tf.saved_model.load(str(output / "1"))
    received = loaded.signatures["encode"](image=image)
    for name, value in model.encode(image).items():
        np.testing.assert_allclose(received[name], value, atol=1e-5)


def test_a_data_set_that_is_gone_costs_its_images_only(runs, tmp_path, capsys):
    config, shape = rundir.read_config(runs / "autoencoder")
    stored = configuration.to_dict(config) | {"dataset": "folder:/gone"}
    config = configuration.from_dict(stored)
    model = rundir.build_model(config, shape)
    description, images = export_run.held_out_images(config, model)
    assert description == {} and images is None
    assert "/gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["--output=m"], "--run=DIRECTORY"),
        (["--run=nowhere"], "--output=DIRECTORY"),
        (["--run=nowhere", "--output=m"], "'nowhere' is no run directory"),
        (["--run={run}", "--output=m/3"], "models/NAME"),
        (["--run={run}", "--output={run}/config.json/m"], "is a file"),
        (["--run={run}", "--output=m", "--max_pixels=0"], "max_pixels"),
        (["--run={run}", "--output=m", "--versin=2"], "versin"),
    ],
)
def test_bad_flags_end_in_one_line(
    runs, tmp_path, monkeypatch, capsys, texts, message
):
    monkeypatch.chdir(tmp_path)
    texts = [text.format(run=runs / "fden") for text in texts]
    assert export(*texts) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_refused(tmp_path, capsys):
    config = configuration.build("autoencoder", "digits", settings=SMALL)
    rundir.claim(tmp_path / "run", config, (32, 32, 1))
    texts = [f"--run={tmp_path / 'run'}", f"--output={tmp_path / 'm'}"]
    assert export(*texts) == 2
    assert "no readable checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_model_without_parts_is_refused(runs, tmp_path, monkeypatch):
    model = StepModel((32, 32, 1))
    monkeypatch.setattr(rundir, "load_model", lambda _: model)
    with pytest.raises(InputError, match="no named parts"):
        export_run.export_run(runs / "autoencoder", tmp_path / "m")


def test_bad_flags_are_answered_before_tensorflow_starts():
    program = (
        "import sys\n"
        "from export import run\n"
        "sys.argv = ['export', '--run=nowhere', '--output=m']\n"
        "try:\n"
        "    run.console()\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'tensorflow' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout == "2 False\n"
    assert done.stderr == (
        "'nowhere' is no run directory (it has no config.json).\n"
    )
