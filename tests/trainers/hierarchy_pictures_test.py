import numpy as np
import pytest
from PIL import Image

from tfdisent import testing
from tfdisent import visualization
from tfdisent.data import ArraySplit
from tfdisent.data import Dataset
from tfdisent.data import hierarchy
from trainers import hierarchy_pictures


@pytest.fixture(scope="module")
def clothes():
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(6), 8)
    split = ArraySplit(rng.random((48, 16, 16, 1), np.float32), labels)
    return hierarchy.arrange(
        Dataset(
            "clothes",
            {"train": split, "test": split},
            hierarchy={
                "tops": {"shirt": 0, "coat": 1, "vest": 2},
                "long": {"dress": 3, "trouser": 4},
            },
            unseen={"tops": {"cape": 5}},
        )
    )


def test_the_tree_is_drawn_before_a_run(clothes, tmp_path):
    hierarchy_pictures.draw_tree(clothes, tmp_path)
    stored = np.asarray(Image.open(tmp_path / "images" / "tree.png"))
    np.testing.assert_array_equal(
        stored, hierarchy_pictures.tree_picture(clothes)
    )
    assert list((tmp_path / "logs").iterdir())


def test_pictures_of_a_hierarchy(clothes, tmp_path, monkeypatch):
    # What t-SNE draws is tested elsewhere, and slow.
    shown = []

    def plain(codes, labels, title):
        shown.append((title, codes.shape, sorted(set(labels))))
        return visualization.text(title)

    monkeypatch.setattr(visualization, "tsne", plain)
    model = testing.tiny_model("hdn")
    hierarchy_pictures.picture_event(model, clothes, tmp_path)(7)
    names = {p.name for p in (tmp_path / "images").iterdir()}
    wanted = (
        "levels",
        "level_interpolation",
        "level_maps",
        "retrieval",
        "unseen",
    )
    assert names == {f"{n}{s}.png" for n in wanted for s in ("", "-7")}
    leaves = [f"long/{n}" for n in ("dress", "trouser")]
    leaves += [f"tops/{n}" for n in ("coat", "shirt", "vest")]
    assert shown == [
        ("root", (40, 40), ["long", "tops"]),
        ("down to level2", (40, 3), ["long", "tops"]),
        ("down to level3", (40, 6), leaves),
    ]


def test_frames_say_whether_the_category_is_right(clothes, monkeypatch):
    model = testing.tiny_model("hdn")
    tree = hierarchy.Tree(clothes.hierarchy)
    split = clothes.splits["test"]
    rows = []
    monkeypatch.setattr(
        visualization, "retrieved", lambda asked, found: rows.append(found)
    )
    hierarchy_pictures._retrieval(model, split, split, tree)
    images = split.take(np.arange(len(split)))["image"]
    (found,) = rows
    assert list(found) == ["down to level2", "down to level3"]
    queries = (0, 1, 2, 4)
    for level, (answers, truth) in enumerate(found.values()):
        assert truth.shape == answers.shape[:2] == (4, hierarchy_pictures.TOP)
        for place, query in enumerate(queries):
            given = zip(answers[place], truth[place], strict=True)
            for answer, right in given:
                same = np.all(images == answer, axis=(1, 2, 3))
                leaf = split.labels[np.flatnonzero(same)[0]]
                nodes = tree.paths[[query, leaf], level]
                assert right == (nodes[0] == nodes[1])
        # The nearest image of a query is itself.
        assert truth[:, 0].all() and not truth.all()


def test_pairs_are_of_different_leaves(clothes):
    model = testing.tiny_model("hdn")
    tree = hierarchy.Tree(clothes.hierarchy)
    split = clothes.splits["test"]
    sources, targets = hierarchy_pictures._pairs(model, split, tree)
    assert sources.shape == targets.shape == (6, 16, 16, 1)
    images = split.take(np.arange(len(split)))["image"]

    def leaf(image):
        found = np.flatnonzero(np.all(images == image, axis=(1, 2, 3)))
        return split.labels[found[0]]

    pairs = [
        (leaf(source), leaf(target))
        for source, target in zip(sources, targets, strict=True)
    ]
    # Another branch, and another place in it: coat to dress, not to trouser.
    for source, target in pairs:
        assert np.all(tree.places[source] != tree.places[target])
    assert {source for source, _ in pairs} == set(range(5))
