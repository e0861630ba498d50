"""A user's own arrays in one .npz file."""

import pathlib
import zipfile

import numpy as np

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import class_partition
from tfdisent.data.base import split_by_class
from tfdisent.data.factors import GridSplit
from tfdisent.errors import InputError


def read_npz(path):
    """The arrays of an .npz file, pickled objects refused.

    Raises:
      InputError: no such file, no .npz, or objects inside.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"There is no file {str(path)!r}.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{str(path)!r} is no readable .npz file of plain arrays: {error}"
        ) from error


def checked_images(images, where):
    """uint8 or float32 `[N, H, W, C]` in range, from what a user stored.

    Raises:
      InputError: another rank, type or range, or values that are not finite.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise InputError(
            f"{where}: images must be [N, H, W] or [N, H, W, 1 or 3]. "
            f"Received shape {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(
            f"{where}: images must be uint8 in 0..255 or float in [0, 1]. "
            f"Received {images.dtype}."
        )
    low, high = images.min(), images.max()
    if not (0 <= low and high <= 1):  # Also False for NaN.
        raise InputError(
            f"{where}: float images must lie in [0, 1]. Received values from "
            f"{low} to {high}."
        )
    return images.astype(np.float32)


def npz(path, test_share=0.1, seed=0):
    """`npz:PATH`: arrays `images`, optional `labels` and `factors`.

    Args:
      path: an .npz file; `images` uint8 in 0..255 or float in [0, 1],
        `[N, H, W]` or `[N, H, W, C]`; `labels` int `[N]`; `factors` int
        `[N, K]`, with optional `factor_names` `[K]`.
      test_share: share of images held out, seeded.
      seed: int.

    Raises:
      InputError: unreadable file, missing or misshapen array.
    """
    path = pathlib.Path(path)
    stored = read_npz(path)
    if "images" not in stored:
        raise InputError(
            f"{str(path)!r} has no array 'images'; it has "
            f"{', '.join(stored) or 'none'}."
        )
    images = checked_images(stored["images"], str(path))
    labels = stored.get("labels")
    names = None
    if labels is not None:
        # Classes are numbered densely, whatever numbers or names were stored.
        names, labels = np.unique(labels, return_inverse=True)
        names = tuple(str(n) for n in names)
    declared = {}
    factors = stored.get("factors")
    if factors is not None:
        factors, declared = _factors(stored)
    everything = ArraySplit(images, labels, factors)
    order = np.random.default_rng(seed).permutation(len(images))
    held_out = round(test_share * len(images))
    splits = {"train": everything.subset(np.sort(order[held_out:]))}
    if held_out:
        splits["test"] = everything.subset(np.sort(order[:held_out]))
    sizes = declared.get("factor_sizes")
    if sizes and len(images) == np.prod(sizes):
        # A complete grid is a grid, in whatever order it was stored.
        point = np.ravel_multi_index(tuple(factors.T), sizes)
        if len(np.unique(point)) == len(point):
            ordered = images[np.argsort(point)]
            splits = {
                "train": GridSplit(ordered.__getitem__, sizes, images.shape[1:])
            }
    few_shot = {}
    if names and len(names) >= 4:
        few_shot = split_by_class(
            everything, *class_partition(len(names), 0.25, seed)
        )
    return Dataset(
        name=f"npz:{path}",
        splits=splits,
        few_shot=few_shot,
        num_classes=len(names) if names else None,
        class_names=names,
        description=f"{len(images)} images of {path.name}",
        **declared,
    )


def _factors(stored):
    """Dense factor values, and what the data set declares about them."""
    factors = stored["factors"]
    if factors.ndim != 2 or not np.issubdtype(factors.dtype, np.integer):
        raise InputError(
            "factors must be an integer array [N, K]. Received "
            f"{factors.dtype} of shape {factors.shape}."
        )
    columns = [np.unique(c, return_inverse=True) for c in factors.T]
    names = stored.get("factor_names")
    if names is None:
        names = [f"factor{k}" for k in range(len(columns))]
    return np.stack([dense for _, dense in columns], axis=-1), {
        "factor_names": tuple(str(n) for n in names),
        "factor_sizes": tuple(len(values) for values, _ in columns),
    }
