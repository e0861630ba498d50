"""Serves SavedModels over TensorFlow Serving's protocol, on this machine.

    python -m serving.run --models=models

`models/NAME/1`, `models/NAME/2`, ... are versions of the model NAME; the
latest is served, and newer ones are loaded as they appear. The same requests
work with `tensorflow_model_server`. A SavedModel is a program: serve only
models you trust.
"""

import argparse
import os
import pathlib
import sys

USAGE_STATUS = 2


class Parser(argparse.ArgumentParser):
    """One line on what is wrong, as from the other commands."""

    def error(self, message):
        self.exit(USAGE_STATUS, f"{message[:1].upper()}{message[1:]}\n")


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
    flag("--rest_port", type=int, default=8501, help="0 for any free one")
    flag("--grpc_port", type=int, default=8500, help="0 for any free one")
    flag(
        "--host",
        default="127.0.0.1",
        help="address to listen at; others than this machine's own have no "
        "protection here (default: %(default)s)",
    )
    flag("--model_config_file", help="models.config, instead of all models")
    flag("--model_config_file_poll_wait_seconds", type=float, default=0.0)
    flag("--file_system_poll_wait_seconds", type=float, default=1.0)
    flag("--rest_api_timeout_in_ms", type=int, default=30_000)
    flag("--rest_api_enable_cors_support", action="store_true")
    flag("--max_batch_size", type=int, default=64, help="rows run together")
    flag("--num_batch_threads", type=int, default=os.cpu_count() or 1)
    flag("--max_queued_requests", type=int, default=256)
    flag("--max_request_rows", type=int, default=1024)
    flag("--max_body_bytes", type=int, default=2**26)
    values = parser.parse_args(argv)
    if not values.models:
        parser.error("--models=DIRECTORY is needed.")
    if not pathlib.Path(values.models).is_dir():
        parser.error(f"--models={values.models}: there is no such directory.")
    return values


def main(argv=None):
    values = parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes seconds to start; what is wrong above is said at once.
    from serving import server
    from serving.errors import RequestError

    try:
        server.serve(values)
    except (RequestError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return USAGE_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
