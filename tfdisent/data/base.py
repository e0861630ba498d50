"""What a data set declares: splits with random access, and what is known."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from tfdisent.errors import InputError


def checked_indices(indices, size):
    """`indices` as int64; arrays would take negative ones silently.

    Args:
      indices: int `[B]`.
      size: of what they index.

    Raises:
      InputError: another shape or type, or an index outside [0, size).
    """
    indices = np.asarray(indices)
    if not indices.size:
        return np.zeros(0, np.int64)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise InputError(
            "indices must be a vector of integers. Received "
            f"{indices.dtype} of shape {indices.shape}."
        )
    if indices.min() < 0 or indices.max() >= size:
        raise InputError(
            f"indices must lie in [0, {size}). Received values from "
            f"{indices.min()} to {indices.max()}."
        )
    return indices.astype(np.int64, copy=False)


def spread(size, most):
    """Indices evenly spread over `range(size)`, at most so many, int64."""
    rows = np.linspace(0, size - 1, min(size, most))
    return np.unique(rows.astype(np.int64))


class Split:
    """Images with random access by index; a batch is `take(indices)`.

    Attributes:
      image_shape: `(height, width, channels)`.
      labels: int32 `[N]` class of every image, or None.
      factors: int32 `[N, K]` of every image, or None; a grid's are its indices.
      paths: the file of every image, `N` strings, or None.
    """

    image_shape = None
    labels = None
    factors = None
    paths = None

    def __len__(self):
        raise NotImplementedError

    def take(self, indices):
        """Reads images by index.

        Args:
          indices: int `[B]`, in any order, repetitions allowed.

        Returns:
          A dict with `image` (uint8 `[B, H, W, C]` in 0..255 or float32 in
          [0, 1]) and, where known, `label` (int32 `[B]`) and `factors`
          (int32 `[B, K]`). Models want float32 at their size:
          `pipeline.fit_images(image, model.image_shape)`.
        """
        raise NotImplementedError

    def subset(self, indices):
        """The split of these indices only, in this order."""
        return Subset(self, indices)

    def spread(self, most):
        """At most so many of its images, evenly spread over it."""
        return self.subset(spread(len(self), most))


class ArraySplit(Split):
    """A split that lies in memory.

    Args:
      images: uint8 or float `[N, H, W, C]`; floats in [0, 1].
      labels: int `[N]` or None.
      factors: int `[N, K]` or None.
      paths: names of the files that the images are of, or None.

    Raises:
      InputError: no images, or arrays of other shapes or types.
    """

    def __init__(self, images, labels=None, factors=None, paths=None):
        images = np.asarray(images)
        if images.ndim != 4 or not images.size:
            raise InputError(
                "images must be a non-empty array [N, height, width, "
                f"channels]. Received shape {images.shape}."
            )
        if np.issubdtype(images.dtype, np.floating):
            images = images.astype(np.float32, copy=False)
        elif images.dtype != np.uint8:
            # Whole numbers of another type have no known range.
            raise InputError(
                f"images must be uint8 or float. Received {images.dtype}."
            )
        self.images = images
        self.image_shape = images.shape[1:]
        self.paths = paths
        self.labels = _whole_numbers("labels", labels, len(images), 1)
        self.factors = _whole_numbers("factors", factors, len(images), 2)

    def __len__(self):
        return len(self.images)

    def take(self, indices):
        batch = {"image": self.images[indices]}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        if self.factors is not None:
            batch["factors"] = self.factors[indices]
        return batch


def _whole_numbers(name, array, length, rank):
    """`array` as int32 of this length and rank, or None for None."""
    if array is None:
        return None
    array = np.asarray(array)
    if array.ndim != rank or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"{name} must be whole numbers of rank {rank}. Received "
            f"{array.dtype} of shape {array.shape}."
        )
    if len(array) != length:
        raise InputError(
            f"{name} must have one entry an image. Received {len(array)} for "
            f"{length} images."
        )
    return array.astype(np.int32)


class GridSplit(Split):
    """Every point of a factor grid, in row-major order.

    Args:
      images: row-major indices int64 `[B]` -> uint8 or float `[B, H, W, C]`;
        a renderer, or a look-up.
      factor_sizes: values of each factor, last fastest.
      image_shape: `(H, W, C)`.
      labels: int `[N]` class of every point, or None.
    """

    def __init__(self, images, factor_sizes, image_shape, labels=None):
        self.images = images
        self.factor_sizes = tuple(int(n) for n in factor_sizes)
        self.image_shape = tuple(image_shape)
        self.labels = _whole_numbers("labels", labels, len(self), 1)

    def __len__(self):
        return math.prod(self.factor_sizes)

    def render(self, indices):
        """Images of grid points.

        Args:
          indices: int `[B]`, row-major as `numpy.ravel_multi_index`.

        Returns:
          uint8 (or what the data set stores) `[B, H, W, C]`.

        Raises:
          ValueError: no vector of whole numbers on the grid.
        """
        return self.images(checked_indices(indices, len(self)))

    def take(self, indices):
        indices = checked_indices(indices, len(self))
        factors = np.unravel_index(indices, self.factor_sizes)
        batch = {
            "image": self.images(indices),
            "factors": np.stack(factors, axis=-1).astype(np.int32),
        }
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch


class Subset(Split):
    """Some images of another split."""

    def __init__(self, split, indices):
        self.split = split
        self.indices = np.asarray(indices, np.int64)
        self.image_shape = split.image_shape
        if split.labels is not None:
            self.labels = split.labels[self.indices]
        if split.factors is not None:
            self.factors = split.factors[self.indices]
        if split.paths is not None:
            self.paths = [split.paths[index] for index in self.indices]

    def __len__(self):
        return len(self.indices)

    def take(self, indices):
        return self.split.take(self.indices[indices])


def held_out(split, share, seed=0):
    """A seeded random part of a split, and the rest.

    Args:
      split: a `Split`.
      share: of the images, in [0, 1).
      seed: int.

    Returns:
      A dict for `Dataset.splits`: `train`, and `test` where it holds an image;
      both in the order of `split`.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    count = round(share * len(split))
    splits = {"train": split.subset(np.sort(order[count:]))}
    if count:
        splits["test"] = split.subset(np.sort(order[:count]))
    return splits


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
      grid: every point of the factors' grid, or None where it is incomplete or
        there are no factors. `train` is the grid itself where all of it is
        trained on, as the papers do, and `test` then a random part of it.
      hierarchy: nested category names (`hierarchy.py`), or None.
      unseen: leaves outside the hierarchy whose parents are in it, in the
        same form.
      description: one sentence for tables and model cards.
    """

    name: str
    splits: Mapping[str, Split]
    few_shot: Mapping[str, Split] = dataclasses.field(default_factory=dict)
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    factor_names: tuple[str, ...] | None = None
    factor_sizes: tuple[int, ...] | None = None
    grid: GridSplit | None = None
    hierarchy: Mapping | None = None
    unseen: Mapping = dataclasses.field(default_factory=dict)
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

    def render(self, indices):
        """Images of row-major indices of the factor grid.

        Args:
          indices: int `[B]`, as `numpy.ravel_multi_index` over `factor_sizes`.

        Returns:
          uint8 (or what the data set stores) `[B, H, W, C]`.

        Raises:
          InputError: the data set is no complete grid.
          ValueError: indices outside the grid.
        """
        if self.grid is None:
            raise InputError(
                f"Data set {self.name!r} has no complete factor grid to render."
            )
        return self.grid.render(indices)


def split_by_class(split, train, test, validation=()):
    """Few-shot splits by class.

    Args:
      split: a labelled `Split`.
      train, test: disjoint collections of class numbers.
      validation: classes of `train` that choose hyperparameters.

    Returns:
      A dict for `Dataset.few_shot`.

    Raises:
      ValueError: seen and unseen classes overlap.
    """
    if set(train) & set(test) or not set(validation) <= set(train):
        raise ValueError(
            "test classes must not be among the train classes, and validation "
            "classes must be."
        )
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
      large as test, at most a fifth of train; each has 2 classes at least.

    Raises:
      InputError: fewer than 4 classes.
    """
    if num_classes < 4:
        raise InputError(
            "Seen and unseen classes need at least 4 classes; there are "
            f"{num_classes}."
        )
    order = np.random.default_rng(seed).permutation(num_classes)
    test = round(num_classes * test_share) if test_share < 1 else test_share
    test = min(max(2, test), num_classes - 2)
    train = order[test:]
    validation = train[: max(2, min(test, len(train) // 5))]
    return np.sort(train), np.sort(order[:test]), np.sort(validation)
