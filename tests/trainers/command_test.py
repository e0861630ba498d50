"""A command's flags, its help, and how it ends."""

import errno
import os
import subprocess
import sys

import pytest

from tfdisent.errors import InputError
from trainers import command


def define_flags(flags):
    flags.DEFINE_string("run", None, "Run directory.")
    flags.DEFINE_integer("steps", 5, "Where to stop.", lower_bound=1)
    flags.DEFINE_multi_string("set", [], "key=value.")


def ended(main, *texts, **options):
    """The exit status of a command."""
    with pytest.raises(SystemExit) as caught:
        command.run(main, define_flags, argv=["command", *texts], **options)
    return caught.value.code


def test_main_gets_the_values():
    seen = []
    texts = ["--run=x", "--set", "a=1", "--set=b=2"]
    assert ended(seen.append, *texts) is None
    (flags,) = seen
    assert (flags.run, flags.steps, flags.set) == ("x", 5, ["a=1", "b=2"])
    # Once more in the same process: nothing is global.
    assert ended(seen.append) is None
    assert seen[1].run is None


def test_the_status_is_mains():
    assert ended(lambda flags: flags.steps, "--steps=3") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--stps=3", "stps"),
        ("--steps=many", "many"),
        ("--steps=0", "--steps=0"),
        ("--run", "run"),
        ("stray", "Unexpected argument 'stray'"),
    ],
)
def test_bad_flags_end_in_one_line(capsys, text, message):
    def main(flags):
        pytest.fail("main was called")

    assert ended(main, text) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_bad_input_ends_in_one_line(capsys):
    def main(flags):
        raise InputError("No such\nrun.")

    assert ended(main) == 2
    assert capsys.readouterr().err == "No such run.\n"


def test_an_interrupt_ends_in_one_line(capsys):
    def main(flags):
        raise KeyboardInterrupt

    assert ended(main) == 130
    told = capsys.readouterr().err
    assert told == "\nInterrupted; what was complete is kept.\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"),
        # As tf.errors.ResourceExhaustedError says it.
        RuntimeError("runs/x/ckpt-1.data; No space left on device"),
    ],
)
def test_a_full_disk_ends_in_one_line(capsys, error):
    def main(flags):
        raise error

    assert ended(main) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("No space left on device. ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda file: (file / "config.json").write_text("{}"),
        lambda file: file.mkdir(parents=True, exist_ok=True),
        lambda file: file.parent.write_text("{}"),
        lambda file: (file.parent / ("x" * 300)).write_text("{}"),
    ],
)
def test_a_path_that_cannot_be_used_ends_in_one_line(capsys, tmp_path, write):
    file = tmp_path / "file"
    file.write_text("no directory")
    assert ended(lambda flags: write(file)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(str(tmp_path))
    assert printed.count("\n") == 1


def test_a_file_that_should_be_there_is_a_defect(tmp_path):
    def main(flags):
        (tmp_path / "none").read_text()

    with pytest.raises(FileNotFoundError):
        command.run(main, define_flags, argv=["command"])


def test_defects_keep_their_traceback():
    def main(flags):
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        command.run(main, define_flags, argv=["command"])


def test_positional_arguments_where_they_are_asked_for():
    seen = []
    ended(seen.append, "a", "--run=x", "b", arguments=True)
    assert seen[0].arguments == ["a", "b"]


def test_help_lists_every_flag_and_its_default(capsys):
    assert ended(pytest.fail, "--steps=0", "--help", help_text=str) == 0
    printed = capsys.readouterr().out
    assert "--run: Run directory.\n" in printed
    assert "--steps: Where to stop. (default: 5)\n" in printed


def test_help_starts_with_what_the_module_says(capsys):
    def main(flags):
        pytest.fail("main was called")

    assert ended(main, "--help") == 0
    assert capsys.readouterr().out.startswith(__doc__)


def test_modules_beside_the_user_are_found_last(tmp_path, monkeypatch):
    # As a console script finds it: without the working directory.
    here = ("", os.getcwd())
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in here])
    monkeypatch.chdir(tmp_path)
    assert ended(lambda flags: None) is None
    assert sys.path[-1] == str(tmp_path)
    assert ended(lambda flags: None) is None
    assert sys.path.count(str(tmp_path)) == 1


def test_starting_a_command_does_not_start_tensorflow():
    program = "import sys, trainers.command; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
