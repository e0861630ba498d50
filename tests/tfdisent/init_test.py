"""What importing the package does, in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
import tfdisent
print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"), "tensorflow" in sys.modules)
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="of x86 alone"
)
@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_it_chooses_kernels_before_tensorflow_starts(given, expected):
    environment = dict(os.environ)
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    assert printed.stdout.split() == [expected, "False"]
