"""Whole jobs: a user's own model and data, foreign backbones, rivals."""

import dataclasses
import json
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent import data
from trainers import config as configuration
from trainers import job
from trainers import rundir

OWN = """
import keras
import numpy as np
import tensorflow as tf
from tfdisent import data
from tfdisent.models import base
from tfdisent.optimizers import Adam


class Pixels(base.PartsModel):
    "Splits an image into its mean and the rest; one weight to train."

    image_sides = (32,)
    parts = {"mean": (1,), "rest": (32, 32, 1)}
    units = {"mean": ("mean",), "rest": ("rest",)}

    def __init__(self, image_shape=(32, 32, 1), rate=1e-2, seed=0, **kwargs):
        super().__init__(image_shape, seed, **kwargs)
        self.rate = rate
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")
        self.built = True

    def encode(self, image):
        mean = tf.reduce_mean(image, axis=[1, 2, 3])[:, None]
        return {"mean": mean, "rest": image - mean[:, :, None, None]}

    def decode(self, mean, rest):
        image = self.gain * (rest + mean[:, :, None, None])
        return tf.clip_by_value(image, 0.0, 1.0)

    def default_optimizers(self):
        return {"main": Adam(self.rate)}

    def loss_of(self, batch):
        image = batch["image"]
        return tf.reduce_mean(tf.square(0.5 * image - self.gain * image))

    def update(self, batch):
        with tf.GradientTape() as tape:
            loss = self.loss_of(batch)
            scaled = self.scaled(loss)
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return {"loss": loss}

    def evaluate_batch(self, batch):
        return {"loss": self.loss_of(batch)}


def stripes(data_dir=None):
    images = np.zeros((40, 28, 28, 1), np.uint8)
    images[:, ::2] = 255
    split = data.ArraySplit(images)
    return data.Dataset(name="stripes", splits={"train": split, "test": split})
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mine", None)


def test_a_users_own_model_and_data(own, tmp_path):
    config = configuration.build(
        "mine:Pixels",
        "mine:stripes",
        settings=["rate=0.1", "steps=30", "batch_size=4", "image_every=0"],
    )
    assert config.rate == 0.1
    text = job.run(config, tmp_path / "run", strategy="single")
    assert "held-out loss" in text
    loaded = rundir.load_model(tmp_path / "run")
    # The loss is least where the gain is one half.
    np.testing.assert_allclose(float(loaded.gain), 0.5, atol=0.1)
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert scores["held_out"]["loss"] < 0.01
    assert (tmp_path / "run/images/reconstructions.png").exists()


class Foreign(tf.Module):
    """A linear code that this package did not write."""

    def __init__(self):
        super().__init__()
        values = np.random.default_rng(0).normal(size=(1024, 12))
        self.weights = tf.Variable(values.astype(np.float32) / 32)

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 1])])
    def encode(self, pixels):
        return {"h": tf.reshape(pixels, [-1, 1024]) @ self.weights}

    @tf.function(input_signature=[tf.TensorSpec([None, 12])])
    def decode(self, h):
        flat = tf.matmul(h, self.weights, transpose_b=True)
        return {"picture": tf.reshape(flat, [-1, 32, 32, 1])}


def save_foreign(path):
    """A SavedModel that this package did not write; returns its module."""
    foreign = Foreign()
    signatures = {"encode": foreign.encode, "decode": foreign.decode}
    tf.saved_model.save(foreign, str(path), signatures)
    return foreign


def quick_fden():
    config = configuration.build("fden", "digits")
    return dataclasses.replace(
        config,
        steps=2,
        jitters=1,
        eval_episodes=20,
        critic_steps=2,
        judge_steps=0,
        image_every=0,
        backbone_range=(-1.0, 1.0),
    )


@pytest.mark.slow
def test_fden_on_a_foreign_saved_model(tmp_path):
    foreign = save_foreign(tmp_path / "foreign")
    run = tmp_path / "run"
    text = job.run(
        quick_fden(),
        run,
        strategy="single",
        backbone=tmp_path / "foreign",
        quick=True,
    )
    assert "5-way 1-shot" in text
    loaded = rundir.load_model(run)
    assert loaded.parts == {"identity": (12,), "style": (12,)}
    # The copy is what counts from here on, and it is the same to the bit.
    np.testing.assert_array_equal(
        loaded.backbone.loaded.weights.numpy(), foreign.weights.numpy()
    )
    scores = json.loads((run / "metrics.json").read_text())
    rows = scores["few_shot"]["5-way 1-shot"]
    assert not [name for name in rows if "untrained" in name]


def test_an_unusable_backbone_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="neither a run directory"):
        job.run(
            quick_fden(),
            tmp_path / "run",
            strategy="single",
            backbone=tmp_path,
            quick=True,
        )
    assert not (tmp_path / "run").exists()


def test_a_backbone_of_other_images_is_not_kept(tmp_path):
    """Kept, it would stand in the way of the right one."""
    save_foreign(tmp_path / "foreign")
    images = np.zeros((40, 8, 8, 3), np.uint8)
    np.savez(
        tmp_path / "colour.npz",
        images=images,
        labels=np.repeat(np.arange(8), 5),
    )
    dataset = data.load(f"npz:{tmp_path / 'colour.npz'}")
    config = dataclasses.replace(quick_fden(), ways=2)
    with pytest.raises(InputError, match="1 channels, received .*8, 8, 3"):
        plugged(config, tmp_path / "run", dataset, tmp_path / "foreign")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["fden", "class_vae", "hdn", "infogan"])
def test_models_that_cannot_be_a_backbone_do_not_train(tmp_path, name):
    config = dataclasses.replace(quick_fden(), backbone_model=name)
    with pytest.raises(InputError, match=f"backbone_model={name}: FDEN needs"):
        plugged(config, tmp_path / "run", data.load("digits"), None)
    assert not (tmp_path / "run").exists()


def plugged(config, workdir, dataset, named):
    strategy = tf.distribute.get_strategy()
    return job.plug_backbone(config, workdir, dataset, strategy, named)


def test_codes_that_restore_no_image_are_no_backbone(tmp_path, save_run):
    config = configuration.build(
        "infogan", "mnist", settings=["filters=4,4", "hidden=8"]
    )
    save_run(tmp_path / "gan", config, (28, 28, 1))
    with pytest.raises(InputError, match="do not restore an image"):
        rundir.load_backbone(tmp_path / "gan")


def test_a_run_keeps_its_backbone(tmp_path, capsys):
    dataset = data.load("digits")
    for name in ("first", "second"):
        foreign = Foreign()
        foreign.weights.assign_add(tf.ones([1024, 12]) * (name == "second"))
        tf.saved_model.save(
            foreign,
            str(tmp_path / name),
            {"encode": foreign.encode, "decode": foreign.decode},
        )
    given = quick_fden(), tmp_path / "run", dataset
    plugged(*given, tmp_path / "first")
    # Named again, or not at all, it is the one that is there.
    plugged(*given, tmp_path / "first")
    plugged(*given, None)
    assert "Training the backbone" not in capsys.readouterr().out
    with pytest.raises(InputError, match="has another backbone than"):
        plugged(*given, tmp_path / "second")


def test_a_model_without_a_backbone_takes_none(tmp_path):
    config = configuration.build("autoencoder", "digits")
    with pytest.raises(InputError, match="autoencoder stands on none"):
        job.run(config, tmp_path / "run", strategy="single", backbone="x")
    assert not (tmp_path / "run").exists()


def test_what_stops_fden_stops_it_before_its_backbone_trains(tmp_path):
    config = dataclasses.replace(quick_fden(), ways=6)
    with pytest.raises(InputError, match="6-way episodes need at least 6"):
        job.run(config, tmp_path / "run", strategy="single")
    assert not (tmp_path / "run").exists()
    rundir.claim(tmp_path / "run", quick_fden(), (32, 32, 1))
    other = dataclasses.replace(quick_fden(), alpha=2.0)
    with pytest.raises(InputError, match="alpha 1.0 there, 2.0 asked for"):
        job.run(other, tmp_path / "run", strategy="single")
    assert not (tmp_path / "run" / "backbone").exists()


def test_settings_that_build_no_model_leave_nothing(tmp_path):
    config = configuration.build(
        "hdn",
        "shapes",
        settings=["hierarchy=C", "scales=5", "steps=1"],
    )
    with pytest.raises(InputError, match="scales=5 shrinks 64 pixels"):
        job.run(config, tmp_path / "run", strategy="single", quick=True)
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_backbones_own_configuration_follows_the_run():
    config = configuration.build("fden", "digits", seed=3)
    chosen = job.backbone_configuration(config)
    assert chosen.model == "autoencoder"
    assert chosen.seed == 3
    assert chosen.steps == 500


@pytest.mark.parametrize("name", ["MatchingNetwork", "PrototypicalNetwork"])
def test_the_rivals_stand_in_the_same_table(name, tmp_path):
    config = configuration.build(
        f"tfdisent.models.few_shot:{name}",
        "digits",
        settings=["steps=3", "batch_size=2", "eval_episodes=50"],
    )
    text = job.run(config, tmp_path / "run", strategy="single")
    assert name in text
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    rows = scores["few_shot"]["5-way 1-shot"]
    assert set(rows) == {name, "nearest neighbour on pixels"}
    assert not (tmp_path / "run/images").exists()


def test_a_folder_of_categories_becomes_a_scored_hierarchy(
    tmp_path, monkeypatch, capsys
):
    from PIL import Image

    from tfdisent import networks
    from tfdisent import visualization

    monkeypatch.setattr(networks, "HDN_BLOCKS", 1)  # Quicker to trace.
    rng = np.random.default_rng(0)
    for leaf in ("a/1", "a/2", "a/3", "b/1", "b/2"):
        folder = tmp_path / "images" / leaf
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    # Tested elsewhere, and slow.
    monkeypatch.setattr(
        visualization, "tsne", lambda codes, labels, title: np.zeros((4, 4, 3))
    )
    monkeypatch.setattr(
        visualization, "traversal_frames", visualization.traversal
    )
    config = configuration.build(
        "hdn",
        f"folder:{tmp_path / 'images'}",
        settings=[
            "image_size=16",
            "grey=yes",
            "filters=2",
            "style_dim=2",
            "batch_size=4",
            "steps=2",
            "held_out=a/2",
            "score_every=2",
            "eval_images=20",
            "baseline_steps=0",
            "judge_steps=0",
        ],
    )
    workdir = tmp_path / "run"
    text = job.run(config, workdir, strategy="single")
    stored = json.loads((workdir / "config.json").read_text())
    assert stored["config"]["tree"] == [2, 2, 2]
    scores = json.loads((workdir / "metrics.json").read_text())["hierarchy"]
    own = scores["classification"]["own"]
    assert set(own["generated"]) == {"level2", "level3"}
    assert set(scores["retrieval"]["real"]) == {"HDN", "pixels"}
    assert scores["protocol"]["levels"][1] == ["a/1", "a/3", "b/1", "b/2"]
    assert scores["protocol"]["held_out"] == "a/2"
    assert len(scores["unseen"]["a/2"]["parent_accuracy"]) == 1
    assert "accuracy among siblings" in text
    assert "step 2: accuracy test level2" in capsys.readouterr().out
    names = {p.name for p in (workdir / "images").iterdir()}
    assert {"tree.png", "levels.png", "retrieval.png"} <= names
    # The same line again finds the run finished, tree and all.
    again = job.run(config, workdir, strategy="single")
    assert "accuracy among siblings" in again


def test_quick_leaves_every_factor_something_to_vary():
    dataset = data.load("sprites")
    cut = job.small(dataset)
    # Nothing may ask for the codes of all 737,280 points.
    assert cut.grid is None
    assert cut.factor_names == dataset.factor_names
    batch = cut.splits["train"].take(np.arange(job.QUICK_IMAGES))
    assert batch["factors"].shape == (job.QUICK_IMAGES, 5)
    for column, size in zip(
        batch["factors"].T, dataset.factor_sizes, strict=True
    ):
        assert set(column) == set(range(size))


def test_a_run_is_finished_when_it_was_scored_at_its_last_step(tmp_path):
    config = configuration.build("autoencoder", "digits", steps=10)
    assert not job.finished(config, tmp_path)
    rundir.claim(tmp_path, config, (32, 32, 1))
    scores = {"step": 10}
    rundir.write_json(tmp_path / "metrics.json", scores)
    # Scored by hand, before the run came to its end.
    assert not job.finished(config, tmp_path)
    rundir.write_json(
        tmp_path / "metrics.json", scores | {"training_seconds": 1.0}
    )
    assert job.finished(config, tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics.json.*remove it to score"):
        job.finished(config, tmp_path)
    rundir.write_json(
        tmp_path / "metrics.json", scores | {"training_seconds": 1.0}
    )
    longer = dataclasses.replace(config, steps=20)
    assert not job.finished(longer, tmp_path)
    other = dataclasses.replace(config, hidden=3)
    with pytest.raises(InputError, match="hidden 256 there, 3 asked for"):
        job.finished(other, tmp_path)
