"""A user's folder of PNG or JPEG images; nested folders are categories."""

import concurrent.futures
import csv
import dataclasses
import os
import pathlib
import time
import unicodedata

import numpy as np
from PIL import Image
from PIL import ImageOps

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import Split
from tfdisent.data.base import class_partition
from tfdisent.data.base import held_out
from tfdisent.data.base import split_by_class
from tfdisent.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
# Images, too, and not read (`read_image` says why): to be named, not missed.
OTHERS = (".avif", ".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp")
# Decoded images up to this many bytes stay in memory after the scan.
MEMORY = 2**30
# A header that claims more pixels than this is not decoded: a few bytes of
# PNG can unpack to gigabytes, and four readers work at once.
MAX_PIXELS = 64_000_000
READERS = 4
# Files that wait for a reader at most, so that a million of them cost nothing.
SCAN_CHUNK = 1024
# Damaged files that one message names.
NAMED = 5
REPORT_SECONDS = 10


def find_images(root, report=None):
    """Relative paths of all images below a folder.

    Links to folders are followed, each folder being visited once; names that
    begin with a dot are skipped, as shells do.

    Args:
      root: the folder.
      report: called with a line where images of other formats are left out.

    Returns:
      A list of texts with `/` between names, sorted by name and not by what
      the file system gives, so that splits are the same on every machine.

    Raises:
      InputError: no such folder, or no image in it.
    """
    root = pathlib.Path(root).expanduser()
    if not root.is_dir():
        here = "" if root.is_absolute() else f" in {os.getcwd()!r}"
        raise InputError(f"There is no folder {str(root)!r}{here}.")
    found, others, visited = [], [], set()
    for here, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:  # A link that leads back, or here twice.
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        relative = pathlib.Path(here).relative_to(root).as_posix()
        above = "" if relative == "." else f"{relative}/"
        files = [name for name in files if not name.startswith(".")]
        found += [
            above + name for name in files if name.lower().endswith(SUFFIXES)
        ]
        others += [name for name in files if name.lower().endswith(OTHERS)]
    if others and report:
        kinds = sorted({pathlib.Path(name).suffix.lower() for name in others})
        report(
            f"{len(others):,} images below {root} are left out "
            f"({', '.join(kinds)}): PNG and JPEG are read."
        )
    if not found:
        raise InputError(
            f"Folder {str(root)!r} holds no PNG or JPEG image at any depth."
        )
    # File systems spell an accented letter in one character or in two.
    return sorted(found, key=lambda path: unicodedata.normalize("NFC", path))


def class_folders(paths):
    """The folder of every path of `find_images`, `"."` for the root itself."""
    return [path.rpartition("/")[0] or "." for path in paths]


def read_image(path, size, grey=False):
    """One image: largest central square, `size` x `size`.

    Photos are turned upright as their EXIF says, transparency becomes white,
    and 16 bits of grey become the upper 8.

    Args:
      path: a PNG or JPEG file, whatever its name.
      size: side in pixels.
      grey: one channel instead of three.

    Returns:
      uint8 `[size, size, 1 or 3]`.

    Raises:
      Exception: of Pillow, of many types, for a damaged file; ValueError for
        one whose header claims too much.
    """
    # Pillow's other formats run more code, even other programs.
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"{image.width}x{image.height} pixels exceed {MAX_PIXELS:,}"
            )
        # JPEG decodes at a half, quarter or eighth of its size in a fraction
        # of the time; twice the size wanted leaves the filter its detail.
        image.draft(None, (2 * size, 2 * size))
        # Cameras store how they were held; without this, photos lie down.
        image = ImageOps.exif_transpose(image)
        image = _opaque(image).convert("L" if grey else "RGB")
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        pixels = np.asarray(image, np.uint8)
    return pixels[..., None] if grey else pixels


def _opaque(image):
    """An image of 8 bits a channel without transparency."""
    if image.mode.startswith("I"):  # Pillow would clip at 255.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


class FileSplit(Split):
    """Images read from their files when asked for.

    Args:
      root: folder.
      paths: relative paths `[N]`, as `find_images` gives them.
      size, grey: see `read_image`.
      labels: int `[N]` or None.
    """

    def __init__(self, root, paths, size, grey=False, labels=None):
        self.root = pathlib.Path(root).expanduser()
        self.paths = list(paths)
        self.size, self.grey = size, grey
        self.image_shape = (size, size, 1 if grey else 3)
        self.labels = None if labels is None else np.asarray(labels, np.int32)
        self.readers = concurrent.futures.ThreadPoolExecutor(READERS)

    def __len__(self):
        return len(self.paths)

    def read(self, index):
        """Image number `index`, uint8 `[size, size, C]`.

        Raises:
          InputError: the file cannot be read; the message names it.
        """
        path = self.paths[index]
        try:
            return read_image(self.root / path, self.size, self.grey)
        except Exception as error:  # Pillow's decoders raise what they like.
            raise InputError(f"{path!r} cannot be read: {error}") from error

    def take(self, indices):
        batch = {"image": np.stack([*self.readers.map(self.read, indices)])}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch

    def verified(self, report=None):
        """Decodes every file once, so that no damaged one stops a run later.

        Args:
          report: called with a line of progress every ten seconds.

        Returns:
          An `ArraySplit` when the decoded images fit in `MEMORY`, else self.

        Raises:
          InputError: names the damaged files.
        """
        keep = len(self) * np.prod(self.image_shape) <= MEMORY
        images = np.empty(
            (len(self) if keep else 0, *self.image_shape), np.uint8
        )
        damaged = []

        def check(index):
            try:
                pixels = self.read(index)
            except InputError as error:
                damaged.append((index, str(error)))
                return
            if keep:
                images[index] = pixels

        started = last = time.monotonic()
        for start in range(0, len(self), SCAN_CHUNK):
            chunk = range(start, min(start + SCAN_CHUNK, len(self)))
            for done, _ in enumerate(self.readers.map(check, chunk), start + 1):
                now = time.monotonic()
                if report and now - last >= REPORT_SECONDS:
                    last = now
                    report(_progress(done, len(self), now - started))
        if damaged:
            shown = "; ".join(what for _, what in sorted(damaged)[:NAMED])
            rest = len(damaged) - NAMED
            raise InputError(
                f"{len(damaged)} of {len(self)} images in "
                f"{str(self.root)!r} are damaged: {shown}"
                f"{f'; and {rest} more' if rest > 0 else ''}. Remove or "
                "replace them."
            )
        if not keep:
            return self
        return ArraySplit(images, self.labels, paths=self.paths)


def _progress(done, total, seconds):
    """A line with rate and time left."""
    rate = done / seconds
    minutes, left = divmod(round((total - done) / rate), 60)
    return (
        f"reading images: {done:,}/{total:,}  {rate:,.0f} images/s  "
        f"{minutes}:{left:02d} left"
    )


def folder(path, size=64, grey=False, test_share=0.1, seed=0, report=None):
    """`folder:PATH`: any tree of PNG and JPEG files.

    Folders that hold images are the classes, named by their path; depths may
    differ. Images directly in PATH are unlabelled, or the class `"."` where
    others lie deeper. Every file is decoded once before anything else, so
    damaged files are named at once.

    Args:
      path: the folder.
      size: side of the square images in pixels; the shorter side of a file
        is fitted and the longer one cropped around the centre.
      grey: one channel instead of three.
      test_share: share of the images held out, seeded.
      seed: int.
      report: called with a line of progress every ten seconds of the scan,
        and with one where images of other formats are left out.

    Raises:
      InputError: no folder, no image, or damaged images.
    """
    if size < 1:
        raise InputError(f"size must be at least 1, got {size}.")
    paths = find_images(path, report)
    folders = class_folders(paths)
    names = tuple(sorted(set(folders)))
    labels = None
    if names != (".",):
        numbers = {name: number for number, name in enumerate(names)}
        labels = np.array([numbers[f] for f in folders])
    everything = FileSplit(path, paths, size, grey, labels).verified(report)
    few_shot = {}
    if labels is not None and len(names) >= 4:
        few_shot = split_by_class(
            everything, *class_partition(len(names), 0.25, seed)
        )
    return Dataset(
        name=f"folder:{path}",
        splits=held_out(everything, test_share, seed),
        few_shot=few_shot,
        num_classes=None if labels is None else len(names),
        class_names=None if labels is None else names,
        hierarchy=None if labels is None else _nested(path, names),
        description=f"{len(paths)} images below {path}, {size}x{size}",
    )


def _nested(path, names):
    """Class folders as `Dataset.hierarchy`; empty folders are None in it.

    Images beside folders are a class `"."` of the folder they lie in.
    """
    root = pathlib.Path(path).expanduser()
    folders = [
        folder.relative_to(root).as_posix()
        for folder in sorted(root.rglob("*"))
        if folder.is_dir()
        and not any(p.startswith(".") for p in folder.relative_to(root).parts)
    ]
    numbers = {name: number for number, name in enumerate(names)}
    nested = {}
    for name in sorted({*names, *folders}):
        inner = nested
        for part in name.split("/"):
            inner = inner.setdefault(part, {})
        if name in numbers:
            inner["."] = numbers[name]
    return _plain(nested)


def _plain(nested):
    """Mappings of a lone class as that class, empty ones as None."""
    if not isinstance(nested, dict):
        return nested
    plain = {name: _plain(inner) for name, inner in nested.items()}
    if "." in plain:  # An empty folder beside images is no category.
        plain = {n: inner for n, inner in plain.items() if inner is not None}
    if list(plain) == ["."]:
        return plain["."]
    # Folders that hold nothing but empty ones are empty, too.
    return plain if any(v is not None for v in plain.values()) else None


def _listed(name, path, parts, **options):
    """A folder of classes whose few-shot partition is given by name.

    Args:
      name: the form, for `Dataset.name`.
      path: the folder.
      parts: class names that train, are unseen, and validate.
      **options: `folder`'s.
    """
    full = folder(path, test_share=0.0, **options)
    numbers = {c: n for n, c in enumerate(full.class_names or ())}
    missing = [c for classes in parts for c in classes if c not in numbers]
    if missing:
        raise InputError(
            f"{str(path)!r} lacks the class folders "
            f"{', '.join(missing[:NAMED])}"
            f"{' ...' if len(missing) > NAMED else ''}."
        )
    train, test, validation = (
        [numbers[c] for c in classes] for classes in parts
    )
    few_shot = split_by_class(full.splits["train"], train, test, validation)
    return dataclasses.replace(
        full,
        name=f"{name}:{path}",
        splits={k: few_shot[k] for k in ("train", "test")},
        few_shot=few_shot,
    )


def mini_imagenet(path, size=64, grey=False, report=None):
    """`mini_imagenet:PATH`: Ravi and Larochelle's split over a folder.

    The 80 classes of train and val train the final model; val chooses
    hyperparameters; the 20 of test are unseen.

    Args:
      path: a folder with `train.csv`, `val.csv`, `test.csv` (Ravi's files,
        columns `filename,label`) beside one folder of images a class.
      size: side in pixels; 64 as FDEN's paper has it.
      grey, report: see `folder`.

    Raises:
      InputError: as `folder`; a list or a class folder is missing.
    """
    root = pathlib.Path(path).expanduser()
    train, test, validation = (
        _listed_classes(root / f"{part}.csv")
        for part in ("train", "test", "val")
    )
    return _listed(
        "mini_imagenet",
        path,
        (train + validation, test, validation),
        size=size,
        grey=grey,
        report=report,
    )


def _listed_classes(listing):
    """The values of column `label` of one of Ravi's files, sorted."""
    if not listing.is_file():
        raise InputError(
            f"{str(listing)!r} is missing: Mini-ImageNet needs Ravi's "
            "train.csv, val.csv and test.csv beside the class folders."
        )
    with open(listing, encoding="utf-8", newline="") as file:
        classes = sorted(
            {row.get("label") or "" for row in csv.DictReader(file)}
        )
    if not classes or "" in classes:
        raise InputError(
            f"{str(listing)!r} needs the columns filename,label in every row."
        )
    return classes


def faces(path, size=64, grey=False, seed=0, report=None):
    """`faces:PATH`: one folder of images an identity.

    A stand-in for MS-Celeb-1M's low-shot set, which was withdrawn: a
    twenty-first of the identities are unseen, as there.

    Args:
      path: a folder of at least 4 folders.
      size, grey, report: see `folder`.
      seed: int; of the partition.

    Raises:
      InputError: as `folder`; fewer than 4 identities.
    """
    names = sorted({*class_folders(find_images(path))} - {"."})
    if len(names) < 4:
        raise InputError(
            f"{str(path)!r} needs one folder an identity, at least 4. "
            f"Found {len(names)}."
        )
    parts = [
        [names[n] for n in part]
        for part in class_partition(len(names), 1 / 21, seed)
    ]
    return _listed("faces", path, parts, size=size, grey=grey, report=report)
