"""The training loop: exact resume, damaged state, losses that blow up."""

import dataclasses
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent import data
from tfdisent import testing
from tfdisent.models.autoencoder import Autoencoder
from trainers import config as configuration
from trainers import rundir
from trainers import train

ROOT = pathlib.Path(__file__).parents[2]
TINY = [
    "filters=4,4",
    "hidden=8",
    "latent_dim=6",
    "batch_size=8",
    "log_every=2",
    "checkpoint_every=2",
    # Noise has to follow the step for a resumed run to be exact.
    "code_noise=0.1",
    "input_noise=0.1",
]


def tiny(steps, *settings, model="autoencoder"):
    return configuration.build(
        model, "digits", settings=[*TINY, f"steps={steps}", *settings]
    )


def fit_tiny(config, workdir, dataset):
    return train.train_images(
        config, workdir, dataset, tf.distribute.get_strategy()
    )[0]


def weights(model):
    kept = list(model.variables)
    for optimizer in model.optimizer_of.values():
        kept += optimizer.variables
    return [v.numpy() for v in kept]


def assert_same_weights(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.mark.parametrize(
    ("settings", "size"), [([], 1437), (["data_size=7"], 7)]
)
def test_the_configuration_learns_how_many_images_there_are(settings, size):
    """N of beta-TCVAE's loss: the training split's, unless it is set."""
    dataset = data.load("digits")
    train_split = dataset.splits["train"]
    assert len(train_split) == 1437
    config = configuration.build("beta_tcvae", "digits", settings=settings)
    counted = train.counted(config, dataset, train_split)
    assert counted.data_size == size


def test_what_a_kill_interrupted_is_drawn_by_the_next_sitting(tmp_path, digits):
    seen = []

    def draw(step):
        seen.append(step)
        if seen == [2, 4]:
            raise KeyboardInterrupt

    def sitting():
        train.train_images(
            tiny(6),
            tmp_path,
            digits,
            tf.distribute.get_strategy(),
            lambda model: [(2, draw)],
        )

    with pytest.raises(KeyboardInterrupt):
        sitting()
    sitting()
    assert seen == [2, 4, 4, 6]


def test_a_resumed_run_ends_with_the_same_weights(tmp_path, digits, capsys):
    whole = fit_tiny(tiny(6), tmp_path / "whole", digits)
    # --steps says where to stop, not what the run is.
    stopped = fit_tiny(tiny(3, "schedule_steps=6"), tmp_path / "parts", digits)
    assert int(stopped.step) == 3
    capsys.readouterr()
    resumed = fit_tiny(tiny(6), tmp_path / "parts", digits)
    assert int(resumed.step) == 6
    assert "going on from step 3 of 6" in capsys.readouterr().out
    assert_same_weights(weights(whole), weights(resumed))
    loaded = rundir.load_model(tmp_path / "parts")
    assert "so far" not in capsys.readouterr().out
    images = np.random.default_rng(0).random((4, 32, 32, 1), np.float32)
    np.testing.assert_array_equal(
        loaded.encode(images)["z"], resumed.encode(images)["z"]
    )


def test_a_run_that_is_not_at_its_end_says_so(tmp_path, digits, capsys):
    config = tiny(2)
    fit_tiny(config, tmp_path, digits)
    rundir.claim(
        tmp_path, dataclasses.replace(config, steps=2_000), (32, 32, 1)
    )
    capsys.readouterr()
    rundir.load_model(tmp_path)
    assert (
        capsys.readouterr().out == f"{tmp_path} is at step 2 of 2,000 so far.\n"
    )


# Every model of images that is not the autoencoder, small; some in two forms.
FAMILY = {
    "beta_vae": [],
    "factor_vae": ["critic_width=8"],
    "beta_tcvae": [],
    "vlae": [],
    # The runs below stop within the last stage, while it fades in.
    "pro_vlae": ["fade_steps=3"],
    "pro_vlae norm=batch": [],
    "jacobian_vae": ["students=1"],
    "cascade_vae": ["base=factor_vae", "critic_width=8"],
    "cascade_infogan": [
        "filters=4,4",
        "hidden=8",
        "noise_dim=3",
        "latent_dim=4",
        "critic_width=8",
    ],
}


@pytest.mark.parametrize("form", FAMILY)
def test_every_model_resumes_exactly(form, tmp_path, digits):
    """Weights and the optimizers of rivals, too."""
    name, *form_settings = form.split()

    def fit(steps, directory, *settings):
        config = configuration.build(
            name,
            "digits",
            settings=[
                "batch_size=4",
                "log_every=2",
                "checkpoint_every=2",
                f"steps={steps}",
                *form_settings,
                *FAMILY[form],
                *settings,
            ],
        )
        trained = fit_tiny(config, tmp_path / directory, digits)
        state = [*trained.variables]
        for optimizer in trained.optimizer_of.values():
            state += optimizer.variables
        return [v.numpy() for v in state]

    whole = fit(4, "whole")
    stopped = fit(3, "parts", "schedule_steps=4")
    assert not all(map(np.array_equal, stopped[1:], whole[1:]))
    assert_same_weights(whole, fit(4, "parts"))


@pytest.mark.parametrize("name", ["pro_vlae", "jacobian_vae"])
def test_the_loop_is_traced_once_over_all_stages(name):
    model = testing.tiny_model(name, schedule_steps=6)
    model.compile()
    run = train.multi_step(model, tf.distribute.get_strategy())
    batch = testing.random_batch(model, 2)
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    stages = []
    for count in (1, 3, 2):
        assert int(run(iterator, tf.constant(count, tf.int64))) == count
        stages.append(int(model.stages.at(model.step.value - 1)))
    assert len(set(stages)) == model.stages.count
    assert run.experimental_get_tracing_count() == 1


def test_seeds_repeat_and_differ(tmp_path, digits):
    runs = [
        weights(fit_tiny(tiny(2, f"seed={seed}"), tmp_path / name, digits))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert_same_weights(runs[0], runs[1])
    assert not np.array_equal(runs[0][1], runs[2][1])


COMMAND = [
    sys.executable,
    "-m",
    "trainers.run",
    "--model=autoencoder",
    "--dataset=digits",
    "--steps=40",
    # The judge of the digits is trained elsewhere.
    "--set=judge_steps=0",
    *[f"--set={s}" for s in TINY],
    "--set=image_every=0",
]


def run_command(workdir, **options):
    return subprocess.Popen(
        [*COMMAND, f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    whole = run_command(tmp_path / "whole")
    output, _ = whole.communicate()
    assert whole.returncode == 0, output
    killed = run_command(tmp_path / "killed")
    # A random moment after the first checkpoint; the seed is the clock's, the
    # result must not depend on it.
    moment = random.randint(3, 30)
    deadline = time.monotonic() + 120
    for line in killed.stdout:
        assert time.monotonic() < deadline
        if line.startswith("step") and step_of(line) >= moment:
            break
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    resumed = run_command(tmp_path / "killed")
    output, _ = resumed.communicate()
    assert resumed.returncode == 0, output
    assert first_step(output) > 2
    first, second = (
        weights_on_disk(tmp_path / name) for name in ("whole", "killed")
    )
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def step_of(line):
    return int(line.split()[1].split("/")[0].replace(",", ""))


def first_step(output):
    return next(
        step_of(line) for line in output.splitlines() if line[:5] == "step "
    )


def weights_on_disk(run):
    path = tf.train.latest_checkpoint(str(run / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("seconds", "save_counter", "_CHECKPOINTABLE"))
    }


def test_a_finished_run_does_not_train_again(tmp_path, digits):
    first = fit_tiny(tiny(2), tmp_path, digits)
    again = fit_tiny(tiny(2), tmp_path, digits)
    assert_same_weights(weights(first), weights(again))


def test_a_directory_of_another_run_is_refused(tmp_path, digits):
    fit_tiny(tiny(2), tmp_path, digits)
    with pytest.raises(InputError, match="latent_dim 6 there, 7 asked for"):
        fit_tiny(tiny(2, "latent_dim=7"), tmp_path, digits)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path, digits, capsys
):
    whole = fit_tiny(tiny(6), tmp_path / "whole", digits)
    fit_tiny(tiny(4, "schedule_steps=6"), tmp_path / "run", digits)
    newest = tmp_path / "run/checkpoints/ckpt-4.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:100])
    resumed = fit_tiny(tiny(6), tmp_path / "run", digits)
    assert "ckpt-4 is damaged" in capsys.readouterr().out
    assert_same_weights(weights(whole), weights(resumed))


def test_only_damaged_checkpoints_are_said_to_be_so(tmp_path, digits):
    fit_tiny(tiny(4), tmp_path, digits)
    for path in (tmp_path / "checkpoints").glob("*.data*"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="No checkpoint .* can be read"):
        fit_tiny(tiny(6, "schedule_steps=4"), tmp_path, digits)
    with pytest.raises(InputError, match="no readable checkpoint"):
        rundir.load_model(tmp_path)


def test_a_loss_that_becomes_nan_names_its_step(tmp_path, digits):
    fit_tiny(tiny(2, "schedule_steps=9"), tmp_path, digits)
    images = digits.splits["train"].take(np.arange(100))["image"].copy()
    images[:] = np.nan
    broken = dataclasses.replace(
        digits, splits={"train": data.ArraySplit(images)}
    )
    with pytest.raises(InputError, match="at step 3.*ckpt-2") as caught:
        fit_tiny(tiny(9), tmp_path, broken)
    assert "\n" not in str(caught.value)
    kept = rundir.load_model(tmp_path)
    assert int(kept.step) == 2
    assert np.all(np.isfinite(kept.variables[1].numpy()))


def test_weights_that_are_not_numbers_are_not_kept(
    tmp_path, digits, monkeypatch
):
    """The loss of a step is of the weights before it."""
    plain = Autoencoder.update

    def update(self, batch):
        scalars = plain(self, batch)
        kernel = self.trainable_variables[0]
        last = tf.equal(self.step.value, 3)
        kernel.assign(tf.where(last, np.inf, kernel.value))
        return scalars

    monkeypatch.setattr(Autoencoder, "update", update)
    with pytest.raises(InputError, match="weights became .* step 4.*ckpt-2"):
        fit_tiny(tiny(6), tmp_path, digits)
    assert int(rundir.load_model(tmp_path).step) == 2


def test_models_are_built_at_a_size_they_take():
    from tfdisent import models

    ali = models.get("ali")
    assert train.model_shape(ali, (28, 28, 1)) == (32, 32, 1)
    assert train.model_shape(ali, (64, 64, 3)) == (64, 64, 3)
    assert train.model_shape(ali, (105, 105, 1)) == (64, 64, 1)


def test_validation_classes_leave_the_training_set(digits):
    config = configuration.build("fden", "digits")
    fit, test = train.few_shot_splits(config, digits)
    assert set(fit.labels) == {0, 1, 2, 3, 4}
    assert set(test.labels) == {5, 6, 7, 8, 9}
    config = dataclasses.replace(config, evaluation_split="validation")
    fit, test = train.few_shot_splits(config, digits)
    assert set(fit.labels) == {0, 1, 2}
    assert set(test.labels) == {3, 4}


def test_a_data_set_without_classes_has_no_episodes():
    config = configuration.build("fden", "sprites")
    with pytest.raises(InputError, match="no classes to draw episodes from"):
        train.few_shot_splits(config, data.load("sprites"))


def test_the_cache_survives_a_damaged_file(tmp_path):
    cache = train.Cache(tmp_path)
    expected = np.arange(6.0)
    np.testing.assert_array_equal(cache.get("x", lambda: expected), expected)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY damaged")
    np.testing.assert_array_equal(cache.get("x", lambda: expected), expected)


def test_a_full_disk_leaves_no_half_array(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train.np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train.Cache(tmp_path).get("x", lambda: np.zeros(6))
    assert not list(tmp_path.iterdir())


def test_the_cache_forgets_images_that_came_or_went(tmp_path):
    cache = train.Cache(tmp_path)
    cache.get("x", lambda: np.zeros(6), rows=6)
    more = cache.get("x", lambda: np.ones(7), rows=7)
    np.testing.assert_array_equal(more, np.ones(7))
    kept = cache.get("x", lambda: np.zeros(7), rows=7)
    np.testing.assert_array_equal(kept, np.ones(7))


def test_progress_says_rate_and_time_left():
    lines = []
    progress = train.Progress(100, 8, write=lines.append)
    progress(10, {"loss": 1.0})
    progress(20, {"loss": 0.5})
    assert lines[0] == "step 10/100  loss 1"
    assert "steps/s" in lines[1]
    assert "left" in lines[1]
    assert lines[1].endswith("loss 0.5")


def test_a_run_says_what_it_trains_on(digits):
    train_split, test = digits.splits["train"], digits.splits["test"]
    told = train.described(digits, train_split, test, (32, 32, 1))
    assert told == (
        "digits: 1,437 images to train on, 360 held out, 10 classes, 8x8x1, "
        "fitted to the model's 32x32x1"
    )
    bare = dataclasses.replace(digits, num_classes=None)
    told = train.described(bare, train_split, None, (8, 8, 1))
    assert told == "digits: 1,437 images to train on, 8x8x1"


def test_validation_images_leave_the_training_set(digits):
    config = tiny(1, "evaluation_split=validation")
    fitted, scored = train.training_splits(config, digits, frozenset())
    whole = digits.splits["train"]
    assert len(scored) == round(len(whole) / 10)
    assert len(fitted) + len(scored) == len(whole)
    assert not set(fitted.indices) & set(scored.indices)
    _, test = train.training_splits(tiny(1), digits, frozenset())
    assert test is digits.splits["test"]


def test_a_model_of_labels_wants_labels(digits):
    config = configuration.build("class_vae", "sprites")
    bare = dataclasses.replace(digits, num_classes=None)
    with pytest.raises(InputError, match="'digits' has no labels"):
        train.training_splits(config, bare, frozenset({"label"}))


def test_a_counter_says_rate_and_time_left(capsys, monkeypatch):
    now = iter([0.0, 4.0, 12.0, 14.0])
    monkeypatch.setattr(train.time, "perf_counter", lambda: next(now))
    report = train.counter("encoding")
    report(40, 140)
    report(120, 140)
    report(140, 140)
    assert capsys.readouterr().out.splitlines() == [
        "encoding: 120/140  10 images/s  2 s left",
        "encoding: 140/140  10 images/s  0 s left",
    ]
