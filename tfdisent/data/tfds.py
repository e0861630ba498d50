"""Data sets that TensorFlow Datasets prepares."""

import dataclasses
import json
import math
import os
import shlex

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

# What to use instead when a set cannot be had, by what the set is for.
SUBSTITUTES = {
    "celeb_a": "shapes",
    "dsprites": "sprites",
    "shapes3d": "shapes",
    "smallnorb": "shapes",
}


# HDN's tree; a shirt is a top that no image of the tree shows.
FASHION = {
    "tops": {"T-shirt": 0, "pullover": 2, "coat": 4},
    "long": {"trouser": 1, "dress": 3},
}

READ_BATCH = 256
# Seconds for a host to answer before it counts as out of reach.
PATIENCE = 10


def builder(name, data_dir=None):
    """The TFDS builder of a data set that is prepared, or can be.

    Raises:
      InputError: not prepared and no network to prepare it.
    """
    import tensorflow_datasets as tfds

    try:
        found = tfds.builder(name, data_dir=data_dir)
        if not found.data_path.exists():
            _reach(found)
            found.download_and_prepare()
    except Exception as error:  # Any failure to prepare has one answer.
        raise InputError(_not_prepared(name, data_dir, error)) from error
    return found


def _reach(found):
    """Raises an error when the source of a data set is out of reach.

    TFDS itself tries again for minutes and leaves empty files behind.
    """
    import requests

    for address in list(found.url_infos)[:1]:
        # Any answer will do: what it says is for TFDS to judge.
        requests.get(address, stream=True, timeout=PATIENCE).close()


def _not_prepared(name, data_dir, error):
    """The line that says how to come by a data set."""
    where = data_dir or os.environ.get("TFDS_DATA_DIR")
    place = where or "~/tensorflow_datasets"
    option = f", data_dir={json.dumps(str(where))}" if where else ""
    # TFDS's own command starts only where Apache Beam is installed.
    prepare = shlex.quote(
        "import tensorflow_datasets as tfds; "
        f'tfds.builder("{name}"{option}).download_and_prepare()'
    )
    return (
        f"Data set {name!r} is not prepared in {str(place)!r} and could not "
        f"be downloaded ({type(error).__name__}). Prepare it where there is a "
        f"network with `python -c {prepare}` and point --data_dir or "
        "TFDS_DATA_DIR there, or use the embedded "
        f"{SUBSTITUTES.get(name, 'digits')!r}."
    )


def read(found, split, convert=None, keep=None, attributes=None):
    """Reads a whole split into memory.

    Args:
      found: a prepared builder of examples with an `image`.
      split: a TFDS split name, `"train+test"` included.
      convert: a uint8 image tensor `[h, w, C]` -> one of the common shape
        `[H, W, C]`, traced by tf.data; None where they have one.
      keep: uint8 array `[B, H, W, C]` -> the array `[B, ...]` to keep of it;
        all of it when None.
      attributes: name of a feature of named truth values, read as well.

    Returns:
      `(images, others)`: uint8 `[N, H, W, C]`, or what `keep` made of it, and
      a dict of the scalar integer features, and of the attributes by their
      names, as arrays `[N]`. The order is that
      on disk, so it is the same at every call.

    Raises:
      InputError: the files on disk are damaged.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    scalars = [
        name
        for name, feature in found.info.features.items()
        if feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)
    ]
    wanted = {name: True for name in ["image", *scalars]}
    if attributes:
        wanted[attributes] = True
    data = found.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(wanted),
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    if convert:
        data = data.map(
            lambda example: {**example, "image": convert(example["image"])},
            num_parallel_calls=2,
        )
    # Filled in place: a list of batches would need the memory twice.
    images, others, done = None, [], 0
    try:
        for batch in data.batch(READ_BATCH).as_numpy_iterator():
            rows = batch.pop("image")
            batch |= batch.pop(attributes, {}) if attributes else {}
            rows = keep(rows) if keep else rows
            if images is None:
                count = found.info.splits[split].num_examples
                images = np.empty((count, *rows.shape[1:]), rows.dtype)
            images[done : done + len(rows)] = rows
            others.append(batch)
            done += len(rows)
    except tf.errors.OpError as error:
        raise InputError(
            f"The files of data set {found.name!r} in {str(found.data_path)!r} "
            f"cannot be read ({type(error).__name__}); remove that folder and "
            "prepare it again."
        ) from error
    return images[:done], {
        name: np.concatenate([o[name] for o in others]) for name in others[0]
    }


def _labelled(name, data_dir, description, test_share=0.2, **read_options):
    """A data set with `image` and `label`, and its own train and test split."""
    found = builder(name, data_dir)
    splits = {}
    for split in ("train", "test"):
        images, others = read(found, split, **read_options)
        splits[split] = ArraySplit(images, others["label"])
    info = found.info.features["label"]
    train, test, validation = class_partition(info.num_classes, test_share)
    everything = ArraySplit(
        np.concatenate([s.images for s in splits.values()]),
        np.concatenate([s.labels for s in splits.values()]),
    )
    return Dataset(
        name=name,
        splits=splits,
        few_shot=split_by_class(everything, train, test, validation),
        num_classes=info.num_classes,
        class_names=tuple(info.names),
        description=description,
    )


def mnist(data_dir=None):
    """MNIST: 60,000 + 10,000 handwritten digits, 28x28x1, ten classes."""
    return _labelled("mnist", data_dir, "MNIST 3.0.1, 28x28", test_share=0.5)


def fashion_mnist(data_dir=None):
    """Fashion-MNIST: 60,000 + 10,000 articles, 28x28x1, ten classes.

    Its hierarchy is HDN's: five of the classes, and *shirt* unseen.
    """
    plain = _labelled(
        "fashion_mnist", data_dir, "Fashion-MNIST 3.0.1, 28x28", test_share=0.5
    )
    return dataclasses.replace(
        plain, hierarchy=FASHION, unseen={"tops": {"shirt": 6}}
    )


def oxford_flowers102(data_dir=None, size=64):
    """Oxford Flowers: 8,189 photos of 102 species, shorter side cropped.

    Few-shot: 82 seeded random species train, 20 are unseen (FDEN, 5.1).

    Its own split (10 images a species to train, 6,149 to test) suits no
    generative model: all are joined, and a seeded fifth is the test split.

    Args:
      data_dir: where TFDS keeps it.
      size: side of the square images in pixels.
    """
    found = builder("oxford_flowers102", data_dir)
    images, others = read(
        found, "train+validation+test", convert=square_crop(size)
    )
    labels = others["label"]
    everything = ArraySplit(images, labels)
    train, test, validation = class_partition(102, 20)
    return Dataset(
        name="oxford_flowers102",
        splits=held_out(everything, 0.2),
        few_shot=split_by_class(everything, train, test, validation),
        num_classes=102,
        class_names=tuple(found.info.features["label"].names),
        description=f"Oxford Flowers 102, centre crops at {size}x{size}",
    )


def square_crop(size):
    """A `convert` of `read`: the largest central square at `size` x `size`."""
    import tensorflow as tf

    def convert(image):
        height, width, _ = tf.unstack(tf.shape(image))
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
        image = tf.saturate_cast(
            tf.round(_lanczos(image, (size, size))), tf.uint8
        )
        return tf.ensure_shape(image, (size, size, None))

    return convert


def resize_all(side, size):
    """A `keep` of `read`: squares of one size at another, Lanczos.

    TensorFlow's resize builds its filter anew for every image. The filter is
    linear, so what it does to the unit matrix is all it does, and two products
    apply it to many images in a fraction of the time.

    Args:
      side, size: pixels, before and after.

    Returns:
      A function from uint8 `[B, side, side, C]` to uint8 `[B, size, size, C]`.
    """
    import tensorflow as tf

    unit = tf.eye(side)[..., None]
    rows = _lanczos(unit, (size, side))[..., 0].numpy()

    def keep(images):
        planes = np.moveaxis(images, -1, 1).astype(np.float32)
        planes = rows @ planes @ rows.T
        return np.moveaxis(np.rint(planes).clip(0, 255).astype(np.uint8), 1, -1)

    return keep


def _lanczos(images, shape):
    """Images at another size, float32, antialiased."""
    import tensorflow as tf

    return tf.image.resize(images, shape, "lanczos3", antialias=True)


def celeb_a(data_dir=None, size=64, hierarchy=""):
    """CelebA: 202,599 faces, cropped (15, 45, 163, 193), `size` x `size` x 3.

    The classes are ClassVAE's two, female and male. All in memory: 2.2 GB at
    64x64.

    Args:
      data_dir: where TFDS keeps it.
      size: side of the square images in pixels.
      hierarchy: `"hair"` for HDN's tree of gender, smile and hair: faces
        of exactly one of three colours of hair, bald ones unseen, cropped to
        the central 178x178.

    Source of the crop: pro-VLAE's authors (left 15, top 45, right 163,
    bottom 193 of 178x218 pixels).
    """
    if hierarchy:
        check_hierarchy("celeb_a", hierarchy, ("hair",))
        return _celeb_a_by_hair(data_dir, size)
    found = builder("celeb_a", data_dir)
    shrink = resize_all(148, size)

    def keep(images):
        return shrink(images[:, 45:193, 15:163])

    splits = {}
    for split in ("train", "test"):
        images, others = read(found, split, keep=keep, attributes="attributes")
        splits[split] = ArraySplit(images, others["Male"].astype(np.int32))
    return Dataset(
        name="celeb_a",
        splits=splits,
        num_classes=2,
        class_names=("female", "male"),
        description=f"CelebA, cropped, {size}x{size}",
    )


def check_hierarchy(name, hierarchy, known):
    """Refuses the name of a hierarchy that a data set does not have.

    Raises:
      InputError: one line with the choices.
    """
    if hierarchy not in known:
        raise InputError(
            f"Data set {name!r} has no hierarchy {hierarchy!r}. Choices: "
            f"{', '.join(known)}."
        )


HAIR = ("black", "blond", "brown")


def _celeb_a_by_hair(data_dir, size):
    """See `celeb_a`; faces of no known or of several colours are left out."""
    found = builder("celeb_a", data_dir)
    shrink = resize_all(178, size)
    splits = {}
    for split in ("train", "test"):
        images, others = read(
            found,
            split,
            keep=lambda images: shrink(images[:, 20:198]),
            attributes="attributes",
        )
        splits[split] = ArraySplit(images, hair_classes(others))
    numbers = iter(range(4 * (len(HAIR) + 1)))
    seen, unseen = {}, {}
    for gender in ("female", "male"):
        for smile in ("neutral", "smiling"):
            colours = {colour: next(numbers) for colour in HAIR}
            seen.setdefault(gender, {})[smile] = colours
            unseen.setdefault(gender, {})[smile] = {"bald": next(numbers)}
    return Dataset(
        name="celeb_a",
        splits=splits,
        hierarchy=seen,
        unseen=unseen,
        description=f"CelebA by gender, smile and hair, {size}x{size}",
    )


def hair_classes(attributes):
    """Class numbers of faces: gender, then smile, then hair, the last fastest.

    Args:
      attributes: {CelebA's name: bool `[N]`}.

    Returns:
      int32 `[N]`; hair counts black, blond, brown, bald. Faces whose hair is
      none or several of these get the number behind all classes.
    """
    hair = np.stack(
        [attributes[f"{c.title()}_Hair"] for c in HAIR] + [attributes["Bald"]],
        axis=1,
    )
    which = 2 * attributes["Male"].astype(int) + attributes["Smiling"]
    classes = (len(HAIR) + 1) * which + np.argmax(hair, axis=1)
    outside = 4 * (len(HAIR) + 1)
    return np.where(hair.sum(axis=1) == 1, classes, outside).astype(np.int32)


def _grid(name, data_dir, features, description, keep=None, restore=None):
    """A data set of a complete grid, whose examples carry every factor.

    Args:
      name, data_dir, description: see `Dataset`.
      features: factor name -> feature of the examples, in the grid's order.
      keep: see `read`.
      restore: what `keep` kept -> uint8 images `[B, H, W, C]`.
    """
    found = builder(name, data_dir)
    rows, others = read(found, "train", keep=keep)
    factors = np.stack([others[f] for f in features.values()], axis=-1)
    declared = found.info.features
    sizes = tuple(declared[f].num_classes for f in features.values())
    positions = positions_on_grid(factors, sizes)
    if positions is None:
        raise InputError(
            f"{name!r} in {str(found.data_path)!r} is no complete grid: "
            f"{len(rows):,} of {math.prod(sizes):,} points. Prepare it again."
        )

    def images(indices):
        chosen = rows[positions[indices]]
        return restore(chosen) if restore else chosen

    grid = GridSplit(images, sizes, declared["image"].shape)
    return Dataset(
        name=name,
        splits=grid_splits(grid),
        factor_names=tuple(features),
        factor_sizes=sizes,
        grid=grid,
        description=description,
    )


def dsprites(data_dir=None):
    """dSprites: 737,280 binary 64x64 images of five factors (DeepMind).

    Kept as bits, 380 MB; given as 0 and 255.
    """
    return _grid(
        "dsprites",
        data_dir,
        {
            "shape": "label_shape",
            "scale": "label_scale",
            "orientation": "label_orientation",
            "position_x": "label_x_position",
            "position_y": "label_y_position",
        },
        "dSprites, 64x64",
        # TFDS stores ink as 1.
        keep=lambda images: np.packbits(images != 0, axis=2),
        restore=lambda rows: np.unpackbits(rows, axis=2) * np.uint8(255),
    )


def shapes3d(data_dir=None):
    """3D Shapes: 480,000 64x64x3 images of six factors (DeepMind).

    All in memory, 5.9 GB.
    """
    names = "floor_hue wall_hue object_hue scale shape orientation".split()
    return _grid(
        "shapes3d", data_dir, {n: f"label_{n}" for n in names}, "3D Shapes"
    )


def smallnorb(data_dir=None):
    """Small NORB: 24,300 + 24,300 grey 96x96 photos of toys (left camera).

    Factors category, elevation, azimuth, lighting are declared as labels of
    the images; the instances of train and test differ, so the grid is not
    complete.
    """
    found = builder("smallnorb", data_dir)
    names = ("label_category", "label_elevation", "label_azimuth")
    names += ("label_lighting",)
    splits = {}
    for split in ("train", "test"):
        images, others = read(found, split)
        factors = np.stack([others[n] for n in names], axis=-1)
        splits[split] = ArraySplit(images, factors[:, 0], factors)
    categories = found.info.features["label_category"]
    return Dataset(
        name="smallnorb",
        splits=splits,
        num_classes=categories.num_classes,
        class_names=tuple(categories.names),
        factor_names=tuple(n.removeprefix("label_") for n in names),
        factor_sizes=(5, 9, 18, 6),
        description="Small NORB, left camera, 96x96",
    )
