"""Serves SavedModels over TensorFlow Serving's protocol, on this machine.

    python -m serving.run --models=models

`models/NAME/1`, `models/NAME/2`, ... are versions of the model NAME; the
latest is served, and newer ones are loaded as they appear. The same requests
work with `tensorflow_model_server`. A SavedModel is a program: serve only
models you trust.
"""

import argparse
import math
import os
import pathlib
import sys

USAGE_STATUS = 2


LIMITS = (
    ("max_batch_size", 64, "rows that run together"),
    ("num_batch_threads", os.cpu_count() or 1, "batches at the same time"),
    ("max_queued_requests", 256, "that wait for their turn"),
    ("max_request_rows", 1024, "of one request"),
    ("max_body_bytes", 2**26, "of one request"),
)


class Parser(argparse.ArgumentParser):
    """One line on what is wrong, as from the other commands."""

    def error(self, message):
        self.exit(USAGE_STATUS, f"{message[:1].upper()}{message[1:]}\n")


def positive(kind, least=None):
    """A parser of finite numbers above zero, or of `least` and more."""

    def number(text):
        value = kind(text)
        enough = value > 0 if least is None else value >= least
        if not enough or not math.isfinite(value):
            raise ValueError(text)
        return value

    return number


def port(text):
    """The number of a port."""
    if not 0 <= int(text) < 2**16:
        raise ValueError(text)
    return int(text)


def holds_a_model(path):
    """Whether a SavedModel or numbered ones lie in it, not in models."""
    found = pathlib.Path(path).glob("*/saved_model.pb")
    return pathlib.Path(path, "saved_model.pb").exists() or any(
        file.parent.name.isdecimal() for file in found
    )


def parse(argv):
    """The command line as a namespace."""
    parser = Parser(
        prog="serving.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flag = parser.add_argument
    flag("--models", help="directory of models; nothing else is ever loaded")
    # TensorFlow Serving's names of the ports as well.
    for names, default in (
        (("--rest_port", "--rest_api_port"), 8501),
        (("--grpc_port", "--port"), 8500),
    ):
        flag(*names, type=port, default=default, help="0 for any free one")
    flag(
        "--host",
        default="127.0.0.1",
        help="address to listen at; others than this machine's own have no "
        "protection here (default: %(default)s)",
    )
    flag("--model_config_file", help="models.config, instead of all models")
    flag(
        "--model_config_file_poll_wait_seconds",
        type=positive(float, least=0),
        default=0.0,
        help="how often that is read again; 0 for never",
    )
    flag(
        "--file_system_poll_wait_seconds",
        type=positive(float),
        default=1.0,
        help="how often new versions are looked for (default: %(default)s)",
    )
    flag("--rest_api_timeout_in_ms", type=positive(int), default=30_000)
    flag(
        "--rest_api_enable_cors_support",
        action="store_true",
        help="let pages from other addresses ask",
    )
    for name, default, text in LIMITS:
        flag(
            f"--{name}",
            type=positive(int),
            default=default,
            help=f"{text} (default: %(default)s)",
        )
    values = parser.parse_args(argv)
    if not values.models:
        parser.error("--models=DIRECTORY is needed.")
    if not pathlib.Path(values.models).is_dir():
        parser.error(f"--models={values.models}: there is no such directory.")
    config = values.model_config_file
    if not config and holds_a_model(values.models):
        parser.error(
            f"--models={values.models} is a model or a version of one: name "
            "the directory above its NAME/NUMBER/saved_model.pb."
        )
    if config and not pathlib.Path(config).is_file():
        parser.error(f"--model_config_file={config}: there is no such file.")
    return values


def main(argv=None):
    values = parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes seconds to start; what is wrong above is said at once.
    try:
        from serving import server
        from serving.errors import RequestError
    except ModuleNotFoundError as error:
        print(
            f"{error.name} is missing; pip install 'tfdisent[serving]'",
            file=sys.stderr,
        )
        return USAGE_STATUS
    try:
        server.serve(values)
    except (RequestError, OSError) as error:
        message = getattr(error, "message", str(error))
        print(" ".join(message.split()), file=sys.stderr)
        return USAGE_STATUS
    return 0


def console():
    sys.exit(main())


if __name__ == "__main__":
    console()
