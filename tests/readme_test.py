"""The README's Python runs as it stands there."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def blocks():
    text = README.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_ten_lines_run(tmp_path, monkeypatch):
    import keras
    import numpy as np

    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(blocks()[0], str(README), "exec"), names)
    assert names["parts"]["z"].shape == (2, 6)
    assert names["swapped"].shape == (1, 32, 32, 1)
    loaded = keras.saving.load_model(tmp_path / "digits.keras")
    np.testing.assert_allclose(
        loaded.encode(names["images"][:2])["z"], names["parts"]["z"], atol=1e-6
    )


def test_paths_it_links_to_exist():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        if not (README.parent / target).exists():
            pytest.fail(f"README links to {target}, which is not there.")
