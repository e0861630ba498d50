"""Scores of runs, SavedModels and arrays: what is written, what is said."""

import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdisent import InputError
from tfdisent import testing
from tfdisent.data import load
from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.data.base import held_out
from trainers import config as configuration
from trainers import encoders
from trainers import evaluate
from trainers import job
from trainers import rundir
from trainers import scores as code_scores

SIZES = (3, 4, 5)


def bars(shuffled=True):
    """Images 32x32 of a bar: its width, column and row vary; 60 in all."""
    factors = np.stack(np.unravel_index(np.arange(60), SIZES), axis=-1)
    if shuffled:
        factors = np.random.default_rng(0).permutation(factors)
    images = np.zeros((60, 32, 32, 1), np.uint8)
    for image, (width, column, row) in zip(images, factors, strict=True):
        image[6 * row : 6 * row + 5, 6 * column : 6 * column + 4 + width] = 255
    return images, factors


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    images, factors = bars()
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    names = np.array(["width", "column", "row"])
    np.savez(path, images=images, factors=factors, factor_names=names)
    return f"npz:{path}"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = configuration.build(
        "beta_vae",
        data,
        settings=[
            "steps=20",
            "batch_size=16",
            "image_every=0",
            "score_every=10",
            "judge_steps=0",
            "latent_dim=4",
        ],
    )
    text = job.run(config, workdir, strategy="single")
    return workdir, text


def stored(run, name="metrics.json"):
    return json.loads((run / name).read_text())


def tags(run):
    """Tags of what is in TensorBoard's files."""
    found = set()
    for path in (run / "logs").glob("*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found |= {value.tag for value in event.summary.value}
    return found


def test_a_run_on_known_factors_is_scored_beside_its_controls(run):
    workdir, text = run
    scores = stored(workdir)
    found = scores["disentanglement"]
    assert set(found["rows"]) == {"beta_vae", "untrained encoder", "PCA"}
    usual = {name for name, s in code_scores.SCORES.items() if s.usual}
    assert set(found["computed"]) == usual
    for row in found["rows"].values():
        assert set(row) == set(found["conventions"])
        assert all(np.isfinite(value) for value in row.values())
    assert found["rows"]["PCA"]["factor_vae_score"] > 0.4
    assert found["protocol"]["factors"] == ["width", "column", "row"]
    assert found["protocol"]["grid"] == 60
    assert "scikit-learn" in scores["versions"]
    assert scores["seed"] == 0 and scores["step"] == 20
    # All of a grid is trained on: nothing of it is held out.
    assert "held_out" not in scores
    assert scores["training_images"]["squared_error"] > 0
    assert scores["bounds"]["held_out"] is False
    assert scores["bounds"]["importance_weighted"] > scores["bounds"]["elbo"]
    assert len(scores["alive"]["kl"]) == 4
    for words in ("untrained encoder", "alive codes", "ELBO", "seen loss"):
        assert words in text


def test_matrices_are_drawn_and_codes_kept(run):
    workdir, _ = run
    for name in ("information", "importance"):
        assert np.asarray(Image.open(workdir / f"images/{name}.png")).std() > 0
    assert {"information", "importance", "scores/mig"} <= tags(workdir)
    with np.load(workdir / "codes.npz") as kept:
        assert kept["codes"].shape == (40, 4)
        assert kept["factors"].shape == (40, 3)
        assert list(kept["factor_names"]) == ["width", "column", "row"]
        assert (kept["stddevs"] > 0).all()
        _, factors = bars(shuffled=False)
        np.testing.assert_array_equal(kept["factors"], factors[kept["rows"]])
    # What is kept is what is scored.
    scores, _ = evaluate.score_codes(workdir / "codes.npz", ("mig_aggregate",))
    assert "mig_aggregate" in scores["disentanglement"]["computed"]


def test_scores_asked_for_join_those_that_are_there(run):
    workdir, _ = run
    before = stored(workdir)["disentanglement"]
    assert "mig_aggregate" in before["absent"]
    found = evaluate.evaluate(workdir, names=("mig", "mig_aggregate"))
    assert set(found["disentanglement"]["computed"]) == {"mig", "mig_aggregate"}
    assert "training_images" not in found
    after = stored(workdir)["disentanglement"]
    assert after["rows"]["beta_vae"]["sap"] == before["rows"]["beta_vae"]["sap"]
    assert after["rows"]["beta_vae"]["mig"] == before["rows"]["beta_vae"]["mig"]
    assert "mig_aggregate" in after["rows"]["beta_vae"]
    assert "mig_aggregate" not in after["rows"]["PCA"]
    assert "mig_aggregate" not in after["absent"]
    assert "mutual_information" in after["absent"]
    assert "training_images" in stored(workdir)


def test_another_data_set_has_a_file_of_its_own(run, tmp_path):
    workdir, _ = run
    images, factors = bars()
    some = factors[:, 0] != 1  # No longer a complete grid.
    some[np.flatnonzero(some)[0]] = False
    path = tmp_path / "some.npz"
    np.savez(path, images=255 - images[some], factors=factors[some])
    before = stored(workdir)
    found = evaluate.evaluate(workdir, dataset=f"npz:{path}")
    assert stored(workdir) == before
    name = f"npz:{path}".replace(":", "-").replace("/", "-")
    assert stored(workdir, f"metrics-{name}.json") == found
    absent = found["disentanglement"]["absent"]
    assert "complete factor grid" in absent["factor_vae_score"]
    assert "held_out" in found


@pytest.fixture
def run_of_step_0(save_run):
    """The directory of a run that has not trained yet, on digits."""

    def make(workdir, *settings, model="beta_vae", dataset="digits", side=32):
        config = configuration.build(
            model, dataset, settings=["latent_dim=2", *settings]
        )
        save_run(workdir, config, (side, side, 1))
        return workdir

    return make


def test_what_is_kept_out_of_a_grid_is_held_out(data, tmp_path, run_of_step_0):
    run = run_of_step_0(tmp_path, "evaluation_split=validation", dataset=data)
    found = evaluate.evaluate(run, names=("losses",))
    assert "held_out" in found and "training_images" not in found
    assert found["protocol"]["images"] == 6


def test_only_what_was_trained_on_is_seen(data, monkeypatch):
    monkeypatch.setattr(
        evaluate, "losses", lambda model, split, held_out: {"apart": held_out}
    )
    model = testing.tiny_model("autoencoder")
    whole = load(data)
    # As the hierarchies of 3D shapes, which train on a part of the grid.
    part = dataclasses.replace(whole, splits=held_out(whole.grid, 0.2))
    run = configuration.build("beta_vae", data)
    kept = dataclasses.replace(run, evaluation_split="validation")
    for config, dataset, suffix, apart in (
        (run, whole, "", False),
        (kept, whole, "", True),
        (run, part, "", True),
        # The suffix says that it is not the run's own.
        (run, whole, "-other", True),
    ):
        found = evaluate.evaluate_images(
            model, config, dataset, None, ("losses",), suffix
        )
        assert found == {"apart": apart}


def test_more_classes_than_a_model_has_are_refused(tmp_path, run_of_step_0):
    run = run_of_step_0(tmp_path, "num_classes=3", model="class_vae", side=28)
    with pytest.raises(InputError, match="model of 3 classes; .* has 10"):
        evaluate.evaluate(run)


def test_data_without_factors_give_losses_codes_and_judged_swaps(
    tmp_path, monkeypatch, run_of_step_0
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = run_of_step_0(tmp_path / "run", "judge_steps=2")
    text = evaluate.table(evaluate.evaluate(run))
    scores = stored(run)
    assert "disentanglement" not in scores
    assert scores["held_out"]["squared_error"] > 0
    assert scores["bounds"]["held_out"] is True
    assert "held-out loss" in text
    with np.load(run / "codes.npz") as kept:
        assert kept["codes"].shape[1] == 2 and "factors" not in kept.files
    assert set(scores["swaps"]["arrives"]) >= {"z[0]", "z[1]"}
    assert "judge on real images" in text
    # 1,797 digits are too few for an Inception score; that is said.
    assert "too few" in scores["samples"]["absent"]
    assert list((tmp_path / "cache").rglob("*.npz"))


def test_a_judge_has_seen_all_classes_of_test_images_or_none():
    images, factors = bars()
    first = ArraySplit(images[:30], labels=factors[:30, 0])
    assert evaluate.one_set_of_classes(Dataset("a", {"train": first}))
    for labels, one_set in (
        (factors[30:, 0], True),
        (np.full(30, 7), True),
        (np.where(np.arange(30) < 3, 7, factors[30:, 0]), False),
    ):
        test = ArraySplit(images[30:], labels=labels)
        found = evaluate.one_set_of_classes(
            Dataset("a", {"train": first, "test": test})
        )
        assert found is one_set


def test_only_what_was_asked_for_is_done(tmp_path, run_of_step_0):
    run = run_of_step_0(tmp_path)
    with pytest.raises(InputError, match="'digits' has no known factors"):
        evaluate.evaluate(run, names=("mig",))
    found = evaluate.evaluate(run, names=("losses", "mig"))
    assert "held_out" in found
    assert "'digits' has no known factors" in found["mig"]["absent"]
    assert not {"bounds", "alive", "swaps", "samples"} & set(found)
    found = evaluate.evaluate(run, quick=True)
    assert "held_out" in found and "bounds" not in found


def test_what_is_usual_and_does_not_exist_has_a_reason(data, tmp_path):
    dataset, model = load(data), testing.tiny_model("autoencoder")
    config = configuration.build("autoencoder", data)
    bounds = {"bounds": {"absent": "the model has no posterior"}}
    found = evaluate.evaluate_images(
        model, config, dataset, tmp_path, ("bounds",)
    )
    assert found == bounds
    with pytest.raises(InputError, match="bounds: the model has no post"):
        evaluate.check_asked(("bounds",), found)
    evaluate.check_asked(("losses", "bounds"), found | {"held_out": {}})
    # Usual ones only: many single units, no prior, no judge.
    many = types.SimpleNamespace(units=range(65), sample=None)
    found = evaluate.judged(many, config, dataset)
    assert set(found) == {"swaps", "samples"}
    assert "--metrics=swaps" in found["swaps"]["absent"]
    assert "no prior" in found["samples"]["absent"]
    assert set(evaluate.judged(many, config, dataset, ("samples",))) == {
        "samples"
    }
    unjudged = dataclasses.replace(config, judge_steps=0)
    lines = evaluate.table(bounds | evaluate.judged(many, unjudged, dataset))
    assert lines.splitlines() == [
        "absent: bounds (the model has no posterior)",
        "absent: swaps, samples (no judge: judge_steps is 0)",
    ]


def test_factors_of_one_value_are_left_out_by_name():
    images, factors = bars()
    names = ("width", "column", "row", "colour")
    split = ArraySplit(images, factors=np.pad(factors, ((0, 0), (0, 1))))
    dataset = Dataset(
        "bars",
        {"train": split},
        factor_names=names,
        factor_sizes=(*SIZES, 1),
    )
    encoder = encoders.Encoder(
        lambda batch: (tf.reduce_mean(batch["image"], 1)[:, ::8, 0], None),
        {"z": 4},
        (32, 32, 1),
        no_posterior="there is none",
    )
    found, _, _ = evaluate.score_encoder({"m": encoder}, dataset, ("mig",))
    protocol = found["disentanglement"]["protocol"]
    assert protocol["factors"] == ["width", "column", "row"]
    assert (
        "alive" not in found and "mig" in found["disentanglement"]["computed"]
    )
    assert "left out, of one value: colour" in evaluate.table(found)


class Means(tf.Module):
    """Where the light is: a row and a column, each from -1 to 1."""

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 1])])
    def encode(self, image):
        light = tf.reduce_sum(image, [1, 2, 3])[:, None]
        way = tf.linspace(-1.0, 1.0, 32)
        row = tf.reduce_sum(image[..., 0], 2) @ way[:, None] / light
        column = tf.reduce_sum(image[..., 0], 1) @ way[:, None] / light
        return {"place": tf.concat([row, column], 1)}


def test_any_saved_model_beside_pca(data, tmp_path):
    module = Means()
    tf.saved_model.save(module, str(tmp_path), {"encode": module.encode})
    scores, pictures = evaluate.score_saved_model(tmp_path, data)
    rows = scores["disentanglement"]["rows"]
    assert set(rows) == {str(tmp_path), "PCA"}
    matrix, codes, factors = pictures["information"]
    assert codes == ("place[0]", "place[1]")
    assert factors == ("width", "column", "row")
    assert matrix[0, 2] > 0.95 and matrix[0, 0] < 0.5
    absent = scores["disentanglement"]["absent"]
    assert "SavedModel" in absent["mutual_information"]
    with pytest.raises(InputError, match="no known factors"):
        evaluate.score_saved_model(tmp_path, "digits")


# ---- arrays from elsewhere ---------------------------------------------------


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.npz"


def test_rows_of_a_grid_may_come_in_any_order(path):
    _, factors = bars()
    # Values need not be dense.
    save(path, factors=factors * 7 - 3, codes=factors + 0.5)
    scores, _ = evaluate.score_codes(path)
    found = scores["disentanglement"]
    assert found["rows"]["x.npz"]["factor_vae_score"] > 0.99
    assert found["protocol"]["factors"] == ["v[0]", "v[1]", "v[2]"]
    assert "stddevs" in found["absent"]["mutual_information"]
    assert "stddevs" in scores["alive"]["absent"]
    save(path, factors=factors[1:], codes=factors[1:])
    found = evaluate.score_codes(path)[0]["disentanglement"]
    assert "complete factor grid" in found["absent"]["factor_vae_score"]
    assert found["rows"]["x.npz"]["mig"] > 0.9


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"codes": np.zeros((4, 2))}, "no array 'factors'"),
        ({"factors": np.zeros((4, 2), int)}, "no array 'codes'"),
        (
            {"factors": np.eye(4, dtype=int), "codes": np.eye(3)},
            "equally many rows",
        ),
        (
            {"factors": np.eye(3, dtype=int), "codes": np.eye(3) * np.nan},
            "codes must be finite",
        ),
        (
            {"factors": np.eye(3), "codes": np.eye(3), "stddevs": -np.eye(3)},
            "stddevs must be positive",
        ),
        ({"factors": np.eye(3) / 2, "codes": np.eye(3)}, "hold integers"),
        (
            {"factors": np.ones((3, 1), int), "codes": np.eye(3)},
            "factors must vary",
        ),
        ({"factors": np.eye(1, 2, dtype=int), "codes": np.eye(1)}, "2 rows"),
        (
            {
                "factors": np.eye(3, dtype=int),
                "codes": np.eye(3),
                "factor_names": np.array(["a"]),
            },
            "factor_names must be 3 names",
        ),
    ],
)
def test_arrays_that_cannot_be_scored_are_one_line(arrays, message, path):
    save(path, **arrays)
    with pytest.raises(InputError, match=message) as error:
        evaluate.score_codes(path)
    assert "\n" not in str(error.value)


def flags(**values):
    defaults = dict.fromkeys(
        ("run", "model", "codes", "dataset", "output", "data_dir")
    )
    given = {"metrics": [], "pixel_range": ["0", "1"]} | values
    return types.SimpleNamespace(**defaults | given)


def test_output_keeps_numbers_and_pictures(path, tmp_path, capsys):
    _, factors = bars()
    save(path, factors=factors, codes=factors)
    names = ["mig", "modularity"]
    evaluate.main(flags(codes=str(path), metrics=names))
    assert "--output=DIRECTORY keeps" in capsys.readouterr().out
    output = tmp_path / "kept"
    evaluate.main(flags(codes=str(path), metrics=names, output=str(output)))
    scores = stored(output)
    assert scores["source"] == str(path) and "numpy" in scores["versions"]
    assert (output / "images/information.png").exists()
    # Scores of other codes, asked for later, stand alone.
    save(path, factors=factors, codes=factors[::-1])
    evaluate.main(
        flags(codes=str(path), metrics=["mig_sup"], output=str(output))
    )
    row = stored(output)["disentanglement"]["rows"]["x.npz"]
    assert set(row) == {"mig_sup"}


def test_scores_from_elsewhere_do_not_replace_those_of_a_run(path, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is a run"):
        evaluate.main(flags(codes=str(path), output=str(tmp_path)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needed; given: none"),
        ({"run": "a", "codes": "b"}, "given: --run, --codes"),
        ({"run": "a", "metrics": ["mgi"]}, "Did you mean 'mig'"),
        ({"codes": "a", "metrics": ["losses"]}, "unknown"),
        ({"run": "a", "dataset": "sprite"}, "Did you mean 'sprites'"),
        ({"run": "nowhere"}, "no run directory"),
        ({"codes": "nowhere.npz"}, "no file"),
        ({"codes": "a.npz", "dataset": "sprites"}, "leave --dataset out"),
        ({"model": "nowhere"}, "needs --dataset"),
        ({"model": "nowhere", "dataset": "sprites"}, "no SavedModel"),
        (
            {"model": "a", "dataset": "sprites", "pixel_range": ["0"]},
            "expected two numbers",
        ),
    ],
)
def test_bad_flags_are_one_line(values, message):
    with pytest.raises(InputError, match=message) as error:
        evaluate.main(flags(**values))
    assert "\n" not in str(error.value)


def test_what_exists_for_nothing_is_an_error(path):
    _, factors = bars()
    save(path, factors=factors, codes=factors)
    with pytest.raises(InputError, match="mig_aggregate: .*stddevs"):
        evaluate.main(flags(codes=str(path), metrics=["mig_aggregate"]))


def test_scores_of_samples_stand_beside_those_of_real_images():
    def reading(score, distance):
        return {
            "judge": "in-domain classifier of x",
            "images": [10_000, 10_000],
            "in_domain_inception_score": {"label": {"mean": score, "std": 0.1}},
            "in_domain_frechet_distance": distance,
        }

    found = reading(3.0, 42.0) | {"training_images": reading(7.5, 0.3)}
    text = evaluate.table({"samples": found})
    assert "in_domain_inception_score: label 3.00 +- 0.10 (7.50)" in text
    assert "in_domain_frechet_distance: 42.00 (0.30)" in text
    assert "in-domain classifier of x" in text


def test_metrics_are_merged(tmp_path):
    evaluate.add_metrics(tmp_path, {"a": 1})
    evaluate.add_metrics(tmp_path, {"b": {"c": 2}})
    assert stored(tmp_path) == {"a": 1, "b": {"c": 2}}


def test_scores_of_another_step_go(tmp_path):
    old = {"step": 1000, "swaps": 1, "training_seconds": 9.0}
    evaluate.add_metrics(tmp_path, old | {"peak_memory_bytes": 7})
    evaluate.add_metrics(tmp_path, {"step": 2000, "mig": 0.5})
    # So nobody takes the run for finished at step 2,000.
    assert stored(tmp_path) == {
        "peak_memory_bytes": 7,
        "step": 2000,
        "mig": 0.5,
    }
    evaluate.add_metrics(tmp_path, {"training_seconds": 10.0})
    assert stored(tmp_path)["mig"] == 0.5


def test_judges_leave_the_test_images_alone_where_settings_are_chosen():
    images = np.zeros((40, 32, 32, 1), np.uint8)
    images[:30] = 255
    dataset = Dataset(
        "halves",
        {
            "train": ArraySplit(images[:30], np.arange(30) % 3),
            "test": ArraySplit(images[30:], np.arange(10) % 3),
        },
        num_classes=3,
    )
    model = testing.tiny_model("beta_vae")
    config = configuration.build("beta_vae", "digits")
    assert evaluate.judged_on(model, config, dataset) is dataset
    config = dataclasses.replace(config, evaluation_split="validation")
    splits = evaluate.judged_on(model, config, dataset).splits
    assert {name: len(s) for name, s in splits.items()} == {
        "train": 27,
        "test": 3,
    }
    for split in splits.values():
        assert split.take(np.arange(len(split)))["image"].min() == 255


def test_versions_name_what_scores_depend_on():
    assert {"numpy", "scikit-learn", "scipy"} <= set(rundir.versions())
