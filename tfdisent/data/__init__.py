"""Data sets: what they declare and how they are found by name."""

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import Split
from tfdisent.data.base import Subset
from tfdisent.registry import check_name
from tfdisent.registry import resolve

__all__ = [
    "DATASETS",
    "ArraySplit",
    "Dataset",
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
    if not (form in FORMS and path):
        known = [n for n in DATASETS]
        check_name("data set", name, known, [f"{f}:PATH" for f in FORMS])


def load(name, data_dir=None, **options):
    """Loads a data set by name.

    Args:
      name: a key of `DATASETS`, `folder:PATH`, `npz:PATH`, another form of
        `FORMS`, or the user's own `package.module:name`, a function that
        returns a `Dataset`.
      data_dir: where TensorFlow Datasets keeps prepared data; the environment
        variable TFDS_DATA_DIR when None.
      **options: passed to the loader, for instance `size=64` for a folder.

    Returns:
      A `Dataset`.

    Raises:
      InputError: unknown name, or data that cannot be had or read.
    """
    check(name)
    form, _, path = name.partition(":")
    if form in FORMS:
        return resolve(FORMS[form])(path, **options)
    loader = resolve(DATASETS.get(name, name))
    return loader(data_dir=data_dir, **options)
