import dataclasses

import numpy as np
import pytest
from PIL import Image

from tfdisent import data
from tfdisent.data import ArraySplit
from tfdisent.data import Dataset
from tfdisent.data import factors
from tfdisent.data import omniglot
from tfdisent.data import tfds
from tfdisent.data.hierarchy import Tree
from tfdisent.data.hierarchy import arrange
from tfdisent.errors import InputError

CLOTHES = {"tops": {"shirt": 5, "coat": 0, "vest": (2, 3)}, "long": {}}
CLOTHES["long"] = {"dress": 7, "trouser": 4}
DEEP = {
    "a": {"x": {"1": 0, "2": 1}, "y": {"1": 2, "2": 3, "3": 4}},
    "b": {"x": {"1": 5, "2": 6}, "y": {"1": 7, "2": 8}},
}


def test_tree_is_numbered_level_by_level():
    tree = Tree(CLOTHES)
    assert tree.depth == 3
    assert tree.children == (2, 3, 2)
    assert tree.names[0] == ("tops", "long")
    assert tree.names[1][2:4] == ("tops/vest", "long/dress")
    np.testing.assert_array_equal(
        tree.paths, [[0, 0], [0, 1], [0, 2], [1, 3], [1, 4]]
    )
    assert tree.classes == ((5,), (0,), (2, 3), (7,), (4,))
    np.testing.assert_array_equal(tree.path("long/dress"), [1, 3])
    np.testing.assert_array_equal(tree.path("long"), [1])


def test_four_levels():
    tree = Tree(DEEP)
    assert tree.depth == 4
    assert tree.children == (2, 2, 2, 2, 3, 2, 2)
    np.testing.assert_array_equal(tree.paths[4], [0, 1, 4])
    np.testing.assert_array_equal(tree.paths[8], [1, 3, 8])
    np.testing.assert_array_equal(tree.places[4], [0, 1, 2])
    np.testing.assert_array_equal(tree.places[8], [1, 1, 1])
    with pytest.raises(
        InputError, match="no category 'c'; there are a, b, a/x"
    ):
        tree.path("c")


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (
            {"a": {"x": 0, "y": 1}, "b": 2},
            "all leaves at one depth, but 'b' has no subcategories while 'a'",
        ),
        ({"a": {"x": 0}, "b": {"x": 1, "y": 2}}, "but 'a' has one child only"),
        ({"a": {"x": 0, "y": 1}}, "but 'the root' has one child only"),
        ({"a": {"x": None, "y": 1}, "b": {}}, "without any image: 'b'"),
        ({"a": {"x": 0, "y": 1}, "b": None}, "without any image: 'b'"),
        ({"a": {"x": None, "y": 1}}, "'the root' has one child only"),
        ({"a": {"x": 0, "y": ()}, "b": {"x": 1, "y": 2}}, "any image: 'a/y'"),
        ({}, "without any image: 'the root'"),
    ],
)
def test_what_is_no_hierarchy_is_said_in_one_line(categories, message):
    with pytest.raises(InputError, match=message):
        Tree(categories)


def labelled(hierarchy=CLOTHES, unseen=(), classes=8):
    labels = np.tile(np.arange(classes), 3)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = labels
    split = ArraySplit(images, labels)
    return Dataset(
        name="clothes",
        splits={"train": split, "test": split.subset(np.arange(classes))},
        num_classes=classes,
        hierarchy=hierarchy,
        unseen=dict(unseen),
    )


def test_arranged_labels_are_leaves():
    arranged = arrange(labelled(unseen={"tops": {"cape": 6}}))
    train = arranged.splits["train"]
    assert len(train) == 3 * 6
    batch = train.take(np.arange(6))
    # Classes 0, 2, 3, 4, 5, 7 are leaves 1, 2, 2, 4, 0, 3.
    np.testing.assert_array_equal(
        batch["image"][:, 0, 0, 0], [0, 2, 3, 4, 5, 7]
    )
    np.testing.assert_array_equal(batch["label"], [1, 2, 2, 4, 0, 3])
    np.testing.assert_array_equal(train.labels[:6], batch["label"])
    np.testing.assert_array_equal(
        train.subset([5, 0]).take([0, 1])["label"], [3, 1]
    )
    assert arranged.num_classes == 5
    assert arranged.class_names[0] == "tops/shirt"
    # The tree of the arranged set is that of its new labels.
    assert Tree(arranged.hierarchy).classes == ((0,), (1,), (2,), (3,), (4,))
    unseen = arranged.splits["unseen"]
    assert unseen.take([0])["image"][0, 0, 0, 0] == 6
    # One test image would tell little.
    assert len(unseen) == 3
    assert arranged.unseen == {"tops/cape": 0}


def test_a_leaf_is_held_out():
    arranged = arrange(labelled(unseen={"tops": {"cape": 6}}), "coat")
    assert Tree(arranged.hierarchy).children == (2, 2, 2)
    assert arranged.unseen == {"tops/cape": 0, "tops/coat": 1}
    found = arranged.splits["unseen"].take([0, 1])
    np.testing.assert_array_equal(found["image"][:, 0, 0, 0], [0, 6])
    np.testing.assert_array_equal(found["label"], [1, 0])
    assert 0 not in arranged.splits["train"].take([0, 1, 2])["image"][:, 0, 0]
    # A name that several branches have leaves them all.
    assert arrange(labelled(DEEP, classes=9), "3").num_classes == 8
    with pytest.raises(InputError, match="'a/x', 'b/x', 'b/y' have one child"):
        arrange(labelled(DEEP, classes=9), "2")
    with pytest.raises(InputError, match="held_out=hat: no such leaf; there"):
        arrange(labelled(), "hat")


def test_a_split_of_other_images_only_is_left_out():
    dataset = labelled(unseen={"tops": {"cape": 6}})
    splits = {
        "train": dataset.splits["train"],
        "test": dataset.splits["test"].subset([1, 6]),
    }
    arranged = arrange(dataclasses.replace(dataset, splits=splits))
    assert list(arranged.splits) == ["train", "unseen"]


def test_what_cannot_be_arranged():
    with pytest.raises(InputError, match="'digits' declares no hierarchy"):
        arrange(data.load("digits"))
    with pytest.raises(InputError, match="to train on: 'long/dress'"):
        arrange(labelled(classes=7))
    unlabelled = ArraySplit(np.zeros((2, 2, 2, 1), np.uint8))
    with pytest.raises(InputError, match="needs labels"):
        arrange(Dataset("x", {"train": unlabelled}, hierarchy=CLOTHES))


def write(root, names):
    for number, name in enumerate(names):
        for copy in range(2):
            path = root / name / f"{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * number).save(path)


def test_nested_folders_are_levels(tmp_path):
    write(tmp_path, ["b/y", "a/2", "b/x", "a/1"])
    dataset = data.load(f"folder:{tmp_path}", size=8, grey=True, test_share=0.0)
    tree = Tree(dataset.hierarchy)
    assert tree.names == (("a", "b"), ("a/1", "a/2", "b/x", "b/y"))
    arranged = arrange(dataset)
    shades = {
        arranged.class_names[label]: image[0, 0, 0]
        for image, label in zip(
            *arranged.splits["train"].take(np.arange(8)).values(), strict=True
        )
    }
    assert shades == {"a/1": 60, "a/2": 20, "b/x": 40, "b/y": 0}
    # A folder without images is a category, but not one beside images.
    (tmp_path / "a" / "1" / "thumbs").mkdir()
    assert Tree(data.load(f"folder:{tmp_path}", size=8).hierarchy).depth == 3
    (tmp_path / "b" / "z" / "deep").mkdir(parents=True)
    with pytest.raises(InputError, match="without any image: 'b/z'"):
        arrange(data.load(f"folder:{tmp_path}", size=8))


def test_an_image_beside_folders_is_no_leaf(tmp_path):
    write(tmp_path, ["a/1", "a/2", "b/1", "b/2"])
    assert arrange(data.load(f"folder:{tmp_path}", size=8)).num_classes == 4
    write(tmp_path, ["a"])
    with pytest.raises(InputError, match="'a' has images beside subfolders"):
        arrange(data.load(f"folder:{tmp_path}", size=8))


@pytest.mark.parametrize("unseen", [{"shirt": 6}, {"hats": {"cap": 6}}])
def test_an_unseen_leaf_needs_a_parent(unseen):
    parent = "'the root'" if "shirt" in unseen else "'hats'"
    with pytest.raises(InputError, match=f"a parent in .* {parent} is none"):
        arrange(labelled(unseen=unseen))


def test_few_test_images_of_an_unseen_leaf_are_no_sample():
    dataset = labelled(unseen={"tops": {"cape": 6}})
    images = dataset.splits["train"].images
    labels = dataset.splits["train"].labels

    def repeated(times):
        return ArraySplit(np.repeat(images, times, 0), np.repeat(labels, times))

    for kept, times, expected in ((50, 33, 150), (50, 34, 102), (1, 2, 6)):
        splits = {"train": repeated(kept), "test": repeated(times)}
        arranged = arrange(dataclasses.replace(dataset, splits=splits))
        assert len(arranged.splits["unseen"]) == expected


def test_folders_of_unequal_depth_load_but_are_no_hierarchy(tmp_path):
    write(tmp_path, ["a/1", "a/2", "b"])
    dataset = data.load(f"folder:{tmp_path}", size=8)
    assert dataset.num_classes == 3
    with pytest.raises(InputError, match="'b' has no subcategories"):
        arrange(dataset)
    write(tmp_path, ["a"])  # Images beside folders.
    with pytest.raises(InputError, match="'a' has images beside subfolders"):
        arrange(data.load(f"folder:{tmp_path}", size=8))


@pytest.mark.parametrize("name", ["C", "P"])
def test_shapes_hierarchies_follow_the_factors(name):
    arranged = arrange(data.load("shapes", hierarchy=name))
    tree = Tree(arranged.hierarchy)
    train, test = arranged.splits["train"], arranged.splits["test"]
    assert len(test) / len(train) == pytest.approx(1 / 4, abs=0.01)
    points = [s.split.indices[s.indices] for s in (train, test)]
    assert not np.intersect1d(*points).size
    spec = dict(factors.SHAPES_HIERARCHIES[name])
    groups = {k: v for named in spec.values() for k, v in named.items()}
    columns = {"C": (2, 3), "P": (5,)}[name]
    for split, names in (
        (test, tree.names[-1]),
        (arranged.splits["unseen"], list(arranged.unseen)),
    ):
        batch = split.take(np.arange(0, len(split), len(split) // 40))
        for point, label in zip(batch["factors"], batch["label"], strict=True):
            shape, *rest = names[label].split("/")
            assert shape == ["cube", "cylinder", "sphere", "capsule"][point[4]]
            for column, group in zip(columns, rest, strict=True):
                assert point[column] in groups[group]
    assert len(tree.paths) == {"C": 24, "P": 16}[name]
    with pytest.raises(InputError, match="no hierarchy 'X'. Choices: C, P"):
        data.load("shapes", hierarchy="X")


def test_fashion_mnist_in_the_papers_form(tfds_dir):
    arranged = arrange(data.load("fashion_mnist", tfds_dir))
    tree = Tree(arranged.hierarchy)
    assert tree.children == (2, 3, 2)
    assert tree.names[-1] == (
        "tops/T-shirt",
        "tops/pullover",
        "tops/coat",
        "long/trouser",
        "long/dress",
    )
    assert len(arranged.splits["train"]) == 30_000
    assert len(arranged.splits["test"]) == 5_000
    np.testing.assert_array_equal(
        np.bincount(arranged.splits["test"].labels), [1000] * 5
    )
    assert arranged.unseen == {"tops/shirt": 0}
    assert len(arranged.splits["unseen"]) == 1_000


@pytest.mark.slow
def test_omniglot_by_alphabet(tfds_dir):
    dataset = data.load("omniglot", tfds_dir, size=8, hierarchy="alphabet")
    tree = Tree(dataset.hierarchy)
    assert tree.depth == 3
    assert tree.children[0] == 50
    assert len(tree.paths) == 1623
    assert sum(len(s) for s in dataset.splits.values()) == 32_460
    with pytest.raises(InputError, match="no hierarchy 'x'. Choices: alphabet"):
        omniglot.omniglot(tfds_dir, hierarchy="x")


def test_celeb_a_by_hair():
    #          black  blond  two    none   bald   bald and brown
    attributes = {
        "Male": [True, False, False, True, True, False],
        "Smiling": [False, True, True, True, False, False],
        "Black_Hair": [True, False, True, False, False, False],
        "Blond_Hair": [False, True, True, False, False, False],
        "Brown_Hair": [False, False, False, False, False, True],
        "Bald": [False, False, False, False, True, True],
    }
    attributes = {name: np.array(v) for name, v in attributes.items()}
    np.testing.assert_array_equal(
        tfds.hair_classes(attributes), [8, 5, 16, 16, 11, 16]
    )
    with pytest.raises(InputError, match="no hierarchy 'age'. Choices: hair"):
        tfds.celeb_a(hierarchy="age")
