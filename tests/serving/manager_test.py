"""Versions that come, go, fail, and lie where they should not."""

import os
import pathlib
import shutil
import time

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import Code
from serving.errors import RequestError
from serving.manager import Manager
from serving.manager import State


def config_of(text):
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())


def listed(*models):
    """A configuration with a line of each model's fields."""
    entries = [
        f'config {{ model_platform: "tensorflow" {fields} }}'
        for fields in models
    ]
    return config_of(f"model_config_list {{ {' '.join(entries)} }}")


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "models"
    path.mkdir()
    return path


@pytest.fixture
def add(root, halves):
    """`add(model, version, offset)` puts a whole version there at once."""

    def add(model, version, offset=2):
        target = root / model / str(version)
        target.parent.mkdir(exist_ok=True)
        hidden = root / model / ".copy"
        shutil.copytree(halves / str(offset), hidden)
        hidden.rename(target)
        return target

    return add


@pytest.fixture
def manager(root):
    """One that looks when told to, and takes files of any age for settled."""
    return Manager(root, poll_seconds=-1)


def offset_of(servable):
    """Of y = x / 2 + offset."""
    zero = {"x": np.zeros(1, np.float32)}
    return servable.signature("").run(zero)["y"][0]


def states(manager, model):
    return {n: state for n, state, _ in manager.status(model)}


def test_every_directory_with_versions_is_a_model(root, add, manager):
    add("a", 1)
    add("b", "00007", 3)
    (root / "notes").mkdir()
    (root / "a" / "old").mkdir()
    (root / "a" / "-3").mkdir()
    (root / "a" / "9").write_text("no directory")
    (root / ".hidden" / "1").mkdir(parents=True)
    manager.refresh()
    assert manager.names() == ["a", "b"]
    assert states(manager, "a") == {1: State.AVAILABLE}
    assert offset_of(manager.find("a")) == 2
    assert offset_of(manager.find("b", 7)) == 3


def test_a_newer_version_replaces_the_older(add, manager):
    add("m", 1, 2)
    manager.refresh()
    running = manager.find("m")
    add("m", 3, 3)
    manager.refresh()
    assert offset_of(manager.find("m")) == 3
    # A request that has begun keeps what it has.
    assert states(manager, "m") == {3: State.AVAILABLE, 1: State.UNLOADING}
    assert offset_of(running) == 2
    del running
    assert states(manager, "m") == {3: State.AVAILABLE, 1: State.END}
    with pytest.raises(RequestError, match=r"Specific\(m, 1\)") as caught:
        manager.find("m", 1)
    assert caught.value.code == Code.NOT_FOUND


def test_removing_the_newest_version_brings_back_the_one_before(add, manager):
    add("m", 1, 2)
    newest = add("m", 2, 3)
    manager.refresh()
    shutil.rmtree(newest)
    manager.refresh()
    assert offset_of(manager.find("m")) == 2
    assert states(manager, "m") == {2: State.END, 1: State.AVAILABLE}


def test_a_version_that_fails_leaves_the_older(root, add, manager, caplog):
    add("m", 1)
    manager.refresh()
    path = add("m", 2)
    (path / "saved_model.pb").write_bytes(b"\xff" * 9)
    for _ in range(3):
        manager.refresh()
    assert manager.find("m").version == 1
    (version, state, error), *_ = manager.status("m")
    assert (version, state) == (2, State.END)
    assert "saved_model.pb" in error.message
    # Tried once, not again and again.
    assert caplog.text.count("cannot be loaded") == 1
    # Mended, it is tried again.
    shutil.rmtree(path)
    add("m", 2, 3)
    manager.refresh()
    assert offset_of(manager.find("m")) == 3
    assert manager.status("m", 2) == [(2, State.AVAILABLE, None)]


def test_damaged_weights_are_reported(add, manager):
    path = add("m", 1)
    shard = path / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-1])
    manager.refresh()
    ((_, state, error),) = manager.status("m")
    assert state == State.END
    assert error.message
    with pytest.raises(RequestError):
        manager.find("m")


def test_a_failing_warm_up_fails_the_load(add, manager, halves):
    path = add("m", 1)
    write_warmup(path, np.float64([1.0]))
    manager.refresh()
    ((_, state, error),) = manager.status("m")
    assert (state, error.code) == (State.END, Code.INVALID_ARGUMENT)
    add("m", 2)
    write_warmup(path.with_name("2"), np.float32([1.0]))
    manager.refresh()
    assert manager.find("m").version == 2


def write_warmup(path, value):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(value))
    (path / "assets.extra").mkdir()
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())


def test_half_copied_versions_are_not_there(root, halves, add, manager):
    """Whatever has arrived so far, and in whatever order."""
    add("m", 1)
    manager.refresh()
    manager.poll_seconds = 60
    target = root / "m" / "2"
    files = [p for p in sorted((halves / "3").rglob("*")) if p.is_file()]
    for file in reversed(files):
        copy = target / file.relative_to(halves / "3")
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        with copy.open("wb") as out:
            out.write(content[: len(content) // 2])
            out.flush()
            manager.refresh()
            assert states(manager, "m") == {1: State.AVAILABLE}
            out.write(content[len(content) // 2 :])
        manager.refresh()
        assert states(manager, "m") == {1: State.AVAILABLE}
    # Complete, and unchanged for as long as asked for.
    manager.poll_seconds = -1
    manager.refresh()
    assert offset_of(manager.find("m")) == 3


def test_a_copy_that_stopped_in_the_middle_is_never_loaded(root, add, manager):
    path = add("m", 1)
    for file in (path / "variables").iterdir():
        file.unlink()
        manager.refresh()
        assert manager.names() == []
    (path / "variables").rmdir()
    # Without variables it may be a model that has none; this one is not.
    manager.refresh()
    assert states(manager, "m") == {1: State.END}


@pytest.mark.parametrize("linked", ["version", "file", "model"])
def test_links_out_of_the_directory_are_not_followed(
    root, halves, add, manager, linked, tmp_path
):
    outside = tmp_path / "outside"
    shutil.copytree(halves / "2", outside / "1")
    if linked == "model":
        (root / "m").symlink_to(outside)
    elif linked == "version":
        (root / "m").mkdir()
        (root / "m" / "1").symlink_to(outside / "1")
    else:
        path = add("m", 1)
        (path / "saved_model.pb").unlink()
        (path / "saved_model.pb").symlink_to(outside / "1" / "saved_model.pb")
    manager.refresh()
    ((_, state, error),) = manager.status("m")
    assert (state, error.code) == (State.END, Code.PERMISSION_DENIED)
    assert "leads out of" in error.message


def test_links_inside_of_the_directory_are(root, add, manager):
    path = add("m", 1)
    (root / "alias").symlink_to(path.parent)
    manager.refresh()
    assert offset_of(manager.find("alias")) == 2


# ---- configuration --------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", {5}),
        ("latest {}", {5}),
        ("latest { num_versions: 2 }", {3, 5}),
        ("all {}", {1, 3, 5}),
        ("specific { versions: 1 versions: 3 versions: 8 }", {1, 3}),
    ],
)
def test_version_policies(add, manager, policy, versions):
    for version in (1, 3, 5):
        add("m", version)
    policy = f"model_version_policy {{ {policy} }}" if policy else ""
    manager.reload(listed(f'name: "m" base_path: "m" {policy}'))
    assert set(states(manager, "m")) == versions
    assert manager.find("m").version == max(versions)


def test_a_reload_serves_that_and_nothing_else(add, manager, root):
    add("a", 1)
    add("b", 1, 3)
    manager.refresh()
    manager.reload(listed(f'name: "c" base_path: "{root}/b"'))
    assert offset_of(manager.find("c")) == 3
    for name in "ab":
        with pytest.raises(RequestError):
            manager.find(name)
        assert states(manager, name) == {1: State.END}
    # New directories no longer count.
    add("d", 1)
    manager.refresh()
    assert "d" not in manager.names()


def test_a_number_that_is_loaded_stays_what_it_is(add, manager):
    """Even under another path: a version is its model's name and number."""
    add("a", 1, 2)
    add("b", 1, 3)
    manager.reload(listed('name: "m" base_path: "a"'))
    manager.reload(listed('name: "m" base_path: "b"'))
    assert offset_of(manager.find("m")) == 2
    # Another number is loaded from there.
    add("b", 2, 4)
    manager.refresh()
    assert offset_of(manager.find("m")) == 4
    # So is the same one, when it was not served in between.
    manager.reload(listed('name: "other" base_path: "b"'))
    manager.reload(
        listed(
            'name: "m" base_path: "b" '
            "model_version_policy { specific { versions: 1 } }"
        )
    )
    assert offset_of(manager.find("m")) == 3


def test_what_was_there_at_the_start_is_known_to_be_loaded(add, manager):
    add("m", 1)
    assert not manager.looked.is_set()
    manager.start()
    try:
        assert manager.looked.wait(30)
        assert manager.find("m").version == 1
    finally:
        manager.stop()


def test_that_there_are_no_models_is_said_once(add, manager, caplog):
    manager.start()
    try:
        assert manager.looked.wait(30)
        add("m", 1)
        end = time.monotonic() + 30
        while not manager.knows("m") and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        manager.stop()
    assert manager.knows("m")
    assert caplog.text.count("There are no models below") == 1


def test_labels(add, manager):
    add("m", 1, 2)
    add("m", 2, 3)
    fields = 'name: "m" base_path: "m" model_version_policy { all {} } '

    def label(name, version):
        return f'version_labels {{ key: "{name}" value: {version} }}'

    manager.reload(listed(fields + label("stable", 1) + label("canary", 2)))
    assert manager.find("m", label="stable").version == 1
    assert manager.find("m", label="canary").version == 2
    manager.reload(listed(fields + label("stable", 2)))
    assert manager.find("m", label="stable").version == 2
    with pytest.raises(RequestError, match="version label: canary") as e:
        manager.find("m", label="canary")
    assert e.value.code == Code.INVALID_ARGUMENT
    # A new one may name what is still to come.
    soon = listed(fields + label("stable", 2) + label("next", 9))
    with pytest.raises(RequestError, match="label next to version 9") as e:
        manager.reload(soon, timeout=0)
    assert e.value.code == Code.FAILED_PRECONDITION
    add("m", 9, 4)
    manager.refresh()
    assert manager.find("m", label="next").version == 9


def test_a_label_that_moves_to_what_is_not_loaded_refuses_the_whole_file(
    add, manager
):
    """Even where the same file would have it loaded."""
    for name in ("m", "other"):
        add(name, 1, 2)
    add("m", 2, 3)
    other = 'name: "other" base_path: "other"'

    def stable(version):
        return (
            'name: "m" base_path: "m" model_version_policy '
            f"{{ specific {{ versions: {version} }} }} "
            f'version_labels {{ key: "stable" value: {version} }}'
        )

    manager.reload(listed(stable(1)))
    with pytest.raises(RequestError, match="label stable to version 2") as e:
        manager.reload(listed(other, stable(2)))
    assert e.value.code == Code.FAILED_PRECONDITION
    manager.refresh()
    assert manager.find("m", label="stable").version == 1
    assert [number for number, *_ in manager.status("m")] == [1]
    assert not manager.knows("other")


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        (listed('name: "m" base_path: "/etc"'), 7, "is not below"),
        (listed('name: "m" base_path: "../x"'), 7, "is not below"),
        (listed('name: "m" base_path: "m/../../x"'), 7, "is not below"),
        (listed('base_path: "m"'), 3, "needs a name"),
        (listed('name: "m"'), 3, "needs a name and a base_path"),
        (
            listed('name: "m" base_path: "m"', 'name: "m" base_path: "m"'),
            3,
            "Illegal to list model m multiple times",
        ),
        (
            listed('name: "m" base_path: "m" model_type: TENSORFLOW'),
            3,
            "setting both",
        ),
        (
            config_of(
                'model_config_list { config { name: "m" base_path: "m" } }'
            ),
            3,
            "setting neither",
        ),
        (
            config_of(
                "model_config_list { config { "
                'name: "m" base_path: "m" model_platform: "caffe" } }'
            ),
            3,
            "'caffe' cannot be served",
        ),
        (config_of("custom_model_config {}"), 3, "only model_config_list"),
    ],
)
def test_configurations_that_cannot_be_used(
    add, manager, config, code, message
):
    add("a", 1)
    manager.refresh()
    with pytest.raises(RequestError, match=message) as caught:
        manager.reload(config)
    assert caught.value.code == code
    manager.refresh()
    assert manager.find("a").version == 1


def test_a_link_is_resolved_before_it_is_compared(root, add, manager, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "inside").symlink_to(outside)
    with pytest.raises(RequestError, match="is not below"):
        manager.reload(listed('name: "m" base_path: "inside/m"'))


def test_a_reload_tells_what_did_not_become_available(add, manager):
    add("a", 1)
    path = add("b", 1)
    (path / "saved_model.pb").write_bytes(b"\xff")
    config = listed('name: "a" base_path: "a"', 'name: "b" base_path: "b"')
    with pytest.raises(RequestError, match=r"available: \{b\}") as caught:
        manager.reload(config)
    assert caught.value.code == Code.UNKNOWN
    assert manager.find("a").version == 1
    with pytest.raises(RequestError, match=r"available: \{c\}"):
        manager.reload(listed('name: "c" base_path: "c"'), timeout=0)


def test_a_configuration_file_is_read_again_when_it_changes(root, add):
    add("a", 1)
    add("b", 1)
    file = root / "models.config"

    def write(name):
        file.write_text(str(listed(f'name: "{name}" base_path: "{name}"')))

    write("a")
    manager = Manager(root, file, poll_seconds=0.02, config_poll_seconds=0.02)
    manager.start()
    try:
        wait_until(lambda: "a" in manager.names())
        wait_until(lambda: states(manager, "a") == {1: State.AVAILABLE})
        for unusable in ("nonsense {", ""):
            file.write_text(unusable)
            time.sleep(0.1)
        assert states(manager, "a") == {1: State.AVAILABLE}
        write("b")
        wait_until(lambda: "b" in manager.names())
        wait_until(lambda: states(manager, "a") == {1: State.END})
    finally:
        manager.stop()


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    "content",
    [None, "nonsense {", 'model_config_list { config { name: "m" } }'],
)
def test_a_configuration_file_that_cannot_be_read(root, content):
    file = root / "models.config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RequestError, match="models.config"):
        Manager(root, file)


def test_what_nobody_may_read_keeps_nothing_else_from_being_served(
    root, add, manager, monkeypatch
):
    add("b", 1)
    (root / "a").mkdir()
    iterdir = pathlib.Path.iterdir
    locked = {"a"}

    def guarded(path):
        if path.name in locked:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(pathlib.Path, "iterdir", guarded)
    manager.refresh()
    assert states(manager, "b") == {1: State.AVAILABLE}
    # Out of reach for a moment, a model stays loaded.
    locked.add("b")
    manager.refresh()
    assert states(manager, "b") == {1: State.AVAILABLE}
    assert not manager.knows("a")


def test_a_directory_that_is_out_of_reach_changes_nothing(root, add, manager):
    add("m", 1)
    manager.reload(listed('name: "m" base_path: "m"'))
    os.rename(root / "m", root / ".away")
    manager.refresh()
    assert manager.find("m").version == 1
    os.rename(root / ".away", root / "m")
    manager.refresh()
    assert states(manager, "m") == {1: State.AVAILABLE}
