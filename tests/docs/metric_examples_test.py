"""The page says what its script computes."""

import importlib.util
import pathlib

import numpy as np
import pytest

from tfdisent import data

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def script():
    spec = importlib.util.spec_from_file_location(
        "metric_examples", DOCS / "metric_examples.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = script()


@pytest.mark.parametrize("name", EXAMPLES.EXAMPLES)
def test_the_page_has_the_numbers(name):
    example = EXAMPLES.EXAMPLES[name](data.load("shapes"))
    found, matrix = EXAMPLES.scores(example)
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert EXAMPLES.table_row(example, found) in page
    assert f"images/metrics-{name}.png" in page
    assert matrix.shape == (*example.parts["z"], 6)


@pytest.mark.parametrize("name", EXAMPLES.EXAMPLES)
def test_every_code_determines_its_image(name):
    dataset = data.load("shapes")
    example = EXAMPLES.EXAMPLES[name](dataset)
    points = np.random.default_rng(0).integers(0, 480_000, 20)
    factors = np.stack(np.unravel_index(points, dataset.factor_sizes), axis=1)
    images = np.rint(255 * example.decode(example.encode(factors)))
    np.testing.assert_array_equal(images, dataset.render(points))
