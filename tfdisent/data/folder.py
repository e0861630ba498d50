"""A user's folder of PNG or JPEG images; nested folders are categories."""

import concurrent.futures
import pathlib

import numpy as np
from PIL import Image
from PIL import ImageOps

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import Split
from tfdisent.data.base import class_partition
from tfdisent.data.base import split_by_class
from tfdisent.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
# Decoded images up to this many bytes stay in memory after the scan.
MEMORY = 2**30
# A header that claims more pixels than this is not decoded.
MAX_PIXELS = 64_000_000
READERS = 4


def find_images(root):
    """Relative paths of all images below a folder, sorted.

    Raises:
      InputError: no such folder, or no image in it.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}.")
    found = sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not found:
        raise InputError(
            f"Folder {str(root)!r} holds no PNG or JPEG image at any depth."
        )
    return found


def read_image(path, size, grey=False):
    """One image: largest central square, `size` x `size`.

    Args:
      path: a PNG or JPEG file.
      size: side in pixels.
      grey: one channel instead of three.

    Returns:
      uint8 `[size, size, 1 or 3]`.

    Raises:
      OSError, ValueError: damaged file, or one whose header claims too much.
    """
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"{image.width}x{image.height} pixels exceed {MAX_PIXELS:,}"
            )
        # Cameras store how they were held; without this, photos lie down.
        image = ImageOps.exif_transpose(image)
        image = image.convert("L" if grey else "RGB")
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        pixels = np.asarray(image, np.uint8)
    return pixels[..., None] if grey else pixels


class FileSplit(Split):
    """Images read from their files when asked for.

    Args:
      root: folder.
      paths: relative paths `[N]`.
      size, grey: see `read_image`.
      labels: int `[N]` or None.
    """

    def __init__(self, root, paths, size, grey=False, labels=None):
        self.root = pathlib.Path(root)
        self.paths = list(paths)
        self.size, self.grey = size, grey
        self.image_shape = (size, size, 1 if grey else 3)
        self.labels = None if labels is None else np.asarray(labels, np.int32)
        self.readers = concurrent.futures.ThreadPoolExecutor(READERS)

    def __len__(self):
        return len(self.paths)

    def read(self, index):
        """Image number `index`, uint8 `[size, size, C]`."""
        return read_image(self.root / self.paths[index], self.size, self.grey)

    def take(self, indices):
        batch = {"image": np.stack([*self.readers.map(self.read, indices)])}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch

    def verified(self, progress=None):
        """Decodes every file once, so that no damaged one stops a run later.

        Args:
          progress: called with the number of files done so far.

        Returns:
          An `ArraySplit` when the decoded images fit in `MEMORY`, else self.

        Raises:
          InputError: names the damaged files.
        """
        keep = len(self) * np.prod(self.image_shape) <= MEMORY
        images = np.empty((len(self), *self.image_shape), np.uint8)
        if not keep:
            images = images[:0]
        damaged = []

        def check(index):
            try:
                pixels = self.read(index)
            except (OSError, ValueError, SyntaxError) as error:
                damaged.append(f"{self.paths[index]} ({error})")
                return
            if keep:
                images[index] = pixels

        for done, _ in enumerate(self.readers.map(check, range(len(self))), 1):
            if progress:
                progress(done)
        if damaged:
            shown = "; ".join(sorted(damaged)[:5])
            more = f"; and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            raise InputError(
                f"{len(damaged)} of {len(self)} images in "
                f"{str(self.root)!r} cannot be read: {shown}{more}. Remove or "
                "replace them."
            )
        return ArraySplit(images, self.labels) if keep else self


def folder(path, size=64, grey=False, test_share=0.1, seed=0):
    """`folder:PATH`: any tree of PNG and JPEG files.

    Folders that hold images are the classes; images directly in PATH, with
    no folder beside them, are unlabelled. Every file is decoded once before
    anything else, so damaged files are named at once.

    Args:
      path: the folder.
      size: side of the square images in pixels; the shorter side of a file
        is fitted and the longer one cropped around the centre.
      grey: one channel instead of three.
      test_share: share of the images held out, seeded.
      seed: int.

    Raises:
      InputError: no folder, no image, or damaged images.
    """
    paths = find_images(path)
    folders = [p.parent.as_posix() for p in paths]
    names = tuple(sorted(set(folders)))
    labels = None
    if names != (".",):
        labels = [names.index(f) for f in folders]
    everything = FileSplit(path, paths, size, grey, labels).verified()
    order = np.random.default_rng(seed).permutation(len(paths))
    held_out = round(test_share * len(paths))
    splits = {"train": everything.subset(np.sort(order[held_out:]))}
    if held_out:
        splits["test"] = everything.subset(np.sort(order[:held_out]))
    few_shot = {}
    if labels and len(names) >= 4:
        few_shot = split_by_class(
            everything, *class_partition(len(names), 0.25, seed)
        )
    return Dataset(
        name=f"folder:{path}",
        splits=splits,
        few_shot=few_shot,
        num_classes=len(names) if labels else None,
        class_names=names if labels else None,
        description=f"{len(paths)} images below {path}, {size}x{size}",
    )


def _listed(path, size, parts, name, description):
    """A folder of classes whose few-shot partition is given by name."""
    full = folder(path, size=size, test_share=0.0)
    everything = full.splits["train"]
    numbers = {c: n for n, c in enumerate(full.class_names or ())}
    missing = [c for classes in parts for c in classes if c not in numbers]
    if missing:
        raise InputError(
            f"{str(path)!r} lacks the class folders {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}."
        )
    train, test, validation = (
        [numbers[c] for c in classes] for classes in parts
    )
    few_shot = split_by_class(everything, train, test, validation)
    return Dataset(
        name=f"{name}:{path}",
        splits={k: few_shot[k] for k in ("train", "test")},
        few_shot=few_shot,
        num_classes=full.num_classes,
        class_names=full.class_names,
        description=description,
    )


def mini_imagenet(path, size=64):
    """`mini_imagenet:PATH`: Ravi and Larochelle's split over a folder.

    Args:
      path: a folder with `train.csv`, `val.csv`, `test.csv` (Ravi's files,
        columns `filename,label`) beside one folder of images a class.
      size: side in pixels; 64 as seed 002 uses it.

    The 80 classes of train and val train the final model; val chooses
    hyperparameters; the 20 of test are unseen.
    """
    root = pathlib.Path(path)
    classes = {}
    for part in ("train", "val", "test"):
        listing = root / f"{part}.csv"
        if not listing.is_file():
            raise InputError(
                f"{str(listing)!r} is missing: Mini-ImageNet needs Ravi's "
                "train.csv, val.csv and test.csv beside the class folders."
            )
        rows = listing.read_text(encoding="utf-8").split()[1:]
        classes[part] = sorted({row.split(",")[1] for row in rows})
    return _listed(
        path,
        size,
        (classes["train"] + classes["val"], classes["test"], classes["val"]),
        "mini_imagenet",
        f"Mini-ImageNet, Ravi's split, {size}x{size}",
    )


def faces(path, size=64, seed=0):
    """`faces:PATH`: one folder of images an identity.

    A stand-in for MS-Celeb-1M's low-shot set, which was withdrawn: a
    twenty-first of the identities are unseen, as there.
    """
    names = sorted({p.parent.as_posix() for p in find_images(path)} - {"."})
    if len(names) < 4:
        raise InputError(
            f"{str(path)!r} needs one folder an identity, at least 4. "
            f"Found {len(names)}."
        )
    train, test, validation = class_partition(len(names), 1 / 21, seed)
    parts = [[names[n] for n in part] for part in (train, test, validation)]
    return _listed(
        path, size, parts, "faces", f"faces by identity, {size}x{size}"
    )
