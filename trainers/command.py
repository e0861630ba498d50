"""What every command shares: flags read once, and errors in one line."""

import errno
import functools
import os
import sys
import types

from absl import flags
from absl import logging

from tfdisent.errors import InputError

USAGE_STATUS = 2
DISK_STATUS = 1
# As shells have it: 128 and the signal's number.
INTERRUPTED_STATUS = 130
DISK_IS_FULL = os.strerror(errno.ENOSPC)
# What is wrong with a path that the user named, or with who may use it.
PATH_ERRORS = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
HELP = frozenset({"--help", "-help", "-h"})


class Definitions:
    """absl's `DEFINE_...` and `mark_...` functions, bound to one command.

    Flags in `flags.FLAGS` are global: any library could read them, and a
    second command in the same process could not define its own.

    Args:
      values: the `flags.FlagValues` they define flags in.
    """

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        return functools.partial(getattr(flags, name), flag_values=self._values)


def run(main, define_flags, help_text=None, arguments=False, argv=None):
    """Parses the command line, calls `main` and exits with its status.

    A bad flag, an `InputError` and a path that cannot be used (a file in place
    of a directory, no permission) end with one line on stderr and exit status
    2, a full disk with one line and status 1, Ctrl-C with one and 130;
    everything else that goes wrong keeps its traceback. Import TensorFlow
    inside `main`, behind the cheap checks: then a wrong flag is answered at
    once.

        def define_flags(flags):
            flags.DEFINE_string("run", None, "Run directory.")

        def main(flags):
            print(flags.run)

        def console():
            command.run(main, define_flags)

    Args:
      main: `main(flags)`; the flags' values are its attributes.
      define_flags: `define_flags(flags)` calls absl's `DEFINE_...` of it.
      help_text: what `--help` prints above the flags, called only then; the
        docstring of main's module when None.
      arguments: whether there may be positional arguments; `main` finds them
        in `flags.arguments`.
      argv: program name and command line; those of the process when None.
    """
    argv = list(sys.argv if argv is None else argv)
    # The libraries' start-up notes would bury the one line that matters.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.set_verbosity(logging.ERROR)
    if not {"", os.getcwd()} & set(sys.path):
        # A console script, unlike `python -m`, would not find a user's own
        # `package.module:Class` there. Last: it must hide no library.
        sys.path.append(os.getcwd())
    values = flags.FlagValues()
    define_flags(Definitions(values))
    if HELP & set(argv[1:]):
        text = (
            help_text() if help_text else sys.modules[main.__module__].__doc__
        )
        print(f"{text.strip()}\n\n{flags_help(values)}")
        sys.exit(0)
    try:
        status = main(_parse(values, argv, arguments))
    except (flags.Error, InputError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except KeyboardInterrupt:
        print("\nInterrupted; what was complete is kept.", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    except Exception as error:
        path = getattr(error, "filename", None)
        if path and getattr(error, "errno", None) in PATH_ERRORS:
            print(f"{path}: {error.strerror}.", file=sys.stderr)
            sys.exit(USAGE_STATUS)
        # TensorFlow has an exception of its own for it, with these words.
        if DISK_IS_FULL not in str(error):
            raise
        print(
            f"{DISK_IS_FULL}. What was complete is kept: free some space and "
            "run the same command again.",
            file=sys.stderr,
        )
        sys.exit(DISK_STATUS)
    sys.exit(status)


def _parse(values, argv, arguments):
    texts = values(argv)[1:]
    if texts and not arguments:
        raise InputError(
            f"Unexpected argument {texts[0]!r}; values are given as "
            "--flag=value."
        )
    return types.SimpleNamespace(**values.flag_values_dict(), arguments=texts)


def flags_help(values):
    """Every flag with its meaning and default, one a line."""
    lines = ["Flags:"]
    for name in sorted(values):
        default = values[name].default
        shown = "" if default in (None, []) else f" (default: {default})"
        lines.append(f"  --{name}: {values[name].help}{shown}")
    return "\n".join(lines)
