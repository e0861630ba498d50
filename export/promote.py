"""Gives a version of a served model a label, and has the server load it.

    python -m export.promote --models=models --model=fden --version=3 \\
        --label=canary --server=http://localhost:8501
    python -m export.promote --models=models --model=fden --version=3 \\
        --server=http://localhost:8501

Requests to models/fden/labels/stable go to version 3 from one moment to the
next: it is loaded first, and the version it takes over from stays loaded, so
promoting that one again takes it back at once. All of it is written into
models/models.config, which TF Serving and `serving.run` read when they are
started with --model_config_file, and again with
--model_config_file_poll_wait_seconds; --server says whom to wait for.
"""

import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from tfdisent.errors import InputError
from trainers import command

CONFIG_NAME = "models.config"
# Seconds between two questions to a server, and that an answer may take.
POLL = 0.5
ANSWER = 10


def define_flags(flags):
    flags.DEFINE_string(
        "models", "models", "Directory of models, MODELS/NAME/VERSION."
    )
    flags.DEFINE_string("model", None, "Name of the model.")
    flags.DEFINE_integer("version", None, "Its version.", lower_bound=0)
    flags.DEFINE_string(
        "label", "stable", "What requests call the version, as in labels/stable"
    )
    flags.DEFINE_string(
        "source",
        None,
        "A version's directory elsewhere, .../VERSION, to copy below --models "
        "first; stands in for --version.",
    )
    flags.DEFINE_string(
        "config", None, f"The file to write; MODELS/{CONFIG_NAME} if not given."
    )
    flags.DEFINE_string(
        "base_path",
        None,
        "The model's directory as the server sees it, such as /models/fden "
        "in a container; where it is here if not given.",
    )
    flags.DEFINE_list(
        "server",
        [],
        "REST addresses to wait for, such as http://localhost:8501.",
    )
    flags.DEFINE_float(
        "timeout", 300, "Seconds to wait for --server.", lower_bound=0
    )


def main(flags):
    if not flags.model:
        raise InputError("--model=NAME is needed.")
    if not re.fullmatch("[^/:]+", flags.label):
        raise InputError(
            f"--label={flags.label!r}: it is part of an address; it cannot be "
            "empty or have / or : in it."
        )
    directory = pathlib.Path(flags.models) / flags.model
    version = flags.version
    if flags.source:
        version = int(copy_version(flags.source, directory).name)
        if flags.version not in (None, version):
            raise InputError(
                f"--source is version {version}, --version={flags.version}."
            )
    elif version is None:
        raise InputError(
            f"--version=NUMBER is needed; {_versions_there(directory)}"
        )
    check_version(directory, version)
    config = pathlib.Path(flags.config or directory.parent / CONFIG_NAME)
    base_path = flags.base_path or str(directory.resolve())
    given = (config, flags.model, version, flags.label, base_path)
    deadline = time.monotonic() + flags.timeout
    moved = promote(*given)
    if not moved:
        status = f"/v1/models/{urllib.parse.quote(flags.model, safe='')}"
        if not flags.server:
            print(
                f"{config}: version {version} is to be loaded; "
                f"{flags.label!r} has not moved yet. Give the same command "
                "again when every server says AVAILABLE at "
                f"{status}/versions/{version}, or let --server=ADDRESS wait "
                "for it."
            )
            return
        for server in flags.server:
            wait_until_loaded(server, flags.model, version, deadline)
        promote(*given)
    for server in flags.server:
        wait_for_label(server, flags.model, version, flags.label, deadline)
    print(f"{config}: {flags.label!r} of {flags.model} is version {version}.")


# ---- models.config ----------------------------------------------------------


def promote(path, model, version, label, base_path):
    """Writes the next step of a promotion into models.config, atomically.

    A server that reads a file in which a label has moved to a version that is
    not loaded refuses all of it, and would never load that version. So the
    first call has the version loaded, the second one, once it is, moves the
    label. A label that is new moves at once.

    Args:
      path: the file; it need not exist. Comments in it are lost.
      model: its name.
      version: int.
      label: such as `"stable"`.
      base_path: the model's directory as the server sees it, for a model that
        is not yet in the file.

    Returns:
      Whether the label is at the version now.

    Raises:
      InputError: the file is none, or cannot be written.
    """
    from google.protobuf import text_format

    from trainers import rundir

    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            config = read_config(path)
            entry = _entry(config, model, base_path)
            moved = _step(entry, version, label)
            rundir.write_atomically(path, text_format.MessageToString(config))
    except OSError as error:
        raise InputError(f"Cannot write {str(path)!r}: {error}.") from error
    return moved


def read_config(path):
    """The `ModelServerConfig` in a file, an empty one where there is none.

    Raises:
      InputError: TF Serving could not read it either, or
        tensorflow-serving-api is not installed.
    """
    try:
        from google.protobuf import text_format
        from tensorflow_serving.config import model_server_config_pb2
    except ImportError as error:
        raise InputError(
            "models.config is written with tensorflow-serving-api: "
            "pip install 'tfdisent[serving]'."
        ) from error
    config = model_server_config_pb2.ModelServerConfig()
    path = pathlib.Path(path)
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except FileNotFoundError:
        pass
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(
            f"{str(path)!r} is no models.config: {error}"
        ) from error
    return config


def _entry(config, model, base_path):
    """The model's entry, added where there is none."""
    entries = config.model_config_list.config
    for entry in entries:
        if entry.name == model:
            return entry
    return entries.add(
        name=model, base_path=base_path, model_platform="tensorflow"
    )


def _step(entry, version, label):
    """Changes an entry as `promote` says; returns whether the label moved."""
    listed = entry.model_version_policy.specific.versions
    labels = entry.version_labels
    before = labels[label] if label in labels else None
    kept = {version, *listed}
    moved = before is None or before == version or version in listed
    if moved:
        labels[label] = version
    if moved and before not in (None, version):
        # What had the label before stays; what had it earlier goes.
        kept = {version, before}
    listed[:] = sorted(kept.union(labels.values()))
    return moved


@contextlib.contextmanager
def _alone(directory):
    """Lets nobody else promote there: the file is read, then replaced."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ---- versions ---------------------------------------------------------------


def check_version(directory, version):
    """Refuses a version that is not there.

    Raises:
      InputError: names those that are.
    """
    if version not in _versions(directory):
        raise InputError(
            f"{str(directory)!r} has no version {version}; "
            f"{_versions_there(directory)}"
        )


def _versions(directory):
    """Numbers of the complete versions below a model's directory."""
    found = pathlib.Path(directory).glob("*/saved_model.pb")
    names = [path.parent.name for path in found]
    return sorted(int(n) for n in names if n.isascii() and n.isdigit())


def _versions_there(directory):
    there = ", ".join(map(str, _versions(directory)))
    return f"there are: {there or 'none'}."


def copy_version(source, directory):
    """Copies a version below another directory; whole, or not at all.

    Args:
      source: `.../VERSION`.
      directory: the model's, on the server's disk.

    Returns:
      The path of the copy, which has the same number.

    Raises:
      InputError: `source` is no version, its number is taken, or the
        directory cannot be written.
    """
    from export import saved_model

    source, directory = pathlib.Path(source), pathlib.Path(directory)
    name = source.name
    if not (name.isdigit() and (source / "saved_model.pb").is_file()):
        raise InputError(
            f"--source={source}: no version of a SavedModel, .../NUMBER."
        )
    target = directory / name
    if target.exists():
        raise InputError(
            f"{str(target)!r} exists; a version is never overwritten."
        )
    temporary = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Servers skip what is not named by a number.
        temporary = tempfile.mkdtemp(dir=directory, prefix=".copy-")
        shutil.copytree(source, temporary, dirs_exist_ok=True)
        saved_model.flush(pathlib.Path(temporary))
        os.chmod(temporary, 0o755)
        os.rename(temporary, target)
    except OSError as error:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        raise InputError(f"Cannot copy to {str(target)!r}: {error}.") from error
    return target


# ---- servers ----------------------------------------------------------------


def wait_until_loaded(server, model, version, deadline):
    """Waits until a server has a version AVAILABLE.

    Args:
      server: its REST address.
      model, version: which.
      deadline: of `time.monotonic()`.

    Raises:
      InputError: it failed to load there, or took too long.
    """

    def loaded(answer):
        statuses = answer.get("model_version_status", [])
        state = statuses[0]["state"] if statuses else "unknown"
        if state == "END" and statuses[0]["status"]["error_code"] != "OK":
            raise InputError(
                f"{server} cannot load version {version} of {model}: "
                f"{statuses[0]['status']['error_message']}"
            )
        return state == "AVAILABLE"

    path = f"{urllib.parse.quote(model, safe='')}/versions/{version}"
    _wait(server, path, loaded, deadline, f"version {version} is not loaded")


def wait_for_label(server, model, version, label, deadline):
    """Waits until a server answers requests to a label with a version.

    Raises:
      InputError: it took too long.
    """

    def moved(answer):
        return answer.get("model_spec", {}).get("version") == str(version)

    name, label = (urllib.parse.quote(n, safe="") for n in (model, label))
    path = f"{name}/labels/{label}/metadata"
    _wait(server, path, moved, deadline, f"{label!r} has not moved")


def _wait(server, path, arrived, deadline, complaint):
    while True:
        answer = _ask(f"{server.rstrip('/')}/v1/models/{path}")
        if arrived(answer):
            return
        if time.monotonic() > deadline:
            said = f" It says: {answer['error']}" if "error" in answer else ""
            raise InputError(
                f"{server}: {complaint} after --timeout. Does it poll the "
                f"file (--model_config_file_poll_wait_seconds)?{said}"
            )
        time.sleep(POLL)


def _ask(url):
    """The JSON object at an address; `{"error": ...}` where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.load(error))
        return {"error": str(error)}
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        return {"error": str(error)}


def console():
    command.run(main, define_flags)


if __name__ == "__main__":
    console()
