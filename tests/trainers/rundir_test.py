import json
import os

import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent import testing
from trainers import config as configuration
from trainers import rundir


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    rundir.write_json(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        rundir.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    model = testing.tiny_model("autoencoder")
    model.compile()
    checkpoints = rundir.Checkpoints(model, tmp_path)
    checkpoints.save()
    before = sorted(p.name for p in tmp_path.iterdir())

    def full(**_):
        (tmp_path / "ckpt-1_temp").mkdir()
        (tmp_path / "ckpt-1_temp" / "part").write_text("half")
        raise tf.errors.ResourceExhaustedError(
            None, None, f"{tmp_path}/ckpt-1; No space left on device"
        )

    monkeypatch.setattr(checkpoints.writer, "save", full)
    with pytest.raises(InputError, match=": No space left on device. Older"):
        checkpoints.save()
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert checkpoints.restore()


def test_a_run_directory_has_one_writer(tmp_path):
    run = tmp_path / "run"
    with rundir.alone(run):
        with pytest.raises(InputError, match="run' is in use by another"):
            with rundir.alone(run):
                pass
        (run / "config.json").write_text("{}")
    with rundir.alone(run):
        pass
    assert (run / "config.json").exists()
    # What ended before it wrote anything leaves nothing.
    with pytest.raises(InputError, match="bad data"):
        with rundir.alone(tmp_path / "new"):
            raise InputError("bad data")
    assert not (tmp_path / "new").exists()


def test_what_is_stored_comes_back(tmp_path):
    config = configuration.build("fden", "digits", settings=["steps=7"])
    claimed = rundir.claim(tmp_path, config, (32, 32, 1))
    assert claimed.schedule_steps == 7
    read, shape = rundir.read_config(tmp_path)
    assert read == claimed
    assert shape == (32, 32, 1)
    longer = configuration.build("fden", "digits", settings=["steps=9"])
    again = rundir.claim(tmp_path, longer, (32, 32, 1))
    # Where a run stops may change; what its schedules span may not.
    assert (again.steps, again.schedule_steps) == (9, 7)


def test_directories_that_are_no_runs(tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        rundir.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        rundir.read_config(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is damaged"):
        rundir.read_config(tmp_path)
    with pytest.raises(InputError, match="no run directory"):
        rundir.read_config(tmp_path / "config.json")
    with pytest.raises(InputError, match="neither a run directory"):
        rundir.load_backbone(tmp_path / "missing")


def test_runs_that_cannot_be_plugged_in_or_lost_their_backbone(
    tmp_path, save_run
):
    rival = "tfdisent.models.few_shot:PrototypicalNetwork"
    config = configuration.build(rival, "digits", settings=["filters=4"])
    save_run(tmp_path / "rival", config)
    with pytest.raises(InputError, match="rival' holds a PrototypicalNetwork"):
        rundir.load_backbone(tmp_path / "rival")
    config = configuration.build("fden", "digits")
    rundir.claim(tmp_path / "fden", config, (32, 32, 1))
    with pytest.raises(InputError, match="fden/backbone' is neither"):
        rundir.load_model(tmp_path / "fden")


@pytest.mark.parametrize(
    "content", [b"", b"garbage {", b'model_checkpoint_path: "ckpt-9"', None]
)
def test_checkpoints_are_found_without_tensorflows_list(tmp_path, content):
    """A run would start again, over what it had."""
    model = testing.tiny_model("autoencoder")
    model.compile()
    checkpoints = rundir.Checkpoints(model, tmp_path)
    for step in (2, 10):
        model.step.assign(step)
        checkpoints.save()
    (tmp_path / "checkpoint").unlink()
    if content is not None:
        (tmp_path / "checkpoint").write_bytes(content)
    model.step.assign(0)
    again = rundir.Checkpoints(model, tmp_path)
    assert again.restore()
    assert int(model.step.numpy()) == 10
    # The list is whole again: the oldest goes when a third one comes.
    model.step.assign(11)
    again.save()
    names = [path.name for path in sorted(tmp_path.glob("*.index"))]
    assert names == ["ckpt-10.index", "ckpt-11.index"]


def test_a_backbone_is_copied_once_and_whole(tmp_path):
    source, target = tmp_path / "source", tmp_path / "run" / "backbone"
    (source / "checkpoints").mkdir(parents=True)
    (source / "checkpoints" / "checkpoint").write_text("x")
    (source / "config.json").write_text("{}")
    (source / "logs").mkdir()
    rundir.copy_backbone(source, target)
    assert sorted(p.name for p in target.iterdir()) == [
        "checkpoints",
        "config.json",
    ]
    (source / "config.json").write_text("changed")
    rundir.copy_backbone(source, target)
    assert (target / "config.json").read_text() == "{}"


def test_a_backbone_that_cannot_be_copied_leaves_nothing(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "checkpoints").mkdir()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir.shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        rundir.copy_backbone(source, tmp_path / "run" / "backbone")
    assert not list((tmp_path / "run").iterdir())


def test_damaged_scores_are_named(tmp_path):
    assert rundir.read_scores(tmp_path) == {}
    (tmp_path / "metrics.json").write_text(json.dumps({"mig": 1})[:-1])
    with pytest.raises(InputError, match="metrics.json.*damaged"):
        rundir.read_scores(tmp_path)
