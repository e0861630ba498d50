"""Tables 1 to 3 on models whose answers are known."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent.data import ArraySplit
from tfdisent.data import Dataset
from tfdisent.data import hierarchy
from trainers import hierarchy_scores as scores

PARENTS = ([0, 0], [0, 0, 0, 1, 1])
PATHS = np.array([[0, 0], [0, 1], [0, 2], [1, 3], [1, 4]])


class Perfect:
    """Writes its two levels' nodes into two pixels, and reads them there."""

    image_shape = (1, 2, 1)
    style_dim = 1
    parts = {"root": (1,), "level2": (1,), "level3": (1,)}

    def encode(self, image):
        values = tf.round(image[:, 0, :, 0] * 10)
        return {
            "root": tf.zeros([len(image), 1]),
            "level2": values[:, :1],
            "level3": values[:, 1:],
        }

    def decode(self, root, level2, level3):
        del root
        return tf.concat([level2, level3], -1)[:, None, :, None] / 10

    def classify(self, image):
        nodes = tf.cast(tf.round(image[:, 0, :, 0] * 10), tf.int32)
        return [
            tf.one_hot(nodes[:, level], size)[None]
            for level, size in enumerate((2, 5))
        ]


def images_of(labels):
    nodes = PATHS[labels].astype(np.float32) / 10
    return ArraySplit(nodes[:, None, :, None], labels)


def test_classification_follows_the_donor():
    labels = np.tile(np.arange(5), 40)
    split = scores.some(images_of(labels), 200)

    def judge(image):  # Sees the leaf right, even where no path leads to it.
        return 9.0 * tf.one_hot(
            tf.cast(tf.round(image[:, 0, 1, 0] * 10), tf.int32), 5
        )

    done = []
    found = scores.classification(
        Perfect(),
        split,
        PATHS,
        PARENTS,
        judge,
        report=lambda *so_far: done.append(so_far),
    )
    assert done == [(100, 200), (200, 200)]
    kinds = ("test", "generated", "arrives", "stays")
    assert found["own"] == {
        kind: {"level2": 1.0, "level3": 1.0} for kind in kinds
    }
    # What ignores all codes is right where nothing changes, and never where
    # another category should arrive; among other siblings the first one wins.
    unchanged = found["unchanged"]
    assert unchanged["test"] == unchanged["stays"] == found["own"]["test"]
    assert unchanged["arrives"]["level2"] == 0
    assert 0 < unchanged["arrives"]["level3"] < 0.5
    assert 0.5 < unchanged["generated"]["level2"] < 0.8
    assert found["test_images"] == 200
    # Three subsets of two levels, one partner an image.
    assert found["generated_images"] == 600
    # The judge reads level 2 off the leaf. Where only one of the levels is
    # swapped, that is the other image's: right where both are of one branch.
    independent = found["independent"]
    assert independent["test"] == {"level2": 1.0, "level3": 1.0}
    assert independent["generated"]["level3"] == 1.0
    order = split.labels
    same = [
        PATHS[a, 0] == PATHS[b, 0]
        for start in (0, 100)
        for a, b in zip(
            order[start : start + 100],
            order[start : start + 100][::-1],
            strict=True,
        )
    ]
    assert independent["generated"]["level2"] == pytest.approx(
        (1 + 2 * np.mean(same)) / 3
    )


def test_accuracies_are_followed_during_training(tmp_path):
    model, lines = Perfect(), []
    model.parents = PARENTS
    split = images_of(np.tile(np.arange(5), 200))
    for step in (40, 5):  # Of a run that began again, too.
        event = scores.score_event(model, split, PATHS, tmp_path, lines.append)
        event(step)
    assert lines[:1] == [
        "step 40: accuracy test level2 1.000  test level3 1.000  "
        "generated level2 1.000  generated level3 1.000  (500 images)"
    ]
    known = json.loads((tmp_path / "accuracy.json").read_text())
    assert set(known) == {"40", "5"}
    assert known["5"]["generated level3"] == 1.0
    assert (tmp_path / "images" / "accuracy-5.png").exists()


def test_another_tree_is_refused():
    model = types.SimpleNamespace(tree=(2, 3, 2))
    named = {"a": {"x": 0, "y": 1, "z": 2}, "b": {"x": 3, "y": 4}}
    leaves = ("a/x", "a/y", "a/z", "b/x", "b/y")
    dataset = types.SimpleNamespace(
        name="mine", hierarchy=named, class_names=leaves
    )
    scores.check_tree(model, dataset)
    scores.check_tree(model, dataset, leaves)
    with pytest.raises(InputError, match="not those .*: 'b/x', was 'b/v'"):
        scores.check_tree(model, dataset, (*leaves[:3], "b/v", "b/y"))
    named["b"]["z"] = 5
    with pytest.raises(InputError, match="2,3,2 children; .* one of 2,3,3"):
        scores.check_tree(model, dataset)


def test_test_images_stay_out_where_settings_are_chosen(monkeypatch):
    class SeenError(Exception):
        pass

    def blank(labels):
        return ArraySplit(np.zeros((len(labels), 2, 2, 1), np.uint8), labels)

    def seen(model, config, dataset):
        raise SeenError(dataset.splits)

    monkeypatch.setattr(scores, "judge_of", seen)
    model = types.SimpleNamespace(needs={"hierarchy"}, parents=PARENTS)
    # Class 5 is the unseen one; with any of them in training, those are more.
    for classes, unseen in ((5, "test"), (6, "train")):
        dataset = Dataset(
            "x",
            {
                "train": blank(np.tile(np.arange(classes), 20)),
                "test": blank(np.arange(6)),
            },
            num_classes=6,
            hierarchy={"a": {"1": 0, "2": 1, "3": 2}, "b": {"1": 3, "2": 4}},
            unseen={"a": {"4": 5}},
        )
        dataset = hierarchy.arrange(dataset)
        assert scores.unseen_source(dataset) == unseen
        sizes = {}
        for name in ("test", "validation"):
            config = types.SimpleNamespace(evaluation_split=name)
            with pytest.raises(SeenError) as caught:
                scores.evaluate(model, config, dataset, "nowhere")
            (found,) = caught.value.args
            sizes[name] = {kind: len(split) for kind, split in found.items()}
        tested = {"train": 100, "test": 5}
        chosen = {"train": 90, "test": 10}
        assert (
            sizes
            == {
                "test": {"test": tested | {"unseen": 1}, "validation": chosen},
                "train": {
                    "test": tested | {"unseen": 20},
                    "validation": chosen | {"unseen": 20},
                },
            }[unseen]
        )


def test_a_leaf_classifiers_levels():
    shares = np.array([[0.1, 0.2, 0.3, 0.15, 0.25]], np.float32)
    levels = scores._node_logits(tf.constant(np.log(shares)), PATHS)
    np.testing.assert_allclose(np.exp(levels[0]), [[0.6, 0.4]], rtol=1e-5)
    np.testing.assert_allclose(np.exp(levels[1]), shares, rtol=1e-5)
    # Siblings that have no share to speak of are still told apart.
    far = tf.constant([[0.0, 5.0, 5.0, -300.0, -280.0]])
    levels = scores._node_logits(far, PATHS)
    np.testing.assert_allclose(levels[1][0, 4] - levels[1][0, 3], 20)
    np.testing.assert_allclose(
        levels[0][0, 0] - levels[0][0, 1], 285 + np.log(2 + np.exp(-5)), 1e-6
    )


def coded(labels, noise=0.0, seed=0):
    """Level 2's code tells the branch, level 3's the place in it."""
    nodes = PATHS[labels]
    values = np.zeros((len(labels), 2, 4))
    values[:, 0, 0] = 4.0 * nodes[:, 0]
    values[np.arange(len(labels)), 1, np.array([0, 1, 2, 0, 1])[labels]] = 2.0
    values += noise * np.random.default_rng(seed).normal(size=values.shape)
    return scores.Codes(values.astype(np.float32), nodes)


def test_retrieval_uses_the_levels_down_to_each():
    database = coded(np.tile(np.arange(5), 8))
    queries = coded(np.arange(5))
    blind = [np.zeros((40, 4)), np.zeros((5, 4))]
    found = scores.retrieval(
        database, queries, {"blind": [blind, blind]}, {"flat": blind}
    )
    assert found["real"]["HDN"] == {"level2": 1.0, "level3": 1.0}
    assert found["bits"]["blind"]["level2"] < 0.8
    # The others' order is the database's, all five leaves in turn.
    assert found["real"]["blind"]["level3"] == pytest.approx(0.25, abs=0.2)
    assert found["real"]["flat"] == found["real"]["blind"]
    assert list(found["bits"]) == ["HDN", "blind"]
    # Level 2's code alone says nothing of the leaf, level 3's alone nothing
    # of the branch: leaves of both stand at one place in it.
    swapped = [
        scores.Codes(codes.values[:, ::-1], codes.nodes)
        for codes in (database, queries)
    ]
    found = scores.retrieval(*swapped, {}, {})["real"]["HDN"]
    assert found["level2"] < 1
    assert found["level3"] == 1


def test_retrieval_compares_in_units_of_the_spread():
    """A number of wide spread that says nothing drowns one that tells."""
    labels = np.tile(np.arange(5), 8)
    rng = np.random.default_rng(0)
    both = []
    for numbers in (labels, np.arange(5)):
        codes = coded(numbers)
        codes.values[:, 0, 1] = 1_000 * rng.normal(size=len(numbers))
        both.append(codes)
    loud = [codes.values.reshape(len(codes.values), -1) for codes in both]
    found = scores.retrieval(*both, {"x": [loud, loud]}, {"as is": loud})
    real = found["real"]
    assert real["HDN"]["level3"] > real["as is"]["level3"] + 0.2
    assert real["x"]["level3"] == pytest.approx(real["HDN"]["level3"])


def test_unseen_leaves_are_unsure():
    fit = coded(np.tile(np.arange(5), 60), 0.3)
    classify = scores.linear_classifiers(fit, PARENTS)
    seen = coded(np.tile(np.arange(5), 20), 0.3, seed=1)
    # Between leaves 0 and 1 of the first branch.
    values = coded(np.zeros(50, int), 0.3, seed=2).values
    values[:, 1, :2] = 1.0
    strange = {"tops/shirt": scores.Codes(values, np.zeros((50, 1), int))}
    found = scores.unseen(
        classify, seen, strange, PARENTS, [["tops", "long"], list("abcde")]
    )
    assert list(found) == ["seen", "seen in tops", "tops/shirt"]
    assert found["seen in tops"]["images"] == 60
    assert set(found["seen in tops"]["goes_to"]) <= {"a", "b", "c"}

    assert found["seen"]["accuracy"][0] == 1.0
    assert found["seen"]["accuracy"][1] > 0.95
    shirt = found["tops/shirt"]
    assert shirt["parent_accuracy"] == [1.0]
    assert shirt["leaf_entropy"] > 2 * found["seen"]["leaf_entropy"]
    assert shirt["leaf_entropy"] == pytest.approx(np.log(2), abs=0.15)
    assert set(shirt["goes_to"]) <= {"a", "b", "c"}
    assert sum(shirt["goes_to"].values()) == pytest.approx(1)
    lines = scores.table({"unseen": found})
    assert lines[0].startswith("seen: parents right 1.0000, leaf entropy")
    assert ", leaves right 0.9" in lines[0] or ", leaves right 1." in lines[0]
    assert lines[1].startswith("seen in tops: parents right 1.0000")
    assert lines[2].startswith("tops/shirt: parents right 1.0000, leaf entropy")
    first = max(shirt["goes_to"], key=shirt["goes_to"].get)
    share = shirt["goes_to"][first]
    assert f" nats, {share:.2f} to {first}" in lines[2]


@pytest.mark.parametrize("second", ["cape", "hat"])
def test_unseen_leaves_of_one_name_stand_together_too(second):
    labels = np.array([0, 1, 1, 0, 1])
    nodes = np.float32([[1, 7], [0, 8], [0, 8], [1, 7], [0, 8]])
    dataset = Dataset(
        "x",
        {"unseen": ArraySplit(nodes[:, None, :, None] / 10, labels)},
        unseen={"b/cape": 0, f"a/{second}": 1},
    )
    tree = hierarchy.Tree({"a": {"1": 0, "2": 1}, "b": {"1": 2, "2": 3}})
    found = scores.strange_codes(Perfect(), dataset, tree, 5)
    together = ["unseen"] if second == "cape" else []
    assert list(found) == [*together, "b/cape", f"a/{second}"]
    np.testing.assert_array_equal(
        found[f"a/{second}"].values[..., 0], [[0, 8]] * 3
    )
    np.testing.assert_array_equal(found[f"a/{second}"].nodes, [[0]] * 3)
    np.testing.assert_array_equal(found["b/cape"].nodes, [[1]] * 2)
    if not together:
        return
    np.testing.assert_array_equal(
        found["unseen"].nodes, [[1], [1], [0], [0], [0]]
    )
    assert found["unseen"].values.shape == (5, 2, 1)


def test_linear_classifiers_are_softmax_within_siblings():
    fit = coded(np.tile(np.arange(5), 60), 1.0)
    classify = scores.linear_classifiers(fit, PARENTS)
    logits = classify(fit.values)
    assert [level.shape for level in logits] == [(300, 2), (300, 5)]
    # At the optimum, mean probabilities are the shares (an intercept's
    # condition), within every group of siblings.
    for group in ([0, 1, 2], [3, 4]):
        rows = np.isin(fit.nodes[:, 1], group)
        local = np.exp(logits[1][rows][:, group])
        local /= local.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(
            local.mean(axis=0), np.full(len(group), 1 / len(group)), atol=0.01
        )


def test_pixel_components_keep_distances():
    rng = np.random.default_rng(0)
    splits = [
        ArraySplit(rng.random((count, 3, 2, 1), np.float32), None)
        for count in (20, 5)
    ]
    stored, asked = scores.pixel_components(splits, (3, 2, 1))
    assert (stored.shape, asked.shape) == ((20, 6), (5, 6))
    # As many components as pixels: a rotation.
    flat = [s.images.reshape(len(s), -1) for s in splits]
    np.testing.assert_allclose(
        np.linalg.norm(stored[3] - asked[1]),
        np.linalg.norm(flat[0][3] - flat[1][1]),
        rtol=1e-5,
    )
