"""The command's flags, and what is wrong with them in one line."""

import pathlib
import socket
import subprocess
import sys

import pytest

from serving import run


def test_defaults(tmp_path):
    flags = run.parse([f"--models={tmp_path}"])
    assert (flags.host, flags.rest_port, flags.grpc_port) == (
        "127.0.0.1",
        8501,
        8500,
    )
    assert flags.rest_api_timeout_in_ms == 30_000
    assert not flags.rest_api_enable_cors_support
    theirs = run.parse(
        [f"--models={tmp_path}", "--rest_api_port=1", "--port=2"]
    )
    assert (theirs.rest_port, theirs.grpc_port) == (1, 2)


@pytest.mark.parametrize("named", ["m", "m/1"])
def test_a_model_is_no_directory_of_models(tmp_path, capsys, named):
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    flags = [f"--models={tmp_path / named}"]
    with pytest.raises(SystemExit) as caught:
        run.parse(flags)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert "name the directory above its NAME/NUMBER/saved_model.pb" in printed
    # A configuration may say that models lie there.
    config = tmp_path / "models.config"
    config.touch()
    run.parse([*flags, f"--model_config_file={config}"])
    run.parse([f"--models={tmp_path}"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--models=DIRECTORY is needed"),
        (["--models=/none/here"], "no such directory"),
        (["--models=.", "--rest_port=x"], "rest_port"),
        (["--models=.", "--rest_port=65536"], "rest_port"),
        (["--models=.", "--grpc_port=-1"], "grpc_port"),
        (["--models=.", "--max_batch_size=0"], "max_batch_size"),
        (
            ["--models=.", "--model_config_file_poll_wait_seconds=-1"],
            "model_config_file_poll_wait_seconds",
        ),
        (
            ["--models=.", "--file_system_poll_wait_seconds=inf"],
            "file_system_poll_wait_seconds",
        ),
        (["--models=.", "--rest_prt=1"], "rest_prt"),
        (["--models=.", "--model_config_file=/none"], "/none"),
        (["--models=.", "stray"], "stray"),
    ],
)
def test_bad_flags_end_in_one_line(capsys, flags, message):
    with pytest.raises(SystemExit) as caught:
        run.parse(flags)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_help_says_what_it_serves(capsys):
    with pytest.raises(SystemExit) as caught:
        run.parse(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "python -m serving.run --models=models" in printed
    assert "--rest_port" in printed


def test_a_wrong_flag_is_answered_before_tensorflow_starts():
    program = (
        "import sys; from serving import run\n"
        "try: run.main(['--models=/none'])\n"
        "except SystemExit: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert done.stdout == "False\n", done.stderr


def test_a_port_that_is_taken(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag in ("rest", "grpc"):
            other = {"rest": "grpc", "grpc": "rest"}[flag]
            status = run.main(
                [
                    f"--models={tmp_path}",
                    f"--{flag}_port={port}",
                    f"--{other}_port=0",
                ]
            )
            assert status == 2
            error = capsys.readouterr().err
            assert "Cannot listen" in error
            assert str(port) in error


def test_a_configuration_that_cannot_be_used(tmp_path, capsys):
    config = tmp_path / "models.config"
    config.write_text("nonsense {")
    status = run.main(
        [
            f"--models={tmp_path}",
            f"--model_config_file={config}",
            "--rest_port=0",
            "--grpc_port=0",
        ]
    )
    assert status == 2
    assert "models.config" in capsys.readouterr().err
