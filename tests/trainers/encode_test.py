import numpy as np
import pytest
from PIL import Image

from tfdisent import InputError
from tfdisent import data
from trainers import config as configuration
from trainers import encode
from trainers import rundir
from trainers import train

SETTINGS = [
    "filters=4,4",
    "hidden=8",
    "latent_dim=6",
    "batch_size=8",
    "steps=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("run")
    config = configuration.build("autoencoder", "digits", settings=SETTINGS)
    strategy = tf.distribute.get_strategy()
    train.train_images(config, directory, data.load("digits"), strategy)
    return directory


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("b/2.png", "a/1.png", "a/0.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def test_codes_names_and_labels_of_a_folder(run, folder, tmp_path, monkeypatch):
    # Smaller than the folder, so that arrays really grow.
    monkeypatch.setattr(encode, "BATCH", 2)
    lines = []
    output = tmp_path / "out" / "codes.npz"
    assert encode.encode(run, folder, output, lines.append) == 3
    stored = np.load(output)
    assert set(stored.files) == {"z", "name", "label"}
    assert list(stored["name"]) == ["a/0.png", "a/1.png", "b/2.png"]
    assert list(stored["label"]) == [0, 0, 1]
    split, _, _ = encode.open_source(folder, (32, 32, 1))
    images = split.take(np.arange(3))["image"] / np.float32(255)
    expected = rundir.load_model(run).encode(images)["z"]
    np.testing.assert_allclose(stored["z"], expected, atol=1e-5)
    assert "3/3 images" in lines[-1]


def test_arrays(run, tmp_path):
    images = np.random.default_rng(0).random((5, 32, 32, 1), np.float32)
    np.savez(tmp_path / "in.npz", images=images)
    encode.encode(run, tmp_path / "in.npz", tmp_path / "codes.npz", str)
    stored = np.load(tmp_path / "codes.npz")
    assert stored["z"].shape == (5, 6)
    assert list(stored["label"]) == [-1] * 5


def test_nothing_is_left_behind_by_an_error(run, folder, tmp_path):
    (folder / "a" / "2.png").write_bytes(b"no image")
    output = tmp_path / "out" / "codes.npz"
    with pytest.raises(InputError, match="2.png"):
        encode.encode(run, folder, output, str)
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_an_output_that_is_a_folder_is_refused_at_once(run, folder, tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file"):
        encode.encode(run, folder, tmp_path, str)


def test_a_run_without_parts(folder, tmp_path, save_run):
    rival = "tfdisent.models.few_shot:MatchingNetwork"
    config = configuration.build(rival, "digits", settings=["filters=4"])
    save_run(tmp_path / "rival", config, (8, 8, 1))
    with pytest.raises(InputError, match="a MatchingNetwork, which has no"):
        encode.encode(tmp_path / "rival", folder, tmp_path / "codes.npz")


def test_a_folder_without_a_run(folder, tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        encode.encode(tmp_path, folder, tmp_path / "codes.npz")


@pytest.fixture(scope="module")
def labelled_run(tmp_path_factory):
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("labelled")
    config = configuration.build(
        "cvae", "digits", settings=["steps=1", "latent_dim=3", "batch_size=8"]
    )
    strategy = tf.distribute.get_strategy()
    train.train_images(config, directory, data.load("digits"), strategy)
    return directory


def test_labels_go_in_and_come_out(labelled_run, tmp_path):
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    labels = np.array([9, 0, 4])
    np.savez(tmp_path / "in.npz", images=images, labels=labels)
    encode.encode(labelled_run, tmp_path / "in.npz", tmp_path / "out.npz")
    stored = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(stored["label"], labels)
    expected = rundir.load_model(labelled_run).encode(images, labels)
    np.testing.assert_allclose(stored["z"], expected["z"], atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [({}, "has none"), ({"labels": [0, 10, 3]}, "labels from 0 to 10")],
)
def test_labels_that_do_not_fit(labelled_run, tmp_path, labels, message):
    images = np.zeros((3, 28, 28, 1), np.float32)
    np.savez(tmp_path / "in.npz", images=images, **labels)
    with pytest.raises(InputError, match=message) as error:
        encode.encode(labelled_run, tmp_path / "in.npz", tmp_path / "out.npz")
    assert "\n" not in str(error.value)


def test_a_folder_needs_every_class_or_numbers_would_shift(
    labelled_run, folder, tmp_path
):
    with pytest.raises(InputError, match="trained on 10 classes"):
        encode.encode(labelled_run, folder, tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("labels", "numbered", "message"),
    [
        ([0, 1], True, "3 classes, and 'x.npz' has 2: their numbers would be"),
        ([0, 3], False, "labels 0 to 2; 'x.npz' has labels from 0 to 3"),
        ([-1, 2], False, "'x.npz' has labels from -1 to 2"),
    ],
)
def test_labels_of_other_classes_are_refused(labels, numbered, message):
    encode.check_labels(np.array([2, 0, 1]), 3, "x.npz", numbered)
    encode.check_labels(np.array([2]), 3, "x.npz", numbered=False)
    with pytest.raises(InputError, match=message):
        encode.check_labels(np.array(labels), 3, "x.npz", numbered)


def test_labels_of_an_npz_stay_and_words_are_numbered(tmp_path):
    images = np.zeros((3, 4, 4, 1), np.float32)
    for labels, expected, words in (
        ([7, 2, 7], [7, 2, 7], False),
        (["b", "a", "b"], [1, 0, 1], True),
    ):
        np.savez(tmp_path / "in.npz", images=images, labels=labels)
        found = encode.open_source(tmp_path / "in.npz", (4, 4, 1))
        split, names, numbered = found
        assert list(split.labels) == expected
        assert names == ["0", "1", "2"]
        assert numbered == words
