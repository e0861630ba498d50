"""What every command shares: flags read once, and errors in one line."""

import os
import sys

from absl import flags

from tfdisent.errors import InputError

USAGE_STATUS = 2


def run(main, define_flags, arguments=None, argv=None):
    """Parses the command line, calls `main` and ends with its status.

    A bad flag and an `InputError` end with one line on stderr and exit status
    2; everything else that goes wrong keeps its traceback. Flags live in an
    object of their own, never in `flags.FLAGS`, so that nothing but `main`
    can read them. Import TensorFlow inside `main`, after the cheap checks:
    then a wrong flag is answered at once.

        def define_flags(values):
            flags.DEFINE_string("run", None, "...", flag_values=values)
            flags.mark_flag_as_required("run", flag_values=values)

        def main(values):
            print(values.run)

        def console():
            command.run(main, define_flags)

    Args:
      main: `main(values)`, or `main(values, texts)` where the command takes
        positional arguments; `values` is a parsed `flags.FlagValues`. The
        docstring of its module introduces `--help`.
      define_flags: `define_flags(values)` defines the command's flags there.
      arguments: what positional arguments are, for `--help`: `"RUN ..."`;
        None for a command without.
      argv: program name and command line; those of the process when None.
    """
    argv = list(sys.argv if argv is None else argv)
    # The libraries' start-up notes would bury the one line that matters.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    values = flags.FlagValues()
    define_flags(values)
    if {"--help", "-help", "-h"} & set(argv[1:]):
        print(help_text(main, values, arguments))
        sys.exit(0)
    try:
        texts = values(argv)[1:]
        if arguments is None and texts:
            raise InputError(
                f"Unexpected argument {texts[0]!r}; values go to flags as "
                "--name=value."
            )
        status = main(values) if arguments is None else main(values, texts)
    except (flags.Error, InputError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(USAGE_STATUS)
    sys.exit(status)


def help_text(main, values, arguments=None):
    """The module's docstring, then every flag with its default.

    Args:
      main, arguments: as for `run`.
      values: the defined flags.
    """
    introduction = sys.modules[main.__module__].__doc__ or ""
    lines = [introduction.strip(), ""]
    if arguments:
        lines += [f"Arguments: {arguments}", ""]
    lines.append("Flags:")
    for name in sorted(values):
        flag = values[name]
        default = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  --{name}: {flag.help}{default}")
    return "\n".join(lines)

