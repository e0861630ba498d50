"""Data sets: what they declare and how they are found by name."""

import inspect
import pathlib

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import GridSplit
from tfdisent.data.base import Split
from tfdisent.data.base import Subset
from tfdisent.errors import InputError
from tfdisent.registry import check_name
from tfdisent.registry import resolve

__all__ = [
    "DATASETS",
    "ArraySplit",
    "Dataset",
    "GridSplit",
    "Split",
    "Subset",
    "check",
    "load",
]

DATASETS = {
    "celeb_a": "tfdisent.data.tfds:celeb_a",
    "digits": "tfdisent.data.digits:digits",
    "dsprites": "tfdisent.data.tfds:dsprites",
    "fashion_mnist": "tfdisent.data.tfds:fashion_mnist",
    "mnist": "tfdisent.data.tfds:mnist",
    "omniglot": "tfdisent.data.omniglot:omniglot",
    "oxford_flowers102": "tfdisent.data.tfds:oxford_flowers102",
    "shapes": "tfdisent.data.factors:shapes",
    "shapes3d": "tfdisent.data.tfds:shapes3d",
    "smallnorb": "tfdisent.data.tfds:smallnorb",
    "sprites": "tfdisent.data.factors:sprites",
}

# A prefix and what reads the path behind it.
FORMS = {
    "faces": "tfdisent.data.folder:faces",
    "folder": "tfdisent.data.folder:folder",
    "mini_imagenet": "tfdisent.data.folder:mini_imagenet",
    "npz": "tfdisent.data.arrays:npz",
}


def check(name):
    """Refuses an unknown data set name without importing anything heavy.

    Raises:
      InputError: one line with the choices.
    """
    form, _, path = name.partition(":")
    if form not in FORMS:
        if name and pathlib.Path(name).is_dir() and name not in DATASETS:
            raise InputError(
                f"{name!r} is a folder here; as a data set it is called "
                f"'folder:{name}'."
            )
        check_name("data set", name, DATASETS, [f"{f}:PATH" for f in FORMS])
    elif not path:
        raise InputError(
            f"Data set {name!r} needs a path, as in '{form}:PATH'."
        )


def load(name, data_dir=None, report=None, **options):
    """Loads a data set by name.

    Args:
      name: a key of `DATASETS`, `folder:PATH`, `npz:PATH`, another form of
        `FORMS`, or the user's own `package.module:name`, a function that
        takes `data_dir` and returns a `Dataset`.
      data_dir: where TensorFlow Datasets keeps prepared data; the environment
        variable TFDS_DATA_DIR when None.
      report: called with lines of progress by loaders that take long, for
        instance `print`.
      **options: passed to the loader, for instance `size=64` for a folder.

    Returns:
      A `Dataset`.

    Raises:
      InputError: unknown name or option, or data that cannot be had or read.
    """
    check(name)
    form, _, path = name.partition(":")
    if form in FORMS:
        loader, given = resolve(FORMS[form]), (path,)
    else:
        loader, given = resolve(DATASETS.get(name, name)), ()
        options["data_dir"] = data_dir
    if not callable(loader):
        raise InputError(f"{name!r} is no function that loads a data set.")
    if "report" in inspect.signature(loader).parameters:
        options["report"] = report
    _check_options(name, loader, given, options)
    dataset = loader(*given, **options)
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"{name!r} must return a tfdisent.data.Dataset. It returned "
            f"{type(dataset).__name__}."
        )
    return dataset


def _check_options(name, loader, given, options):
    """Refuses options that a loader does not take."""
    signature = inspect.signature(loader)
    try:
        signature.bind(*given, **options)
    except TypeError as error:
        own = [*signature.parameters][len(given) :]
        raise InputError(
            f"Data set {name!r}: {error}; it takes {', '.join(own)}."
        ) from None
