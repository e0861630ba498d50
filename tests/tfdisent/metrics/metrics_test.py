"""The package as a whole."""

import subprocess
import sys

import pytest

from tfdisent import metrics


@pytest.mark.parametrize("name", metrics.METRICS)
def test_names_are_those_of_the_functions(name):
    score = metrics.METRICS[name]
    assert getattr(metrics, name) is score
    assert score.__name__ == name
    assert score.__doc__.split("\n")[0].endswith(".")


def test_importing_is_quick_and_loads_nothing_heavy():
    listing = (
        "import sys, tfdisent.metrics;"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", listing],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"tensorflow", "keras", "sklearn", "scipy", "matplotlib"}
    assert not heavy & set(loaded)
