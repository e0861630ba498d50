import collections
import os
import time
import types

import numpy as np
import pytest

import tfdisent.data.tfds as sets
from tfdisent import data
from tfdisent.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def mock(monkeypatch):
    """`mock(n)`: a context in which TFDS gives n random examples a split."""
    monkeypatch.setattr(sets, "_reach", lambda found: None)
    # Only a prepared set knows how many examples it has.
    many = types.SimpleNamespace(num_examples=1000)
    monkeypatch.setattr(
        tfds.core.DatasetInfo,
        "splits",
        collections.defaultdict(lambda: many),
    )

    def context(count):
        return tfds.testing.mock_data(num_examples=count)

    return context


def test_mnist(tfds_dir):
    dataset = data.load("mnist", data_dir=str(tfds_dir))
    assert dataset.image_shape == (28, 28, 1)
    assert len(dataset.splits["train"]) == 60_000
    assert len(dataset.splits["test"]) == 10_000
    counts = np.bincount(dataset.splits["test"].labels)
    assert counts.tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    images = dataset.splits["test"].take(np.arange(10_000))["image"]
    np.testing.assert_allclose(images.mean() / 255, 0.1325, atol=1e-4)
    classes = {n: set(s.labels.tolist()) for n, s in dataset.few_shot.items()}
    assert classes["train"] | classes["test"] == set(range(10))
    assert not classes["train"] & classes["test"]


def test_reading_twice_gives_the_same(tfds_dir):
    found = sets.builder("fashion_mnist", str(tfds_dir))
    (images, others), (again, _) = (
        sets.read(found, "test[:500]") for _ in range(2)
    )
    assert images.shape == (500, 28, 28, 1)
    assert set(others) == {"label"}
    np.testing.assert_array_equal(images, again)


def test_celeb_a(mock):
    with mock(5):
        dataset = data.load("celeb_a", size=32)
        found = sets.builder("celeb_a")
        _, others = sets.read(found, "train", attributes="attributes")
    assert dataset.image_shape == (32, 32, 3)
    assert set(dataset.splits) == {"train", "test"}
    assert len(dataset.splits["train"]) == 5
    assert dataset.class_names == ("female", "male")
    labels = dataset.splits["train"].labels
    np.testing.assert_array_equal(labels, others["Male"])


def test_celeb_a_crop(mock):
    """The crop is rows 45 to 193 and columns 15 to 163, shrunk to a square."""
    with mock(4):
        found = sets.builder("celeb_a")
        # What is made up depends on what is read.
        raw, _ = sets.read(found, "train", attributes="attributes")
        images = data.load("celeb_a", size=148).splits["train"].images
    np.testing.assert_array_equal(images, raw[:, 45:193, 15:163])


def test_celeb_a_by_attributes(mock):
    with mock(6):
        found = sets.builder("celeb_a")
        raw, others = sets.read(found, "train", attributes="attributes")
        dataset = data.load("celeb_a", size=178, hierarchy="hair")
    train = dataset.splits["train"]
    # Nothing is enlarged: the central 178 of 218 rows.
    np.testing.assert_array_equal(train.images, raw[:, 20:198])
    np.testing.assert_array_equal(train.labels, sets.hair_classes(others))
    assert others["Bald"].dtype == bool
    assert dataset.hierarchy["male"]["smiling"] == {
        "black": 12,
        "blond": 13,
        "brown": 14,
    }
    assert dataset.unseen["female"]["neutral"] == {"bald": 3}


def test_oxford_flowers102(mock):
    with mock(40):
        dataset = data.load("oxford_flowers102", size=16)
    assert dataset.image_shape == (16, 16, 3)
    assert dataset.num_classes == 102
    # A fifth of all is held out, whatever the set's own splits.
    sizes = {n: len(s) for n, s in dataset.splits.items()}
    assert sizes == {"train": 32, "test": 8}
    train, test = (
        set(dataset.few_shot[n].labels.tolist()) for n in ("train", "test")
    )
    assert not train & test


def test_square_crop():
    import tensorflow as tf

    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    for image in (pixels, pixels.swapaxes(0, 1)):
        assert sets.square_crop(10)(tf.constant(image)).numpy().min() > 250


def test_smallnorb(mock):
    with mock(30):
        dataset = data.load("smallnorb")
    assert dataset.image_shape == (96, 96, 1)
    assert dataset.factor_names == (
        "category",
        "elevation",
        "azimuth",
        "lighting",
    )
    assert dataset.factor_sizes == (5, 9, 18, 6)
    batch = dataset.splits["test"].take(np.arange(30))
    assert (batch["factors"] < dataset.factor_sizes).all()
    np.testing.assert_array_equal(batch["label"], batch["factors"][:, 0])
    with pytest.raises(InputError, match="no complete factor grid"):
        dataset.render([0])


DSPRITES = {
    "shape": 3,
    "scale": 6,
    "orientation": 40,
    "x_position": 32,
    "y_position": 32,
}
SHAPES3D = {
    "floor_hue": 10,
    "wall_hue": 10,
    "object_hue": 10,
    "scale": 8,
    "shape": 4,
    "orientation": 15,
}


class FakeBuilder:
    """A prepared data set whose grid is small."""

    def __init__(self, sizes, image_shape):
        def feature(size):
            return tfds.features.ClassLabel(num_classes=size)

        self.info = self
        self.data_path = "nowhere"
        self.features = {f"label_{n}": feature(s) for n, s in sizes.items()}
        self.features["image"] = tfds.features.Image(shape=image_shape)


@pytest.mark.parametrize(
    "name, sizes, shape, values",
    [
        ("dsprites", DSPRITES, (64, 64, 1), 2),
        ("shapes3d", SHAPES3D, (64, 64, 3), 256),
    ],
)
def test_grids(monkeypatch, name, sizes, shape, values):
    """A grid on disk in another order is rendered row-major."""
    rng = np.random.default_rng(0)
    # Few values a factor keep the grid small; names and order stay.
    sizes = {n: 2 + k % 2 for k, n in enumerate(sizes)}
    count = int(np.prod(list(sizes.values())))
    stored = rng.integers(0, values, (count, *shape)).astype(np.uint8)
    order = rng.permutation(count)
    columns = np.unravel_index(order, tuple(sizes.values()))
    others = {f"label_{n}": c for n, c in zip(sizes, columns, strict=True)}

    def read(found, split, keep=None):
        return (keep(stored) if keep else stored), others

    monkeypatch.setattr(sets, "builder", lambda *_: FakeBuilder(sizes, shape))
    monkeypatch.setattr(sets, "read", read)
    dataset = data.load(name)
    own = data.load({"dsprites": "sprites", "shapes3d": "shapes"}[name])
    assert dataset.factor_names == own.factor_names
    assert dataset.factor_sizes == tuple(sizes.values())
    assert dataset.image_shape == shape
    scale = 255 if values == 2 else 1
    np.testing.assert_array_equal(dataset.render(order), stored * scale)
    batch = dataset.splits["train"].take(order)
    np.testing.assert_array_equal(batch["factors"], np.stack(columns, -1))
    others["label_scale"] = np.zeros(count, int)
    with pytest.raises(InputError, match="no complete grid"):
        data.load(name)


@pytest.mark.parametrize(
    "name, sizes", [("dsprites", DSPRITES), ("shapes3d", SHAPES3D)]
)
def test_grid_features_are_tfdss(mock, name, sizes):
    """The real builder declares what the grid is read from."""
    with mock(3):
        features = sets.builder(name).info.features
        declared = {n: features[f"label_{n}"].num_classes for n in sizes}
        assert declared == sizes
        # Three examples are no grid.
        with pytest.raises(InputError, match="3 of [0-9,]* points"):
            data.load(name)


@pytest.fixture
def offline(monkeypatch):
    import requests

    def get(*args, **kwargs):
        raise requests.exceptions.ConnectionError("two\nlines")

    monkeypatch.setattr(requests, "get", get)


@pytest.mark.parametrize(
    "name, embedded",
    [
        ("mnist", "digits"),
        ("celeb_a", "shapes"),
        ("dsprites", "sprites"),
        ("shapes3d", "shapes"),
        ("omniglot", "digits"),
    ],
)
def test_not_prepared_and_no_network(offline, tmp_path, name, embedded):
    place = tmp_path / "my data"
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        data.load(name, data_dir=str(place))
    assert time.monotonic() - started < 5
    message = str(caught.value)
    code = (
        "import tensorflow_datasets as tfds; "
        f'tfds.builder("{name}", data_dir="{place}").download_and_prepare()'
    )
    assert f"`python -c '{code}'`" in message
    assert f"embedded {embedded!r}" in message
    assert "\n" not in message
    assert not place.exists()


def test_environment_says_where(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match="not prepared in") as caught:
        data.load("celeb_a")
    assert repr(str(tmp_path)) in str(caught.value)
    assert not os.listdir(tmp_path)


def test_damaged_files_are_one_line(tfds_dir, tmp_path):
    source = tfds_dir / "mnist" / "3.0.1"
    if not source.is_dir():
        pytest.skip("mnist is not prepared")
    copy = tmp_path / "mnist" / "3.0.1"
    copy.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        if "tfrecord" in file.name:
            content = content[:10_000] + b"damage" + content[10_006:]
        (copy / file.name).write_bytes(content)
    with pytest.raises(InputError, match="DataLossError"):
        data.load("mnist", data_dir=str(tmp_path))
