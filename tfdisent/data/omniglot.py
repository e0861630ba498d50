"""Omniglot as FDEN's paper uses it: 32x32, ink 1, rotations as new classes."""

import numpy as np

from tfdisent.data import tfds
from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import held_out
from tfdisent.data.base import split_by_class

# The first 1,200 characters by label are Vinyals' training and validation
# characters, the other 423 his test characters.
TRAIN_CHARACTERS = 1200
# Vinyals' validation characters are these five alphabets' (172 characters).
VALIDATION_ALPHABETS = (
    "Armenian",
    "Bengali",
    "Early_Aramaic",
    "Hebrew",
    "Mkhedruli_(Georgian)",
)
ROTATIONS = 4
TEST_SHARE = 0.2  # Of the images of a hierarchy.
SIDE = 105  # Pixels, as drawn.


def omniglot(data_dir=None, size=32, hierarchy=""):
    """Omniglot: 1,623 characters by 20 hands, `size` x `size` x 1, ink 1.

    Rotations by 90, 180 and 270 degrees are new classes: class
    `4 * character + quarter turns`. The first 1,200 characters train (4,800
    classes), the other 423 are unseen (1,692 classes).

    Args:
      data_dir: where TFDS keeps it.
      size: side in pixels; Lanczos, antialiased.
      hierarchy: `"alphabet"` for the tree of 50 alphabets and their
        characters, upright ones only, a seeded fifth of all images held out.

    Source: FDEN, 5.1; Lake et al., Science 2015.
    """
    if hierarchy:
        tfds.check_hierarchy("omniglot", hierarchy, ("alphabet",))
    found = tfds.builder("omniglot", data_dir)
    shrink = tfds.resize_all(SIDE, size)
    images, others = tfds.read(
        found,
        "train+test",
        # Stored as three equal channels.
        keep=lambda images: shrink(images[..., :1]),
    )
    ink = 255 - images
    if hierarchy:
        return _by_alphabet(ink, others, found.info.features["alphabet"].names)
    # Quarter turns as a new axis behind the image's: [N, 4, H, W, 1].
    turned = np.stack(
        [np.rot90(ink, turn, axes=(1, 2)) for turn in range(ROTATIONS)], axis=1
    )
    characters = others["label"].astype(np.int32)
    labels = characters[:, None] * ROTATIONS + np.arange(ROTATIONS)
    everything = ArraySplit(
        turned.reshape(-1, size, size, 1), labels.reshape(-1)
    )
    alphabets = found.info.features["alphabet"].names
    chosen = [alphabets.index(name) for name in VALIDATION_ALPHABETS]
    validation = np.unique(characters[np.isin(others["alphabet"], chosen)])
    names = found.info.features["label"].names
    few_shot = split_by_class(
        everything,
        train=np.arange(TRAIN_CHARACTERS * ROTATIONS),
        test=np.arange(TRAIN_CHARACTERS * ROTATIONS, len(names) * ROTATIONS),
        validation=with_rotations(validation),
    )
    return Dataset(
        name="omniglot",
        splits={name: few_shot[name] for name in ("train", "test")},
        few_shot=few_shot,
        num_classes=len(names) * ROTATIONS,
        class_names=tuple(
            f"{name}@{90 * turn}" for name in names for turn in range(ROTATIONS)
        ),
        description=(
            f"Omniglot 3.0.0, {size}x{size}, rotations as new classes"
        ),
    )


def _by_alphabet(ink, others, alphabets):
    """Omniglot as a hierarchy of alphabets and characters."""
    characters = others["label"].astype(np.int32)
    nested = {}
    for alphabet, name in enumerate(alphabets):
        members = np.unique(characters[others["alphabet"] == alphabet])
        if len(members):
            nested[name] = {
                f"{place:02}": int(c) for place, c in enumerate(members, 1)
            }
    return Dataset(
        name="omniglot",
        splits=held_out(ArraySplit(ink, characters), TEST_SHARE),
        num_classes=int(characters.max()) + 1,
        hierarchy=nested,
        description=(
            f"Omniglot 3.0.0 by alphabet, {ink.shape[1]}x{ink.shape[2]}"
        ),
    )


def with_rotations(characters):
    """Class numbers of these characters in all four orientations."""
    return (characters[:, None] * ROTATIONS + np.arange(ROTATIONS)).reshape(-1)
