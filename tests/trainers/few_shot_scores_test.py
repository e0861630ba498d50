"""Few-shot accuracies, linear probes, and their table."""

import dataclasses
import shutil

import numpy as np
import pytest

from tfdisent import data
from tfdisent import testing
from tfdisent.models import few_shot
from trainers import config as configuration
from trainers import few_shot_scores
from trainers import rundir


def clustered(classes=6, images=20, spread=0.01, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 4))
    labels = np.repeat(np.arange(classes), images)
    codes = centres[labels] + spread * rng.normal(size=(len(labels), 4))
    return codes.astype(np.float32), labels


def test_clear_classes_are_always_right_and_noise_is_at_chance():
    codes, labels = clustered()
    noise, _ = clustered(spread=1e3, seed=1)
    rows = {
        "clear": (few_shot.nearest_neighbour, codes),
        "noise": (few_shot.nearest_neighbour, noise),
    }
    scores = few_shot_scores.accuracies(rows, labels, episodes=1000)
    # Six classes of twenty: no 20-way row, and none is invented.
    assert set(scores) == {"5-way 1-shot", "5-way 5-shot"}
    assert few_shot_scores.missing(labels) == {
        "20-way 1-shot": "needs 20 classes of 2 images; there are 6, the "
        "smallest of 20"
    }
    first = scores["5-way 1-shot"]
    assert first["clear"]["mean"] == 1.0
    assert 0.15 < first["noise"]["mean"] < 0.25
    assert "difference" not in first["clear"]
    gain = first["noise"]["difference"]
    assert gain["mean"] == pytest.approx(1 - first["noise"]["mean"])
    assert gain["low"] > 0.7


def test_every_classifier_sees_the_same_episodes():
    codes, labels = clustered(spread=1.0)
    first, second = (
        few_shot_scores.correct_answers(
            few_shot.prototypes, codes * scale, labels, 5, 1, 250
        )
        for scale in (1.0, 2.0)
    )
    assert len(first) == 250
    np.testing.assert_array_equal(first, second)


def test_probe_tells_parts_apart():
    codes, labels = clustered(classes=8)
    noise = np.random.default_rng(3).normal(size=codes.shape)
    scores = few_shot_scores.probe_scores(
        {"identity": codes, "style": noise.astype(np.float32)}, labels
    )
    assert scores["identity"] == 1.0
    assert scores["style"] < 0.35
    assert scores["chance"] == 1 / 8
    assert scores["images"] == 80


def test_classes_of_one_image_cannot_be_probed():
    codes = np.random.default_rng(0).normal(size=(5, 3))
    for labels in ([0, 1, 2, 3, 4], [0, 0, 1, 2, 3]):
        labels = np.array(labels)
        assert few_shot_scores.probe_scores({"style": codes}, labels) == {}
    some = few_shot_scores.probe_scores(
        {"style": codes}, np.array([0, 0, 1, 1, 2])
    )
    assert some["classes"] == 2 and some["images"] == 2


def test_the_table_shows_intervals_and_differences():
    codes, labels = clustered()
    rows = {
        "fden": (few_shot.prototypes, codes),
        "nearest": (few_shot.nearest_neighbour, codes[::-1].copy()),
    }
    scores = {
        "few_shot": few_shot_scores.accuracies(rows, labels, 200),
        "protocol": {"absent": few_shot_scores.missing(labels)},
    }
    text = "\n".join(few_shot_scores.table(scores))
    assert "5-way 1-shot accuracy, unseen classes, 95% interval" in text
    assert "100.00 +- 0.00 %" in text
    assert "lead over it" in text
    assert "absent: 20-way 1-shot (needs 20 classes" in text


def test_codes_of_another_data_set_are_kept_apart(tmp_path, monkeypatch):
    def nothing(*args, **kwargs):
        return {}

    for name in ("accuracies", "probe_scores", "plug_in_errors"):
        monkeypatch.setattr(few_shot_scores, name, nothing)
    monkeypatch.setattr(few_shot_scores, "held_out_bound", nothing)
    monkeypatch.setattr(few_shot_scores, "untrained_codes", nothing)
    model = testing.tiny_model("fden")
    given = configuration.build("fden", "digits"), data.load("digits"), tmp_path
    scores = few_shot_scores.evaluate_factors(model, *given)
    assert "mutual_information" in scores
    few_shot_scores.evaluate_factors(model, *given, suffix="-other")
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert names == {"test.npy", "test-other.npy"}
    # No critic, no bound: 0 nats would be a claim.
    config = dataclasses.replace(given[0], critic_steps=0)
    scores = few_shot_scores.evaluate_factors(model, config, *given[1:])
    assert "mutual_information" not in scores


def test_untrained_codes_of_what_can_be_had_untrained(tmp_path, save_run):
    dataset = data.load("digits")
    split = dataset.few_shot["test"].subset(range(3))
    base = configuration.build(
        "autoencoder", "digits", settings=["filters=4,4,4", "latent_dim=5"]
    )
    save_run(tmp_path / "run/backbone", base)
    codes = few_shot_scores.untrained_codes(
        tmp_path / "run", split, (32, 32, 1)
    )
    assert codes.shape == (3, 5)
    shutil.move(tmp_path / "run/backbone", tmp_path / "below/backbone/backbone")
    backbone = rundir.load_backbone(tmp_path / "below/backbone/backbone")
    plugged = configuration.build("fden", "digits")
    save_run(tmp_path / "below/backbone", plugged, backbone=backbone)
    given = tmp_path / "below", split, (32, 32, 1)
    assert few_shot_scores.untrained_codes(*given) is None
