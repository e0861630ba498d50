import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import GridSplit
from tfdisent.data.factors import grid_splits
from tfdisent.errors import InputError
from tfdisent.models import base
from trainers import config as configuration
from trainers import judges

SIDE, SIZES = 8, (4, 3, 8)
NAMES = ("row", "column", "grey")
QUICK = judges.Settings(steps=60, batch_size=32, learning_rate=3e-3)


def render(indices):
    """A bright square on a grey ground: its place, and how grey."""
    row, column, grey = np.unravel_index(indices, SIZES)
    images = np.zeros((len(indices), SIDE, SIDE, 1), np.uint8)
    images += (grey * 20).astype(np.uint8)[:, None, None, None]
    for image, r, c in zip(images, row, column, strict=True):
        image[2 * r : 2 * r + 2, 3 * c : 3 * c + 2] = 255
    return images


def squares():
    grid = GridSplit(render, SIZES, (SIDE, SIDE, 1))
    return Dataset(
        "squares",
        grid_splits(grid),
        factor_names=NAMES,
        factor_sizes=SIZES,
        grid=grid,
    )


def read_off(images):
    """The factors of rendered squares, float32 `[B, 3]`."""
    grey = tf.reduce_min(images, axis=(1, 2, 3)) * 255 / 20
    bright = tf.cast(images[..., 0] > 0.9, tf.float32)
    row = tf.argmax(tf.reduce_sum(bright, axis=2), axis=1) // 2
    column = tf.argmax(tf.reduce_sum(bright, axis=1), axis=1) // 3
    return tf.stack([*(tf.cast(v, tf.float32) for v in (row, column)), grey], 1)


def perfect_judge(**changes):
    """A judge that measures instead of having learned."""

    def head(features):
        columns = tf.cast(tf.round(features), tf.int32)
        return tf.concat(
            [tf.one_hot(columns[:, k], n) for k, n in enumerate(SIZES)], axis=1
        )

    judge = judges.Judge(
        name="ruler",
        image_shape=(SIDE, SIDE, 1),
        sizes=dict(zip(NAMES, SIZES, strict=True)),
        trunk=read_off,
        head=head,
        targets=judges.targets_of(squares()),
        accuracy=dict.fromkeys(NAMES, 1.0),
    )
    return dataclasses.replace(judge, **changes)


class Squares(base.PartsModel):
    """Encodes squares exactly; what its units are, a test says."""

    def __init__(self, units, **kwargs):
        super().__init__((SIDE, SIDE, 1), **kwargs)
        self.given_units = units

    parts = {"place": (2,), "grey": (1,)}

    @property
    def units(self):
        return self.given_units

    def encode(self, image):
        factors = read_off(image)
        return {"place": factors[:, :2], "grey": factors[:, 2:]}

    def decode(self, place, grey):
        factors = tf.concat([place, grey], axis=1)
        points = tf.cast(tf.round(factors), tf.int64)
        indices = points @ np.array([[24], [8], [1]])
        table = tf.constant(render(np.arange(96)), tf.float32) / 255
        return tf.gather(table, indices[:, 0])


# ---- swaps -------------------------------------------------------------------


def swaps(units, **options):
    split = squares().splits["train"]
    return judges.swap_judge(Squares(units), perfect_judge(), split, **options)


def test_a_judge_is_trained_as_a_run_trains_it():
    # Else there were two of every data set in the cache.
    assert judges.Settings().steps == configuration.RunConfig().judge_steps


@pytest.fixture(scope="module")
def perfect_swaps():
    """Swaps of a model whose units are the factors r, c and g."""
    units = {"r": ("place[0]",), "c": ("place[1]",), "g": ("grey",)}
    return swaps(units, pairs=50)


def test_a_perfect_model_swaps_what_it_should(perfect_swaps):
    scores, units = perfect_swaps, "rcg"
    rows = ["(nothing)", "(everything)", "r", "c", "g"]
    assert list(scores["arrives"]) == list(scores["stays"]) == rows
    for unit, head in itertools.product(units, NAMES):
        own = float(unit == head[0])
        assert scores["arrives"][unit][head] == own
        assert scores["stays"][unit][head] == 1 - own
    for head in NAMES:
        assert scores["arrives"]["(nothing)"][head] == 0
        assert scores["stays"]["(nothing)"][head] == 1
        assert scores["arrives"]["(everything)"][head] == 1
        assert scores["heads"][head] == {
            "unit": head[0],
            "arrives": 1.0,
            "others_stay": 1.0,
            "stays_elsewhere": 1.0,
        }
    # A pair differs in a factor of n values in 1 - 1/n of the cases.
    expected = 50 * (1 - 1 / np.array(SIZES))
    found = [scores["differing"][head] for head in NAMES]
    np.testing.assert_allclose(found, expected, atol=10)
    assert scores["judge"] == "ruler" and scores["pairs"] == 50


def test_a_unit_that_carries_two_factors_is_found_out():
    scores = swaps({"both": ("place",), "g": ("grey",)}, pairs=50)
    row = scores["heads"]["row"]
    # Swapping it brings the row, and takes the column along.
    assert (row["unit"], row["arrives"], row["others_stay"]) == ("both", 1, 0.5)
    assert row["stays_elsewhere"] == 1


def test_swaps_follow_their_seed():
    units = {"all": ("place", "grey")}
    first, again, other = (swaps(units, pairs=30, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["differing"] != other["differing"]


def test_a_head_without_differing_pairs_has_no_score():
    # Neighbours in the last factor agree in the others.
    split = squares().splits["train"].subset(np.arange(8))
    model = Squares({"both": ("place",), "g": ("grey",)})
    scores = judges.swap_judge(model, perfect_judge(), split, pairs=20)
    assert scores["arrives"]["both"]["row"] is None
    assert scores["heads"]["row"]["unit"] is None
    assert scores["heads"]["grey"]["others_stay"] is None
    assert "- / -" in judges.swap_table(scores)


def test_labels_reach_a_model_that_takes_them():
    class Labelled(base.PartsModel):
        """Knows nothing of an image but its label, which it draws."""

        takes_label = True
        parts = {"label": (4,)}
        units = {"label": ("label",)}

        def encode(self, image, label):
            return {"label": tf.one_hot(label, 4)}

        def decode(self, label):
            grey = tf.cast(tf.argmax(label, axis=1), tf.float32) / 4
            return tf.ones((1, 8, 8, 1)) * grey[:, None, None, None]

    labels = np.arange(40) % 4
    split = ArraySplit(np.zeros((40, 8, 8, 1), np.uint8), labels)
    judge = judges.Judge(
        name="light meter",
        image_shape=(8, 8, 1),
        sizes={"label": 4},
        trunk=lambda images: images[:, 0, 0] * 4,
        head=lambda x: tf.one_hot(tf.cast(tf.round(x[:, 0]), tf.int32), 4),
        targets=lambda batch: {"label": batch["label"]},
        accuracy={"label": 1.0},
    )
    scores = judges.swap_judge(Labelled((8, 8, 1)), judge, split, pairs=20)
    assert scores["arrives"]["label"]["label"] == 1
    assert scores["stays"]["(nothing)"]["label"] == 1


def test_the_table_names_rows_and_heads(perfect_swaps):
    lines = judges.swap_table(perfect_swaps).splitlines()
    assert lines[0].split()[-3:] == list(NAMES)
    assert lines[1].split()[-3:] == ["100.0"] * 3
    assert lines[4].startswith("r ") and "100.0 / 0.0" in lines[4]
    assert len(lines) == 2 + 5


# ---- training and the cache --------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with the judge of squares, and the judge."""
    directory = tmp_path_factory.mktemp("judges")
    judge = judges.of_dataset(squares(), None, QUICK, directory, lambda _: None)
    return directory, judge


def test_a_judge_learns_every_factor(trained):
    _, judge = trained
    assert judge.sizes == dict(zip(NAMES, SIZES, strict=True))
    # Chance is a quarter and a third.
    assert min(judge.accuracy["row"], judge.accuracy["column"]) > 0.7
    features, logits = judge(render(np.arange(5)))
    assert features.shape[0] == 5
    assert {h: v.shape[1] for h, v in logits.items()} == judge.sizes
    np.testing.assert_allclose(
        judge.head(features), tf.concat(list(logits.values()), 1), rtol=1e-5
    )


def test_a_judge_is_trained_once(trained, monkeypatch):
    directory, judge = trained
    monkeypatch.setattr(judges, "_fit", None)  # Training would raise.
    again = judges.of_dataset(squares(), None, QUICK, directory)
    assert again.accuracy == judge.accuracy
    images = render(np.arange(96))
    np.testing.assert_array_equal(again(images)[0], judge(images)[0])


def test_other_settings_data_and_shapes_have_judges_of_their_own(
    trained, monkeypatch
):
    directory, _ = trained
    known = set(directory.iterdir())
    monkeypatch.setattr(judges, "_fit", lambda *_: None)
    settings = dataclasses.replace(QUICK, seed=1)
    darker = squares()
    darker.grid.images = lambda indices: render(indices) // 2
    quiet = {"directory": directory, "report": lambda _: None}
    judges.of_dataset(squares(), None, settings, **quiet)
    judges.of_dataset(darker, None, QUICK, **quiet)
    judges.of_dataset(squares(), (16, 16, 1), QUICK, **quiet)
    assert len(set(directory.iterdir()) - known) == 3


def test_a_judge_that_cannot_be_kept_still_judges(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "_fit", lambda *_: None)
    (tmp_path / "file").write_text("")
    lines = []
    directory = tmp_path / "file" / "judges"
    judge = judges.of_dataset(squares(), None, QUICK, directory, lines.append)
    assert set(judge.accuracy) == set(NAMES)
    assert any("is not kept in" in line for line in lines)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_judge_is_trained_anew(tmp_path, monkeypatch, damage):
    fits, lines = [], []
    monkeypatch.setattr(judges, "_fit", lambda *_: fits.append(1))
    given = squares(), None, QUICK, tmp_path, lines.append
    first = judges.of_dataset(*given)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 255
    kept = {"cut": len(content) // 2, "flipped": None, "empty": 0}[damage]
    path.write_bytes(content[:kept])
    again = judges.of_dataset(*given)
    assert len(fits) == 2
    assert any("is damaged" in line for line in lines)
    images = render(np.arange(9))
    np.testing.assert_array_equal(again(images)[0], first(images)[0])
    judges.of_dataset(*given)
    assert len(fits) == 2


def test_no_image_of_a_grid_is_both_learned_and_scored():
    fit, held_out = judges.independent_splits(squares())
    seen, asked = (
        {tuple(f) for f in s.take(np.arange(len(s)))["factors"]}
        for s in (fit, held_out)
    )
    assert len(seen) + len(asked) == 96 and not seen & asked


def test_images_are_held_out_where_there_is_no_test_split():
    images = np.zeros((50, 8, 8, 1), np.uint8)
    dataset = Dataset("x", {"train": ArraySplit(images)}, num_classes=2)
    fit, held_out = judges.independent_splits(dataset)
    assert (len(fit), len(held_out)) == (45, 5)
    few = Dataset("x", {"train": ArraySplit(images[:2])}, num_classes=2)
    with pytest.raises(InputError, match="too few images for a judge"):
        judges.independent_splits(few)


def test_a_judge_of_unseen_classes_learns_from_them():
    images = np.zeros((60, 8, 8, 1), np.uint8)
    everything = ArraySplit(images, np.arange(60) % 6)
    splits = {
        "train": everything.subset(np.flatnonzero(everything.labels < 4)),
        "test": everything.subset(np.flatnonzero(everything.labels >= 4)),
    }
    fit, held_out = judges.independent_splits(
        Dataset("x", splits, num_classes=6)
    )
    assert set(fit.labels) | set(held_out.labels) == {4, 5}
    assert (len(fit), len(held_out)) == (18, 2)


def test_classes_and_factors_are_heads():
    dataset = squares()
    with_classes = dataclasses.replace(dataset, num_classes=5)
    assert list(judges.head_sizes(with_classes)) == ["label", *NAMES]
    batch = {"label": np.arange(2), "factors": np.arange(6).reshape(2, 3)}
    targets = judges.targets_of(with_classes)(batch)
    assert [v.tolist() for v in targets.values()] == [
        [0, 1],
        [0, 3],
        [1, 4],
        [2, 5],
    ]
    bare = Dataset("bare", dataset.splits)
    with pytest.raises(InputError, match="neither classes nor factors"):
        judges.of_dataset(bare)


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert judges.cache_directory() == tmp_path / "tfdisent"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert judges.cache_directory().parts[-2:] == (".cache", "tfdisent")


# ---- samples -----------------------------------------------------------------


def reading(mean, deviation, classes, count=10_000):
    """A reading of exact moments, whose classes are sure and equally often."""
    draws = np.random.default_rng(0).standard_normal((count, 2))
    draws -= draws.mean(axis=0)
    white = np.linalg.qr(draws)[0] * np.sqrt(count - 1)
    logits = 50.0 * np.eye(4)[np.arange(count) % classes]
    return judges.Reading(mean + deviation * white, {"label": logits})


def test_scores_have_their_closed_forms():
    judge = perfect_judge(name="ruler")
    generated = reading(np.array([1.0, 2.0]), 3.0, classes=2)
    scores = judges.image_scores(judge, generated, reading(0.0, 1.0, 4))
    # |mean|^2 + 2 (3 - 1)^2.
    np.testing.assert_allclose(scores["in_domain_frechet_distance"], 5 + 8)
    # Sure of two classes that are equally frequent.
    score = scores["in_domain_inception_score"]["label"]
    np.testing.assert_allclose([score["mean"], score["std"]], [2, 0], atol=1e-6)
    assert scores["images"] == [10_000, 10_000] and scores["splits"] == 10


def test_only_imagenet_gives_the_scores_their_names():
    one = reading(0.0, 1.0, 4)
    own = judges.image_scores(perfect_judge(), one, one)
    theirs = judges.image_scores(perfect_judge(in_domain=False), one, one)
    assert not {"inception_score", "fid"} & set(own)
    assert {"inception_score", "fid"} <= set(theirs)


def test_too_few_images_are_refused():
    one, few = reading(0.0, 1.0, 4), reading(0.0, 1.0, 4, count=9_999)
    with pytest.raises(ValueError, match="Received: 9,999 and 10,000"):
        judges.image_scores(perfect_judge(), few, one)


class Greys(base.PartsModel):
    """Samples flat grey images: what the data set below is made of."""

    parts = {"z": (1,)}
    units = {"z": ("z",)}
    spread = 1.0

    def sample(self, seed):
        draw = tf.map_fn(
            lambda row: tf.random.stateless_uniform((), row),
            seed,
            fn_output_signature=tf.float32,
        )
        return tf.ones((1, 4, 4, 1)) * (self.spread * draw)[:, None, None, None]


def greys(train=20_000, test=10_000):
    rng = np.random.default_rng(0)

    def split(count):
        values = np.sort(rng.integers(0, 256, count)).astype(np.uint8)
        images = np.broadcast_to(
            values[:, None, None, None], (count, 4, 4, 1)
        ).copy()
        return ArraySplit(images, (values >= 128).astype(int))

    return Dataset(
        "greys", {"train": split(train), "test": split(test)}, num_classes=2
    )


@pytest.fixture
def light_meter():
    """A judge whose feature is brightness and whose label is its half."""
    return judges.Judge(
        name="light meter",
        image_shape=(4, 4, 1),
        sizes={"label": 2},
        trunk=lambda images: images[:, 0, 0],
        head=lambda x: 1e3 * tf.concat([0.5 - x, x - 0.5], axis=1),
        targets=lambda batch: {"label": batch["label"]},
    )


def test_a_perfect_generator_scores_as_real_images_do(light_meter):
    scores = judges.sample_scores(Greys((4, 4, 1)), greys(), light_meter)
    perfect = scores["training_images"]
    # Brightness has variance 1/12.
    assert scores["in_domain_frechet_distance"] < 1e-3
    assert perfect["in_domain_frechet_distance"] < 1e-3
    for found in (scores, perfect):
        score = found["in_domain_inception_score"]["label"]
        assert 1.95 < score["mean"] < 2.0
    assert scores["real"] == "test" and scores["images"] == [10_000] * 2


def test_a_poor_generator_scores_worse(light_meter):
    model = Greys((4, 4, 1))
    model.spread = 0.4  # Dark ones only.
    scores = judges.sample_scores(model, greys(), light_meter)
    distance = (0.5 - 0.2) ** 2 + (1 - 0.4) ** 2 / 12
    np.testing.assert_allclose(
        scores["in_domain_frechet_distance"], distance, rtol=0.05
    )
    score = scores["in_domain_inception_score"]["label"]["mean"]
    np.testing.assert_allclose(score, 1, atol=1e-3)


def test_samples_are_compared_with_images_in_sufficient_number(light_meter):
    model = Greys((4, 4, 1))
    scores = judges.sample_scores(model, greys(test=500), light_meter)
    assert scores["real"] == "train"
    with pytest.raises(InputError, match="too few images to score samples"):
        judges.sample_scores(model, greys(9_000), light_meter)
    with pytest.raises(InputError, match="no prior"):
        judges.sample_scores(
            Squares({"all": ("place", "grey")}), greys(), light_meter
        )


def test_without_weights_samples_are_judged_in_domain(
    tmp_path, monkeypatch, trained
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.applications, "InceptionV3", None)
    assert judges.imagenet() is None
    judge = judges.for_samples(squares(), settings=QUICK, directory=trained[0])
    assert judge.in_domain and judge.name == "in-domain classifier of squares"


def test_imagenet_weights_at_hand_are_used(tmp_path, monkeypatch):
    path = tmp_path / "models" / judges.INCEPTION_WEIGHTS
    path.parent.mkdir()
    path.touch()
    asked = []

    def small(weights, classifier_activation):
        asked.append((weights, classifier_activation))
        image = keras.Input((75, 75, 3))
        pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(image)
        logits = keras.layers.Dense(5, name="predictions")(pooled)
        return keras.Model(image, logits)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.applications, "InceptionV3", small)
    judge = judges.for_samples(squares())
    assert asked == [(str(path), None)]  # A path: nothing is downloaded.
    assert not judge.in_domain and judge.name.startswith("ImageNet")
    images = np.full((2, 8, 8, 1), 255, np.uint8)
    features, logits = judge(images)
    # Grey as RGB, enlarged, from [0, 1] to [-1, 1].
    np.testing.assert_allclose(features, np.ones((2, 3)), rtol=1e-5)
    assert logits["imagenet"].shape == (2, 5)
