import dataclasses

import numpy as np
import pytest

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import GridSplit
from tfdisent.data.base import class_partition
from tfdisent.data.base import held_out
from tfdisent.data.base import split_by_class
from tfdisent.errors import InputError


def numbered(count):
    """Images whose pixels are their index."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(images, (count, 2, 3, 1))


def grid(sizes=(2, 3)):
    images = numbered(int(np.prod(sizes)))
    return GridSplit(images.__getitem__, sizes, images.shape[1:])


def test_array_split_takes_by_index():
    split = ArraySplit(
        numbered(5), np.arange(5) * 2, np.arange(10).reshape(5, 2)
    )
    batch = split.take(np.array([4, 0, 4]))
    assert batch["image"][:, 0, 0, 0].tolist() == [4, 0, 4]
    assert batch["label"].tolist() == [8, 0, 8]
    assert batch["factors"].tolist() == [[8, 9], [0, 1], [8, 9]]
    assert batch["label"].dtype == batch["factors"].dtype == np.int32
    assert split.image_shape == (2, 3, 1)


def test_array_split_keeps_floats_as_float32():
    assert ArraySplit(np.zeros((1, 2, 2, 1))).images.dtype == np.float32


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros((0, 2, 2, 1), np.uint8),),
        (np.zeros((3, 2, 2), np.uint8),),
        (np.zeros((3, 2, 2, 1), np.int64),),
        (np.zeros((3, 2, 2, 1)), [0, 1]),
        (np.zeros((3, 2, 2, 1)), [0.5, 1, 2]),
        (np.zeros((3, 2, 2, 1)), [[0], [1], [2]]),
        (np.zeros((3, 2, 2, 1)), None, [0, 1, 2]),
    ],
)
def test_array_split_refuses(arguments):
    with pytest.raises(InputError):
        ArraySplit(*arguments)


def test_subset_of_a_subset():
    split = ArraySplit(numbered(6), np.arange(6))
    part = split.subset([5, 3, 1]).subset([2, 0])
    assert len(part) == 2
    assert part.labels.tolist() == [1, 5]
    batch = part.take([1, 1, 0])
    assert batch["image"][:, 0, 0, 0].tolist() == [5, 5, 1]
    assert batch["label"].tolist() == [5, 5, 1]


def test_held_out_is_a_seeded_partition():
    split = ArraySplit(numbered(50), np.arange(50))
    parts = held_out(split, 0.2, seed=3)
    train, test = parts["train"].labels, parts["test"].labels
    assert len(test) == 10
    assert sorted([*train, *test]) == list(range(50))
    again = held_out(split, 0.2, seed=3)["test"].labels
    np.testing.assert_array_equal(test, again)
    assert (held_out(split, 0.2, seed=4)["test"].labels != test).any()
    assert "test" not in held_out(split.subset([0]), 0.2)


def test_grid_is_row_major():
    batch = grid().take(np.array([5, 1]))
    assert batch["image"][:, 0, 0, 0].tolist() == [5, 1]
    assert batch["factors"].tolist() == [[1, 2], [0, 1]]
    assert len(grid()) == 6


@pytest.mark.parametrize("indices", [[-1], [6], [[0]], [0.5]])
def test_grid_refuses_what_is_no_point(indices):
    with pytest.raises(ValueError, match="indices must"):
        grid().render(indices)
    with pytest.raises(ValueError, match="indices must"):
        grid().take(indices)


def test_grid_renders_nothing_for_no_indices():
    assert grid().render([]).shape == (0, 2, 3, 1)


def test_dataset_renders_its_grid_whatever_its_splits_are():
    points = grid()
    dataset = Dataset("mine", {"train": points.subset([0])}, grid=points)
    assert dataset.render([5]).max() == 5
    assert dataset.image_shape == (2, 3, 1)
    bare = dataclasses.replace(dataset, grid=None)
    with pytest.raises(InputError, match="'mine' has no complete factor grid"):
        bare.render([0])


def test_dataset_names_its_splits():
    dataset = Dataset("mine", {"train": grid()})
    assert dataset.split("train") is dataset.splits["train"]
    with pytest.raises(InputError, match="no split 'test'; it has train"):
        dataset.split("test")


def test_split_by_class():
    split = ArraySplit(numbered(8), np.arange(8) % 4)
    parts = split_by_class(split, [0, 2], [3], validation=[2])
    assert {n: s.labels.tolist() for n, s in parts.items()} == {
        "train": [0, 2, 0, 2],
        "validation": [2, 2],
        "test": [3, 3],
    }
    for train, test, validation in (([0, 1], [1], []), ([0], [1], [1])):
        with pytest.raises(ValueError, match="classes"):
            split_by_class(split, train, test, validation)


@pytest.mark.parametrize(
    "count, share, sizes",
    [
        (4, 0.25, (2, 2, 2)),
        (10, 0.5, (5, 5, 2)),
        (102, 20, (82, 20, 16)),
        (1000, 0.1, (900, 100, 100)),
    ],
)
def test_class_partition(count, share, sizes):
    train, test, validation = class_partition(count, share)
    assert (len(train), len(test), len(validation)) == sizes
    assert sorted([*train, *test]) == list(range(count))
    assert set(validation) <= set(train)
    other = class_partition(count, share, seed=1)[1]
    assert set(other) != set(test)


def test_class_partition_needs_four_classes():
    with pytest.raises(InputError, match="at least 4 classes; there are 3"):
        class_partition(3, 0.5)


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1, 4, [0]), (7, 1, [0])],
)
def test_images_are_spread_over_a_split(size, most, expected):
    images = np.zeros((size, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(size)
    some = ArraySplit(images).spread(most)
    found = some.take(np.arange(len(some)))["image"]
    np.testing.assert_array_equal(found[:, 0, 0, 0], expected)
