"""A user's own arrays in one .npz file."""

import math
import pathlib
import zipfile
import zlib

import numpy as np

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import GridSplit
from tfdisent.data.base import class_partition
from tfdisent.data.base import held_out
from tfdisent.data.base import split_by_class
from tfdisent.data.factors import grid_splits
from tfdisent.data.factors import positions_on_grid
from tfdisent.errors import InputError

KEYS = ("images", "labels", "factors", "factor_names")


def read_npz(path, keys=KEYS):
    """Some arrays of an .npz file, pickled objects refused.

    Args:
      path: the file.
      keys: which arrays; those that are not there are left out.

    Raises:
      InputError: no such file, no .npz, a damaged one, objects inside, or
        none of the first key.
    """
    try:
        with zipfile.ZipFile(path):  # np.load takes other files, too.
            pass
        with np.load(path, allow_pickle=False) as stored:
            found = stored.files
            arrays = {key: stored[key] for key in keys if key in found}
    except FileNotFoundError:
        raise InputError(f"There is no file {str(path)!r}.") from None
    except (
        OSError,
        ValueError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(
            f"{str(path)!r} is no readable .npz file of plain arrays: {error}"
        ) from error
    if keys[0] not in arrays:
        raise InputError(
            f"{str(path)!r} has no array {keys[0]!r}; it has "
            f"{', '.join(found) or 'none'}."
        )
    return arrays


def checked_images(images, where):
    """uint8 or float32 `[N, H, W, C]` in range, from what a user stored.

    Raises:
      InputError: another rank, type or range, or values that are not finite.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size:
        raise InputError(
            f"{where}: images must be [N, H, W] or [N, H, W, 1 or 3], N > 0. "
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
    return images.astype(np.float32, copy=False)


def npz(path, test_share=0.1, seed=0):
    """`npz:PATH`: arrays `images`, optional `labels` and `factors`.

    Labels and factor values are numbered densely, in the order of what was
    stored. Factors that form a complete grid, in whatever order, make the data
    set a grid: it can be rendered, and `train` is all of it.

    Args:
      path: an .npz file; `images` uint8 in 0..255 or float in [0, 1],
        `[N, H, W]` or `[N, H, W, 1 or 3]`; `labels` whole numbers or strings
        `[N]`; `factors` int `[N, K]`, with optional `factor_names` `[K]`.
      test_share: share of images held out, seeded.
      seed: int.

    Raises:
      InputError: unreadable file, missing or misshapen array.
    """
    path = pathlib.Path(path).expanduser()
    stored = read_npz(path)
    images = checked_images(stored["images"], str(path))
    labels, class_names = _labels(stored.get("labels"), path)
    factors, declared = _factors(stored, path)
    everything = ArraySplit(images, labels, factors)
    grid = _grid(everything, declared.get("factor_sizes"))
    splits = held_out(everything, test_share, seed)
    if grid:
        splits = grid_splits(grid)
    few_shot = {}
    if class_names and len(class_names) >= 4:
        few_shot = split_by_class(
            everything, *class_partition(len(class_names), 0.25, seed)
        )
    return Dataset(
        name=f"npz:{path}",
        splits=splits,
        few_shot=few_shot,
        num_classes=len(class_names) if class_names else None,
        class_names=class_names,
        grid=grid,
        description=f"{len(images)} images of {path.name}",
        **declared,
    )


def _grid(everything, factor_sizes):
    """An array that is a complete factor grid as one, else None."""
    if not factor_sizes or len(everything) != math.prod(factor_sizes):
        return None
    positions = positions_on_grid(everything.factors, factor_sizes)
    if positions is None:
        return None
    labels = everything.labels
    return GridSplit(
        lambda indices: everything.images[positions[indices]],
        factor_sizes,
        everything.image_shape,
        None if labels is None else labels[positions],
    )


def _labels(labels, path):
    """Dense class numbers `[N]` and the names of the classes, or Nones."""
    if labels is None:
        return None, None
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise InputError(
            f"{str(path)!r}: labels must be whole numbers or strings [N]. "
            f"Received {labels.dtype} of shape {labels.shape}."
        )
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    names, labels = np.unique(labels, return_inverse=True)
    return labels, tuple(str(n) for n in names)


def _factors(stored, path):
    """Dense factor values, and what the data set declares about them."""
    factors = stored.get("factors")
    if factors is None:
        return None, {}
    if (
        factors.ndim != 2
        or not factors.size
        or not np.issubdtype(factors.dtype, np.integer)
    ):
        raise InputError(
            f"{str(path)!r}: factors must be whole numbers [N, K]. Received "
            f"{factors.dtype} of shape {factors.shape}."
        )
    columns = [np.unique(c, return_inverse=True) for c in factors.T]
    names = stored.get("factor_names")
    if names is None:
        names = np.array([f"factor{k}" for k in range(len(columns))])
    if names.shape != (len(columns),):
        raise InputError(
            f"{str(path)!r}: factor_names must be one name a factor, "
            f"{len(columns)}. Received shape {names.shape}."
        )
    return np.stack([dense for _, dense in columns], axis=-1), {
        "factor_names": tuple(str(n) for n in names),
        "factor_sizes": tuple(len(values) for values, _ in columns),
    }
