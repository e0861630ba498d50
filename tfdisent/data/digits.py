"""scikit-learn's handwritten digits: real images that need no download."""

import numpy as np
from sklearn import datasets

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import split_by_class


def digits(data_dir=None):
    """1,797 handwritten digits, 8x8x1 with 17 grey levels, ten classes.

    Few-shot: the classes 0-4 train, 5-9 are unseen, nothing is rotated. The
    ordinary test split is every fifth image.

    Source: UCI Optical Recognition of Handwritten Digits, test part, as
    shipped with scikit-learn.
    """
    del data_dir  # Ships with a dependency.
    bunch = datasets.load_digits()
    images = (bunch.images[..., None] / 16).astype(np.float32)
    everything = ArraySplit(images, bunch.target)
    held_out = np.arange(len(images)) % 5 == 0
    return Dataset(
        name="digits",
        splits={
            "train": everything.subset(np.flatnonzero(~held_out)),
            "test": everything.subset(np.flatnonzero(held_out)),
        },
        few_shot=split_by_class(
            everything, train=range(5), test=range(5, 10), validation=(3, 4)
        ),
        num_classes=10,
        class_names=tuple(str(n) for n in range(10)),
        description="scikit-learn's 1,797 handwritten digits, 8x8",
    )
