"""Fixtures with known scores."""

import json
import os
import pathlib
from typing import NamedTuple

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Golden(NamedTuple):
    """One fixture of the reference library and the scores it gave."""

    code_table: np.ndarray
    factor_table: np.ndarray
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    expected: dict


@pytest.fixture(params=["1", "2", "3"])
def golden(request):
    shared = os.environ.get("TFDISENT_SHARED", ROOT.parent / "shared")
    folder = pathlib.Path(shared) / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}; set TFDISENT_SHARED")
    expected = json.loads((folder / "metrics.json").read_text())
    with np.load(folder / "metrics.npz") as arrays:
        codes, factors, train, test = (
            arrays[f"{request.param}_{name}"]
            for name in ("codes", "factors", "train", "test")
        )
    return Golden(
        codes,
        factors,
        (factors[train], codes[train]),
        (factors[test], codes[test]),
        expected[request.param],
    )


@pytest.fixture
def grid():
    """A function: sizes -> all points of the grid, int64 `[prod, K]`."""

    def points(*sizes):
        return np.indices(sizes).reshape(len(sizes), -1).T

    return points
