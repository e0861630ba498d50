import numpy as np
import pytest

from tfdisent import data
from tfdisent.data import arrays
from tfdisent.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 6, 3), np.uint8)


@pytest.fixture
def store(tmp_path):
    """Writes arrays; gives the path."""

    def write(**stored):
        path = tmp_path / "x.npz"
        np.savez(path, **stored)
        return path

    return write


def refusal(path):
    with pytest.raises(InputError) as caught:
        data.load(f"npz:{path}")
    message = str(caught.value)
    assert "x.npz" in message and "\n" not in message
    return message


def everything(dataset, key="image"):
    """An array over all splits, as stored."""
    split = dataset.splits["train"].split
    return split.take(np.arange(len(split)))[key]


def test_images_alone(store):
    dataset = data.load(f"npz:{store(images=IMAGES)}")
    np.testing.assert_array_equal(everything(dataset), IMAGES)
    assert dataset.image_shape == (5, 6, 3)
    assert dataset.num_classes is None and dataset.factor_names is None
    assert {n: len(s) for n, s in dataset.splits.items()} == {
        "train": 11,
        "test": 1,
    }
    whole = data.load(f"npz:{store(images=IMAGES)}", test_share=0.0)
    assert set(whole.splits) == {"train"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_and_grey(store, dtype):
    images = (IMAGES[..., 0] / 255).astype(dtype)
    dataset = data.load(f"npz:{store(images=images)}")
    assert dataset.image_shape == (5, 6, 1)
    assert everything(dataset).dtype == np.float32
    np.testing.assert_array_equal(
        everything(dataset)[..., 0], images.astype(np.float32)
    )


@pytest.mark.parametrize(
    "labels, names",
    [
        (np.tile([30, 10, 20, 40], 3), ("10", "20", "30", "40")),
        (
            np.tile(["cat", "ant", "bee", "dog"], 3),
            ("ant", "bee", "cat", "dog"),
        ),
        (np.tile([b"c", b"a", b"b", b"d"], 3), ("a", "b", "c", "d")),
    ],
)
def test_labels_are_numbered_densely(store, labels, names):
    dataset = data.load(f"npz:{store(images=IMAGES, labels=labels)}")
    assert dataset.class_names == names and dataset.num_classes == 4
    assert everything(dataset, "label").tolist() == [2, 0, 1, 3] * 3
    assert set(dataset.few_shot) == {"train", "validation", "test"}


def test_bad_images(store):
    nan = np.full((2, 4, 4), np.nan)
    for images, said in (
        (nan, "in [0, 1]. Received values from nan to nan"),
        (IMAGES / 1.0, "in [0, 1]. Received values from 0.0 to 255.0"),
        (IMAGES - 0.5 > 0, "Received bool"),
        (IMAGES.astype(np.int64), "Received int64"),
        (IMAGES[0, 0], "Received shape (6, 3)"),
        (IMAGES[..., :2], "Received shape (12, 5, 6, 2)"),
        (IMAGES[:0], "Received shape (0, 5, 6, 3)"),
        (IMAGES[:, :0], "Received shape (12, 0, 6, 3)"),
    ):
        assert said in refusal(store(images=images))


def test_bad_labels_and_factors(store):
    factors = np.zeros((12, 2), int)
    for extra, said in (
        ({"labels": np.zeros(12)}, "whole numbers or strings"),
        ({"labels": np.eye(12, dtype=int)}, "of shape (12, 12)"),
        ({"factors": np.zeros((12, 2))}, "Received float64"),
        ({"factors": np.zeros(12, int)}, "of shape (12,)"),
        ({"factors": factors, "factor_names": ["a"]}, "one name a factor, 2"),
    ):
        assert said in refusal(store(images=IMAGES, **extra))
    with pytest.raises(InputError, match="11 for 12 images"):
        data.load(f"npz:{store(images=IMAGES, labels=np.arange(11))}")


def test_bad_files(store, tmp_path):
    path = store(images=IMAGES, labels=np.arange(12))
    content = path.read_bytes()
    assert "no array 'images'; it has pixels" in refusal(store(pixels=IMAGES))
    objects = np.array([None, "x"], dtype=object)
    assert "allow_pickle" in refusal(store(images=objects))
    # What nobody asks for is not read.
    data.load(f"npz:{store(images=IMAGES, notes=objects)}")
    path.write_bytes(content[:-100])
    refusal(path)
    path.write_bytes(content[:300] + b"\0\1" + content[302:])
    assert "CRC" in refusal(path)
    path.write_text("text")
    refusal(path)
    with open(path, "wb") as file:
        np.save(file, IMAGES)
    refusal(path)
    path.unlink()
    assert "There is no file" in refusal(path)
    path.mkdir()
    refusal(path)


def grid_factors():
    """A grid of 3 x 4 points in random order, values with gaps."""
    points = np.random.default_rng(1).permutation(12)
    return points, np.stack(np.unravel_index(points, (3, 4)), -1) * 10 - 5


def test_complete_grid_in_any_order(store):
    points, factors = grid_factors()
    path = store(
        images=IMAGES, labels=points, factors=factors, factor_names=["u", "v"]
    )
    dataset = data.load(f"npz:{path}")
    assert dataset.factor_names == ("u", "v")
    assert dataset.factor_sizes == (3, 4)
    np.testing.assert_array_equal(dataset.render(points), IMAGES)
    batch = dataset.splits["train"].take(points)
    np.testing.assert_array_equal(batch["image"], IMAGES)
    np.testing.assert_array_equal(batch["label"], points)
    np.testing.assert_array_equal(batch["factors"] * 10 - 5, factors)
    assert dataset.num_classes == 12
    assert len(dataset.splits["train"]) == 12


@pytest.mark.parametrize("last", [None, (0, 0)])
def test_incomplete_grid(store, last):
    points, factors = grid_factors()
    keep = 11 if last is None else 12
    factors[points == 0] = factors[points == 1]  # Twice, and one missing.
    path = store(images=IMAGES[:keep], factors=factors[:keep])
    dataset = data.load(f"npz:{path}")
    assert dataset.factor_names == ("factor0", "factor1")
    assert dataset.grid is None
    assert everything(dataset, "factors").shape == (keep, 2)
    with pytest.raises(InputError, match="no complete factor grid"):
        dataset.render([0])


def test_read_npz_names_the_first_key(store):
    with pytest.raises(InputError, match="no array 'codes'; it has images"):
        arrays.read_npz(store(images=IMAGES), ("codes", "factors"))
