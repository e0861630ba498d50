"""What a data set declares: splits with random access, and what is known."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfdisent.errors import InputError


class Split:
    """Images with random access by index; a batch is `take(indices)`.

    Attributes:
      image_shape: `(height, width, channels)`.
      labels: int32 `[N]` class of every image, or None.
    """

    image_shape = None
    labels = None

    def __len__(self):
        raise NotImplementedError

    def take(self, indices):
        """Reads images by index.

        Args:
          indices: int `[B]`, in any order, repetitions allowed.

        Returns:
          A dict with `image` (uint8 `[B, H, W, C]` in 0..255 or float32 in
          [0, 1]) and, where known, `label` (int32 `[B]`) and `factors`
          (int32 `[B, K]`).
        """
        raise NotImplementedError

    def subset(self, indices):
        """The split of these indices only, in this order."""
        return Subset(self, indices)


class ArraySplit(Split):
    """A split that lies in memory.

    Args:
      images: uint8 or float32 `[N, H, W, C]`; floats in [0, 1].
      labels: int `[N]` or None.
      factors: int `[N, K]` or None.

    Raises:
      InputError: no images, or arrays of other shapes.
    """

    def __init__(self, images, labels=None, factors=None):
        images = np.asarray(images)
        if images.ndim != 4 or not len(images):
            raise InputError(
                "images must be a non-empty array [N, height, width, "
                f"channels]. Received shape {images.shape}."
            )
        for name, array in (("labels", labels), ("factors", factors)):
            if array is not None and len(array) != len(images):
                raise InputError(
                    f"{name} must have one entry an image. Received "
                    f"{len(array)} for {len(images)} images."
                )
        self.images = images
        self.image_shape = images.shape[1:]
        self.labels = None if labels is None else np.asarray(labels, np.int32)
        self.factors = (
            None if factors is None else np.asarray(factors, np.int32)
        )

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        batch = {"image": self.images[indices]}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        if self.factors is not None:
            batch["factors"] = self.factors[indices]
        return batch


class Subset(Split):
    """Some images of another split."""

    def __init__(self, split, indices):
        self.split = split
        self.indices = np.asarray(indices, np.int64)
        self.image_shape = split.image_shape
        if split.labels is not None:
            self.labels = split.labels[self.indices]

    def __len__(self):
        return len(self.indices)

    def take(self, indices):
        return self.split.take(self.indices[indices])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What a data set declares.

    Attributes:
      name: how it was asked for.
      splits: name -> `Split`; `train` always exists, `test` where there is
        held-out data.
      few_shot: splits whose *classes* are disjoint: `train` and `test`, and
        `validation`, which is part of `train` and serves to choose
        hyperparameters. Empty where nothing is labelled.
      num_classes: how many classes the labels count, or None.
      class_names: one name a class, or None.
      factor_names: names of the ground-truth factors, or None.
      factor_sizes: values of each factor, row-major, last fastest, or None.
      hierarchy: nested category names (`hierarchy.py`), or None.
      description: one sentence for tables and model cards.
    """

    name: str
    splits: Mapping[str, Split]
    few_shot: Mapping[str, Split] = dataclasses.field(default_factory=dict)
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    factor_names: tuple[str, ...] | None = None
    factor_sizes: tuple[int, ...] | None = None
    hierarchy: object | None = None
    description: str = ""

    @property
    def image_shape(self):
        """`(height, width, channels)` of every image."""
        return tuple(self.splits["train"].image_shape)

    def split(self, name):
        """The split of this name.

        Raises:
          InputError: there is none; the message names those there are.
        """
        if name not in self.splits:
            raise InputError(
                f"Data set {self.name!r} has no split {name!r}; it has "
                f"{', '.join(self.splits)}."
            )
        return self.splits[name]


def split_by_class(split, train, test, validation=()):
    """Few-shot splits with disjoint classes.

    Args:
      split: a labelled `Split`.
      train, test: disjoint collections of class numbers.
      validation: classes of `train` that choose hyperparameters.

    Returns:
      A dict for `Dataset.few_shot`.
    """
    parts = {"train": train, "validation": validation, "test": test}
    return {
        name: split.subset(np.flatnonzero(np.isin(split.labels, list(classes))))
        for name, classes in parts.items()
        if len(classes)
    }


def class_partition(num_classes, test_share, seed=0):
    """A seeded random partition of classes into seen and unseen ones.

    Args:
      num_classes: how many classes there are, at least 4.
      test_share: share of the unseen ones, in (0, 1), or their number.
      seed: int.

    Returns:
      `(train, test, validation)` int arrays; validation is a part of train as
      large as test, at most a fifth of it (2 classes at least).
    """
    order = np.random.default_rng(seed).permutation(num_classes)
    test = test_share
    if 0 < test_share < 1:
        test = round(num_classes * test_share)
    test = min(max(2, int(test)), num_classes - 2)
    train = order[test:]
    validation = train[: max(2, min(test, len(train) // 5))]
    return np.sort(train), np.sort(order[:test]), np.sort(validation)
