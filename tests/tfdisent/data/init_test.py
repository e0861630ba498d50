import subprocess
import sys

import numpy as np
import pytest

from tfdisent import data
from tfdisent.errors import InputError


def test_import_starts_no_tensorflow():
    code = (
        "import sys; import tfdisent.data as data; data.check('mnist');"
        "sys.exit('tensorflow' in sys.modules or 'sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", [*data.DATASETS, "folder:x", "npz:a:b"])
def test_registered_names_pass(name):
    data.check(name)


@pytest.mark.parametrize(
    "name, said",
    [
        ("omniglut", "Did you mean 'omniglot'?"),
        ("dSprites", "Did you mean 'dsprites'?"),
        ("fold:x", "Did you mean 'folder:PATH'?"),
        ("", "Choices: celeb_a, digits, dsprites"),
        ("zzz", "mini_imagenet:PATH, npz:PATH, package.module:name."),
        ("folder:", "'folder:' needs a path, as in 'folder:PATH'."),
        ("npz", "Data set 'npz' needs a path, as in 'npz:PATH'."),
    ],
)
def test_unknown_names_list_the_choices(name, said):
    for function in (data.check, data.load):
        with pytest.raises(InputError) as caught:
            function(name)
        assert said in str(caught.value)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module `own_data`."""
    (tmp_path / "own_data.py").write_text(
        """
import numpy as np
from tfdisent.data import ArraySplit, Dataset

def images(data_dir=None, size=4, report=None):
    if report:
        report(f"from {data_dir}")
    return Dataset("own", {"train": ArraySplit(np.zeros((2, size, size, 1)))})

def nothing(data_dir=None):
    return np.zeros(3)

def deaf():
    return None

number = 3
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_data", None)


def test_own_loader(own):
    lines = []
    dataset = data.load("own_data:images", "here", lines.append, size=6)
    assert dataset.image_shape == (6, 6, 1)
    assert lines == ["from here"]


@pytest.mark.parametrize(
    "name, said",
    [
        (
            "own_data:nothing",
            "must return a tfdisent.data.Dataset. It returned",
        ),
        ("own_data:deaf", "unexpected keyword argument 'data_dir'"),
        ("own_data:number", "is no function"),
        ("own_data:missing", "has no 'missing'"),
    ],
)
def test_bad_loaders(own, name, said):
    with pytest.raises(InputError, match=said):
        data.load(name)


def test_unknown_options_are_refused():
    with pytest.raises(InputError) as caught:
        data.load("digits", size=32)
    assert str(caught.value) == (
        "Data set 'digits': got an unexpected keyword argument 'size'; it "
        "takes data_dir."
    )


def test_report_is_no_option_of_quick_loaders():
    dataset = data.load("digits", report=print)
    assert np.isfinite(dataset.splits["train"].take([0])["image"]).all()
