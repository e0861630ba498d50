"""Data sets that TensorFlow Datasets prepares."""

import numpy as np

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import Split
from tfdisent.data.base import class_partition
from tfdisent.data.base import split_by_class
from tfdisent.errors import InputError

# What to use instead when a set cannot be had, by what the set is for.
SUBSTITUTES = {
    "celeb_a": "folder:PATH of your own images",
    "dsprites": "sprites",
    "shapes3d": "shapes",
    "smallnorb": "shapes",
}


def builder(name, data_dir=None):
    """The TFDS builder of a data set that is prepared, or can be.

    Raises:
      InputError: not prepared and no network to prepare it.
    """
    import tensorflow_datasets as tfds

    found = tfds.builder(name, data_dir=data_dir)
    if not found.data_path.exists():
        try:
            found.download_and_prepare()
        except Exception as error:  # Any failure to prepare has one answer.
            where = f" --data_dir {data_dir}" if data_dir else ""
            raise InputError(
                f"Data set {name!r} is not prepared in {found.data_path} and "
                f"could not be downloaded ({type(error).__name__}). Prepare "
                f"it where there is a network with `tfds build {name}{where}`"
                " and point --data_dir or TFDS_DATA_DIR there, or use the "
                f"embedded {SUBSTITUTES.get(name, 'digits')!r}."
            ) from error
    return found


def read(found, split, convert=lambda example: example["image"]):
    """Reads a whole split into memory.

    Args:
      found: a prepared builder.
      split: a TFDS split name, `"train+test"` included.
      convert: example -> uint8 image `[H, W, C]`, traced by tf.data.

    Returns:
      `(images, others)`: uint8 `[N, H, W, C]`, and a dict of the scalar
      integer features as arrays `[N]`. The order is that on disk, so it is
      the same at every call.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def example(e):
        scalars = {
            name: tf.cast(value, tf.int64)
            for name, value in e.items()
            if value.shape.rank == 0 and value.dtype.is_integer
        }
        return convert(e), scalars

    config = tfds.ReadConfig(try_autocache=False)
    data = found.as_dataset(split=split, read_config=config)
    data = data.map(example, num_parallel_calls=2, deterministic=True)
    images, others = [], []
    for batch, scalars in data.batch(1024).as_numpy_iterator():
        images.append(batch)
        others.append(scalars)
    return np.concatenate(images), {
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
    """Fashion-MNIST: 60,000 + 10,000 articles, 28x28x1, ten classes."""
    return _labelled(
        "fashion_mnist", data_dir, "Fashion-MNIST 3.0.1, 28x28", test_share=0.5
    )


def oxford_flowers102(data_dir=None, size=64):
    """Oxford Flowers: 8,189 photos of 102 species, shorter side cropped.

    Few-shot: 82 seeded random species train, 20 are unseen (seed 002, 5.1).

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
    held_out = np.random.default_rng(0).random(len(images)) < 0.2
    return Dataset(
        name="oxford_flowers102",
        splits={
            "train": everything.subset(np.flatnonzero(~held_out)),
            "test": everything.subset(np.flatnonzero(held_out)),
        },
        few_shot=split_by_class(everything, train, test, validation),
        num_classes=102,
        class_names=tuple(found.info.features["label"].names),
        description=f"Oxford Flowers 102, centre crops at {size}x{size}",
    )


def square_crop(size, box=None):
    """example -> its largest central square (or `box`) at `size` x `size`.

    Args:
      size: side in pixels.
      box: `(top, left, height, width)` in the original's pixels, or None.
    """
    import tensorflow as tf

    def convert(example):
        image = example["image"]
        if box is None:
            shape = tf.shape(image)
            side = tf.minimum(shape[0], shape[1])
            top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
            image = image[top : top + side, left : left + side]
        else:
            top, left, height, width = box
            image = image[top : top + height, left : left + width]
        image = tf.image.resize(
            image, (size, size), method="lanczos3", antialias=True
        )
        image = tf.saturate_cast(tf.round(image), tf.uint8)
        return tf.ensure_shape(image, (size, size, None))

    return convert


def celeb_a(data_dir=None, size=64):
    """CelebA: 202,599 faces, cropped (15, 45, 163, 193), `size` x `size` x 3.

    Images only; attributes and identities belong to the models that use them.

    Source of the crop: pro-VLAE's authors (left 15, top 45, right 163,
    bottom 193 of 178x218 pixels).
    """
    found = builder("celeb_a", data_dir)
    convert = square_crop(size, box=(45, 15, 148, 148))
    return Dataset(
        name="celeb_a",
        splits={
            split: ArraySplit(read(found, split, convert=convert)[0])
            for split in ("train", "test")
        },
        description=f"CelebA, cropped, {size}x{size}",
    )


class GridOrder(Split):
    """A complete factor grid whose images lie on disk in another order.

    Args:
      images: uint8 `[N, H, W, C]`.
      factors: int `[N, K]`, every grid point once.
      sizes: values of each factor.
    """

    def __init__(self, images, factors, sizes):
        self.sizes = tuple(sizes)
        self.images = images
        self.image_shape = images.shape[1:]
        point = np.ravel_multi_index(tuple(factors.T), self.sizes)
        self.position = np.empty(len(images), np.int64)
        self.position[point] = np.arange(len(images))

    def __len__(self):
        return len(self.images)

    def render(self, indices):
        """Images of row-major grid indices, uint8 `[B, H, W, C]`."""
        return self.images[self.position[indices]]

    def take(self, indices):
        factors = np.stack(np.unravel_index(indices, self.sizes), axis=-1)
        return {
            "image": self.render(indices),
            "factors": factors.astype(np.int32),
        }


def _grid(name, data_dir, features, description, convert=None):
    """A data set whose examples carry every factor as an integer feature."""
    found = builder(name, data_dir)
    options = {} if convert is None else {"convert": convert}
    images, others = read(found, "train", **options)
    factors = np.stack([others[f] for f in features.values()], axis=-1)
    sizes = tuple(int(n) for n in factors.max(axis=0) + 1)
    return Dataset(
        name=name,
        splits={"train": GridOrder(images, factors, sizes)},
        factor_names=tuple(features),
        factor_sizes=sizes,
        description=description,
    )


def dsprites(data_dir=None):
    """dSprites: 737,280 binary 64x64 images of five factors (DeepMind)."""
    names = ("shape", "scale", "orientation", "position_x", "position_y")
    features = {n: f"label_{n.replace('position_', '')}" for n in names}
    features |= {n: f"label_{n.split('_')[1]}_position" for n in names[3:]}
    return _grid(
        "dsprites",
        data_dir,
        features,
        "dSprites, 64x64",
        # TFDS stores ink as 1.
        convert=lambda e: e["image"] * np.uint8(255),
    )


def shapes3d(data_dir=None):
    """3D Shapes: 480,000 64x64x3 images of six factors (DeepMind)."""
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
    return Dataset(
        name="smallnorb",
        splits=splits,
        num_classes=5,
        factor_names=tuple(n.removeprefix("label_") for n in names),
        factor_sizes=(5, 9, 18, 6),
        description="Small NORB, left camera, 96x96",
    )
