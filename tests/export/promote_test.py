"""Promotion: what is written, when a label moves, and what a server sees."""

import http.server
import json
import threading
import time

import pytest
from google.protobuf import text_format

from export import promote
from tfdisent.errors import InputError
from trainers import command

model_server_config_pb2 = pytest.importorskip(
    "tensorflow_serving.config.model_server_config_pb2"
)


@pytest.fixture
def models(tmp_path):
    """A tree with versions 1 to 4 of a model; 5 is half-copied."""
    for version in ("1", "2", "3", "0004"):
        folder = tmp_path / "models" / "fden" / version
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph " + version.encode())
    (tmp_path / "models" / "fden" / "5").mkdir()
    (tmp_path / "models" / "fden" / ".export-x").mkdir()
    return tmp_path / "models"


def run(*texts):
    """The exit status of the command."""
    with pytest.raises(SystemExit) as caught:
        command.run(
            promote.main, promote.define_flags, argv=["promote", *texts]
        )
    return caught.value.code


def step(models, version, label):
    return run(
        f"--models={models}",
        "--model=fden",
        f"--version={version}",
        f"--label={label}",
    )


def written(models, model="fden"):
    """`(versions, labels)` as TF Serving's own messages read them."""
    config = text_format.Parse(
        (models / "models.config").read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    entries = config.model_config_list.config
    entry = next(entry for entry in entries if entry.name == model)
    assert entry.model_platform == "tensorflow"
    versions = entry.model_version_policy.specific.versions
    return list(versions), dict(entry.version_labels)


def test_a_label_moves_only_to_what_was_loaded_before(models, capsys):
    assert step(models, 1, "stable") is None
    assert written(models) == ([1], {"stable": 1})
    # A new label may name a version that is not loaded yet.
    step(models, 2, "canary")
    assert written(models) == ([1, 2], {"stable": 1, "canary": 2})
    # What is listed is loaded: one write moves the label.
    step(models, 2, "stable")
    assert written(models) == ([1, 2], {"stable": 2, "canary": 2})
    assert "'stable' of fden is version 2" in capsys.readouterr().out
    # What is not listed is loaded first; nothing is unloaded for it.
    step(models, 3, "stable")
    assert written(models) == ([1, 2, 3], {"stable": 2, "canary": 2})
    assert "has not moved yet" in capsys.readouterr().out
    step(models, 3, "stable")
    assert written(models) == ([2, 3], {"stable": 3, "canary": 2})
    # Once more changes nothing.
    before = (models / "models.config").read_bytes()
    step(models, 3, "stable")
    assert (models / "models.config").read_bytes() == before
    # Back at once.
    step(models, 2, "stable")
    assert written(models) == ([2, 3], {"stable": 2, "canary": 2})


def test_other_models_and_settings_stay(models):
    (models / "models.config").write_text(
        'model_config_list { config { name: "other" base_path: "/m/other" '
        'model_platform: "tensorflow" model_version_policy { latest { '
        "num_versions: 2 } } version_labels { key: 'stable' value: 7 } } "
        'config { name: "fden" base_path: "/m/fden" '
        'model_platform: "tensorflow" } }'
    )
    step(models, 4, "stable")
    text = (models / "models.config").read_text()
    assert "num_versions: 2" in text
    assert 'base_path: "/m/fden"' in text
    assert written(models, "other") == ([], {"stable": 7})
    assert written(models) == ([4], {"stable": 4})


def test_the_base_path_is_the_servers(models):
    step(models, 1, "stable")
    assert (
        f'base_path: "{models / "fden"}"'
        in (models / "models.config").read_text()
    )
    (models / "models.config").unlink()
    run(
        f"--models={models}",
        "--model=fden",
        "--version=1",
        "--base_path=/models/fden",
    )
    assert 'base_path: "/models/fden"' in (models / "models.config").read_text()


@pytest.mark.parametrize(
    "texts, message",
    [
        ((), "--model=NAME"),
        (("--model=fden",), "there are: 1, 2, 3, 4."),
        (("--model=fden", "--version=5"), "has no version 5"),
        (("--model=nope", "--version=1"), "there are: none."),
        (("--model=fden", "--version=1", "--label=a/b"), "--label='a/b'"),
        (("--model=fden", "--source=nowhere/1"), "no version of a SavedModel"),
    ],
)
def test_mistakes_end_in_one_line(models, capsys, texts, message):
    assert run(f"--models={models}", *texts) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (models / "models.config").exists()


def test_a_damaged_file_is_not_replaced(models, capsys):
    (models / "models.config").write_text("model_config_list { confg {} }")
    assert step(models, 1, "stable") == 2
    assert "no models.config" in capsys.readouterr().err
    assert "confg" in (models / "models.config").read_text()


def test_a_file_is_always_whole(models):
    """A reader that looks all the time never finds half a file."""
    path = models / "models.config"
    promote.promote(path, "fden", 1, "stable", "/m/fden")
    failures, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            labels = promote.read_config(path).model_config_list.config
            if dict(labels[0].version_labels).get("stable") not in (1, 2):
                failures.append(labels)

    reader = threading.Thread(target=look)
    reader.start()
    writers = [
        threading.Thread(
            target=promote.promote,
            args=(path, f"model-{n}", 1, "stable", "/m"),
        )
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for version in (2, 1, 2):
        for _ in range(2):
            promote.promote(path, "fden", version, "stable", "/m/fden")
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert not failures
    # Nobody's change was lost.
    names = [e.name for e in promote.read_config(path).model_config_list.config]
    assert sorted(names) == ["fden", *(f"model-{n}" for n in range(8))]
    assert written(models) == ([1, 2], {"stable": 2})


def test_copies_a_version(models, tmp_path, capsys):
    target = tmp_path / "elsewhere"
    source = models / "fden" / "3"
    options = ("--model=fden", f"--models={target}", f"--source={source}")
    assert run(*options) is None
    assert written(target) == ([3], {"stable": 3})
    copied = target / "fden" / "3" / "saved_model.pb"
    assert copied.read_bytes() == b"graph 3"
    assert [p.name for p in (target / "fden").iterdir()] == ["3"]
    # A version is never overwritten.
    copied.write_bytes(b"served")
    assert run(*options) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert copied.read_bytes() == b"served"


def test_a_copy_that_fails_leaves_nothing(models, tmp_path, monkeypatch):
    def broken(source, target, **options):
        del source, options
        (promote.pathlib.Path(target) / "saved_model.pb").write_bytes(b"gr")
        raise OSError("No space left on device")

    monkeypatch.setattr(promote.shutil, "copytree", broken)
    with pytest.raises(InputError, match="No space left"):
        promote.copy_version(models / "fden" / "3", tmp_path / "to" / "fden")
    assert not list((tmp_path / "to" / "fden").iterdir())


class FakeServer:
    """Obeys a models.config as TF Serving's `ServerCore::ReloadConfig` does.

    Labels are looked at before anything is loaded: one that moves to a
    version that is not loaded makes it refuse the whole file.
    """

    def __init__(self, path, broken=()):
        self.path, self.broken = path, broken
        self.states, self.labels, self.refused = {}, {}, 0
        self.stop = threading.Event()
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answer(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.threads = [
            threading.Thread(target=self.http.serve_forever, args=(0.05,)),
            threading.Thread(target=self.poll),
        ]

    def poll(self):
        while not self.stop.is_set():
            # Loading takes until the next look at the file.
            for version, state in self.states.items():
                if state == "LOADING":
                    failed = version in self.broken
                    self.states[version] = "END" if failed else "AVAILABLE"
            self.reload()
            time.sleep(0.05)

    def reload(self):
        (entry,) = promote.read_config(self.path).model_config_list.config
        for label, version in entry.version_labels.items():
            if (
                self.labels.get(label, version) != version
                and self.states.get(version) != "AVAILABLE"
            ):
                self.refused += 1
                return
        self.labels = dict(entry.version_labels)
        listed = entry.model_version_policy.specific.versions
        self.states = {v: self.states.get(v, "LOADING") for v in listed}

    def answer(self, path):
        *_, kind, name = path.removesuffix("/metadata").split("/")
        if kind == "versions":
            state = self.states.get(int(name))
            if state is None:
                return 404, {"error": "Could not find version"}
            code = "INTERNAL" if state == "END" else "OK"
            status = {"error_code": code, "error_message": "bad graph"}
            return 200, {
                "model_version_status": [{"state": state, "status": status}]
            }
        version = self.labels.get(name)
        if self.states.get(version) != "AVAILABLE":
            return 404, {"error": "Servable not found"}
        return 200, {"model_spec": {"version": str(version)}}

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.http.shutdown()
        for thread in self.threads:
            thread.join()
        self.http.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(promote, "POLL", 0.02)


def test_waits_for_a_server(models):
    step(models, 1, "stable")
    with FakeServer(models / "models.config") as server:
        options = (f"--models={models}", "--model=fden", "--timeout=20")
        where = f"--server={server.address}"
        assert run(*options, "--version=3", where) is None
        assert server.labels == {"stable": 3}
        assert server.states == {1: "AVAILABLE", 3: "AVAILABLE"}
        assert server.refused == 0
    assert written(models) == ([1, 3], {"stable": 3})


def test_a_version_that_does_not_load_changes_no_label(models, capsys):
    step(models, 1, "stable")
    with FakeServer(models / "models.config", broken=[3]) as server:
        options = (f"--models={models}", "--model=fden", "--timeout=20")
        where = f"--server={server.address}"
        assert run(*options, "--version=3", where) == 2
        assert server.labels == {"stable": 1}
        assert server.states[1] == "AVAILABLE"
    assert "cannot load version 3 of fden: bad graph" in capsys.readouterr().err
    assert written(models)[1] == {"stable": 1}


def test_gives_up_on_a_server_that_does_not_answer(models, capsys):
    step(models, 1, "stable")
    server = "--server=http://127.0.0.1:9"
    options = (f"--models={models}", "--model=fden", "--timeout=0.1")
    assert run(*options, "--version=2", server) == 2
    error = capsys.readouterr().err
    assert "version 2 is not loaded after --timeout" in error
    assert "refused" in error
    assert written(models) == ([1, 2], {"stable": 1})
