"""A run's pictures: in TensorBoard, and as files that can be read back."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdisent import testing
from tfdisent import visualization
from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.errors import InputError
from tfdisent.metrics import mutual_information
from trainers import callbacks
from trainers import rundir


def labelled(count=24, classes=4):
    """A split of noise, sorted by class."""
    images = testing.random_images((32, 32, 1), count)
    return ArraySplit(images, np.arange(count) * classes // count)


def tags(logs):
    """{(tag, step)} of the images in TensorBoard's files."""
    found = set()
    for path in logs.glob("*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    found.add((value.tag, event.step))
    return found


def draw(model, split, workdir, steps):
    """Calls the event as `train.fit` does."""
    event = callbacks.picture_events(model, split, workdir)
    logs = tf.summary.create_file_writer(str(workdir / "logs"))
    for step in steps:
        with logs.as_default(step=step):
            event(step)
    logs.close()


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_pngs_hold_the_picture_and_the_latest_has_no_number(tmp_path):
    rng = np.random.default_rng(0)
    old, new = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    pictures = callbacks.Pictures(tmp_path)
    pictures.write("swaps", 10, old)
    pictures.write("swaps", 20, new)
    folder = tmp_path / "images"
    np.testing.assert_array_equal(read(folder / "swaps-10.png"), old)
    np.testing.assert_array_equal(read(folder / "swaps-20.png"), new)
    np.testing.assert_array_equal(read(folder / "swaps.png"), new)
    assert len(list(folder.iterdir())) == 3


def test_a_full_disk_is_one_line_and_leaves_the_old_picture(
    tmp_path, monkeypatch
):
    picture = np.zeros((2, 2, 3), np.uint8)
    pictures = callbacks.Pictures(tmp_path)
    pictures.write("swaps", 10, picture)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir, "write_atomically", full)
    with pytest.raises(InputError, match="No space left on device") as error:
        pictures.write("swaps", 20, picture + 1)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        read(tmp_path / "images" / "swaps.png"), picture
    )


def test_fden_draws_everything_it_declares(tmp_path):
    draw(testing.tiny_model("fden"), labelled(), tmp_path, steps=(5, 10))
    names = {"reconstructions", "traversal", "swaps", "translation", "tsne"}
    assert tags(tmp_path / "logs") == {(n, s) for n in names for s in (5, 10)}
    files = {path.name for path in (tmp_path / "images").iterdir()}
    assert files == {"traversal.gif"} | {
        f"{name}{number}.png" for name in names for number in ("", "-5", "-10")
    }


def test_maps_are_labelled_with_the_names_of_classes(monkeypatch):
    seen = []

    def record(codes, labels):
        seen.append(labels)
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(visualization, "tsne_of_parts", record)
    split, names = labelled(), [f"class {n}" for n in range(10)]
    for known in (names, None):
        shown = callbacks.Shown(
            testing.tiny_model("fden"), split, class_names=known
        )
        list(shown.pictures())
    np.testing.assert_array_equal(seen[0], [names[n] for n in seen[1]])
    assert len(set(seen[1])) > 1


def test_a_flat_model_draws_samples_and_no_grids(tmp_path):
    draw(testing.tiny_model("beta_vae"), labelled(), tmp_path, steps=(3,))
    names = {"reconstructions", "traversal", "traversal_prior", "samples"}
    assert tags(tmp_path / "logs") == {(name, 3) for name in names}


def test_a_structure_is_drawn_alone_and_beside_the_traversal(tmp_path):
    model = testing.tiny_model("cascade_infogan")
    draw(model, labelled(), tmp_path, steps=(3,))
    # It finds codes, not images: nothing is reconstructed.
    names = {"traversal", "samples", "structure", "structure_traversal"}
    assert tags(tmp_path / "logs") == {(name, 3) for name in names}
    alone, both = (
        read(tmp_path / "images" / f"{name}.png")
        for name in ("structure", "structure_traversal")
    )
    np.testing.assert_array_equal(both[: len(alone), : alone.shape[1]], alone)


def test_beside_a_structure_its_latents_stand_in_its_order(monkeypatch):
    """Dead ones too, that the other traversal folds."""
    model = testing.tiny_model("cascade_vae", structure="3->1", latent_dim=4)
    seen, traverse = [], visualization.traverse
    monkeypatch.setattr(
        visualization,
        "traverse",
        lambda *given, **options: (
            seen.append(traverse(*given, **options)) or seen[-1]
        ),
    )
    monkeypatch.setattr(visualization, "DEAD", 1e9)
    dict(callbacks.Shown(model, labelled()).pictures())
    (strip,) = seen[-1]
    assert strip.entries == [0, 2]
    assert strip.labels == ["z1", "z3"]


def test_categories_are_drawn_whole(tmp_path):
    model = testing.tiny_model("infogan")
    draw(model, labelled(), tmp_path, steps=(3,))
    names = {"traversal", "samples", "swaps", "category_by_value"}
    assert tags(tmp_path / "logs") == {(name, 3) for name in names}


def test_a_traversal_starts_at_one_image_of_the_split_and_stays_there():
    split = labelled()
    starts = [
        callbacks.Shown(testing.tiny_model("beta_vae"), split).one()
        for _ in range(2)
    ]
    (image, _), (again, _) = starts
    np.testing.assert_array_equal(image, again)
    (row,) = np.flatnonzero(np.all(split.images == image, axis=(1, 2, 3)))
    # A grid's first image is a corner in all of its factors.
    assert row > 0


def test_traversals_have_the_span_asked_for():
    model = testing.tiny_model("cascade_vae")
    drawn = [
        dict(callbacks.Shown(model, labelled(), span=span).pictures())
        for span in (None, 2.0, 10.0)
    ]
    # The moving ones have no ends in their headings, which differ anyway.
    for one, two in ((0, 1), (1, 2)):
        first, second = (drawn[i]["traversal"] for i in (one, two))
        assert first.shape == second.shape and np.any(first != second)


def test_the_same_weights_draw_the_same_pictures(tmp_path):
    draw(testing.tiny_model("beta_vae"), labelled(), tmp_path, steps=(1, 2))
    for name in ("reconstructions", "traversal", "samples"):
        first, second = (
            read(tmp_path / "images" / f"{name}-{step}.png") for step in (1, 2)
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_draw_what_they_can(tmp_path, count):
    split = ArraySplit(testing.random_images((32, 32, 1), count), [0] * count)
    draw(testing.tiny_model("fden"), split, tmp_path, steps=(1,))
    names = {tag for tag, _ in tags(tmp_path / "logs")}
    assert {"reconstructions", "traversal"} <= names
    assert ("translation" in names) == (count > 1)


def test_unlabelled_images_of_another_size_are_fitted(tmp_path):
    split = ArraySplit(testing.random_images((8, 8, 1), 6))
    draw(testing.tiny_model("fden"), split, tmp_path, steps=(1,))
    names = {tag for tag, _ in tags(tmp_path / "logs")}
    assert names == {"reconstructions", "traversal", "swaps", "translation"}


def test_a_model_of_labels_draws_codes_over_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "CLASSES", 2)
    draw(testing.tiny_model("class_vae"), labelled(), tmp_path, steps=(1,))
    names = {tag for tag, _ in tags(tmp_path / "logs")}
    assert names == {
        *("reconstructions", "traversal", "swaps", "samples", "translation"),
        *("tsne", "class_transfer", "traversal_prior"),
        *(
            f"{part}_{what}"
            for part in ("generic", "specific")
            for what in ("by_entry", "by_class", "widest")
        ),
    }
    draw(testing.tiny_model("cvae"), labelled(), tmp_path / "2", steps=(1,))
    names = {tag for tag, _ in tags(tmp_path / "2" / "logs")}
    assert {"z_by_entry", "z_by_class", "class_transfer", "swaps"} <= names


# ---- levels ------------------------------------------------------------------


def moved(model, scale=3.0):
    """Heads that see their images: at first all posteriors are about equal."""
    for head in model.ladder.heads:
        kernel = head.blocks[-1].kernel
        kernel.assign(scale * kernel)
    return model


def test_the_end_of_a_stage_asks_what_each_level_tells(tmp_path):
    model = moved(testing.tiny_model("pro_vlae", schedule_steps=30))
    split = ArraySplit(testing.random_images((32, 32, 1), 24))
    ends = model.stage_ends
    said = []
    event = callbacks.stage_events(
        model, split, tmp_path, ends, 20, said.append
    )
    logs = tf.summary.create_file_writer(str(tmp_path / "logs"))
    for step in (10, 15, 20):
        model.step.assign(step)
        with logs.as_default(step=step):
            event(step)
        assert int(model.step.numpy()) == step
    logs.close()
    assert tags(tmp_path / "logs") == {
        (name, step) for name in ("levels", "level_grids") for step in (10, 20)
    }
    stored = json.loads((tmp_path / "information.json").read_text())
    assert list(stored) == ["10", "20"]
    found = stored["10"]
    assert list(found["groups"]) == ["z1", "z2", "z3"]
    assert found["images"] == found["samples"] == 20
    assert len(said) == 2
    assert f"z3 {found['groups']['z3']:.2f}  total" in said[0]
    assert "(20 images, 20 draws)" in said[0]
    np.testing.assert_allclose(
        found["overlap"],
        sum(found["groups"].values()) - found["total"],
        atol=1e-9,
    )
    # As step 9 had it: z2 waited, its ladder unfaded.
    model.step.assign(9)
    again = callbacks.level_information(model, split, 20)
    assert again == found
    assert max(found["groups"].values()) > 0.05
    # A second visit changes nothing.
    model.step.assign(10)
    event(10)
    assert json.loads((tmp_path / "information.json").read_text()) == stored


def test_information_of_a_level_is_that_of_the_metric(tmp_path):
    model = moved(testing.tiny_model("vlae"), scale=20.0)
    images = testing.random_images((32, 32, 1), 40)
    found = callbacks.level_information(model, ArraySplit(images), 100)
    expected = {
        name: mutual_information(
            q.mean().numpy(), q.stddev().numpy(), samples=40
        )
        for name, q in model.posterior(images).items()
    }
    assert min(expected.values()) > 0.5
    # Other draws, but of the same posteriors.
    for name, nats in expected.items():
        np.testing.assert_allclose(found["groups"][name], nats, atol=0.15)


def scalars(logs):
    """{(tag, step): value} of the scalars in TensorBoard's files."""
    found = {}
    for path in logs.glob("*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = tf.make_ndarray(value.tensor)
                    found[value.tag, event.step] = float(number)
    return found


def test_scores_of_a_few_codes_go_to_tensorboard(tmp_path):
    model = testing.tiny_model("beta_vae")
    images = testing.random_images(model.image_shape, 60)
    sizes = (3, 4, 1, 5)
    factors = np.stack(np.unravel_index(np.arange(60), sizes), axis=-1)
    # Scores exist beside a factor of one value, too.
    dataset = Dataset(
        name="few",
        splits={"train": ArraySplit(images, factors=factors)},
        factor_names=("a", "b", "constant", "c"),
        factor_sizes=sizes,
    )
    lines = []
    event = callbacks.score_event(model, dataset, lines.append)
    logs = tf.summary.create_file_writer(str(tmp_path))
    for step in (10, 20):
        with logs.as_default(step=step):
            event(step)
        model.encoder.trainable_variables[-2].assign_add(
            tf.random.normal(model.encoder.trainable_variables[-2].shape)
        )
    logs.close()
    found = scalars(tmp_path)
    names = {*callbacks.scores.CHEAP, "factors_found", "alive_codes"}
    assert set(found) == {(f"scores/{n}", s) for n in names for s in (10, 20)}
    # The weights of the moment are scored, not those of the first time.
    assert found["scores/irs", 10] != found["scores/irs", 20]
    assert lines[0].startswith("step 10: mig ") and "60 images" in lines[0]


def test_a_stage_that_begins_is_not_scored_yet(monkeypatch):
    model = testing.tiny_model("pro_vlae", schedule_steps=30)
    images = testing.random_images(model.image_shape, 12)
    factors = np.stack(np.unravel_index(np.arange(12), (3, 4)), axis=-1)
    dataset = Dataset(
        name="few",
        splits={"train": ArraySplit(images, factors=factors)},
        factor_names=("a", "b"),
        factor_sizes=(3, 4),
    )
    seen, encode = [], callbacks.encoders.encode

    def looked(*given):
        seen.append(int(np.sum(model.waiting())))
        return encode(*given)

    monkeypatch.setattr(callbacks.encoders, "encode", looked)
    event = callbacks.score_event(model, dataset, lambda line: None)
    model.step.assign(10)
    event(10)
    # Levels 1 and 2 wait in the stage that ended at step 10.
    assert seen == [2]
    assert model.step.numpy() == 10


def test_what_has_no_codes_has_no_scores():
    class Maps:
        parts = {"map": (8, 8, 4)}

    dataset = Dataset(name="few", splits={"train": labelled()})
    assert callbacks.score_event(Maps(), dataset) is None
