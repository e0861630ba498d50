import numpy as np
import pytest

from tfdisent import data
from tfdisent.data import omniglot
from tfdisent.data import tfds


@pytest.fixture(scope="module")
def dataset(tfds_dir):
    return data.load("omniglot", data_dir=str(tfds_dir))


def classes(split):
    return set(split.labels.tolist())


def test_classes_of_the_paper(dataset):
    few_shot = dataset.few_shot
    assert classes(few_shot["train"]) == set(range(4800))
    assert classes(few_shot["test"]) == set(range(4800, 6492))
    assert len(classes(few_shot["validation"])) == 688
    assert classes(few_shot["validation"]) < classes(few_shot["train"])
    for split in few_shot.values():
        assert set(np.unique(split.labels, return_counts=True)[1]) == {20}


def test_validation_is_vinyals_alphabets(dataset):
    numbers = classes(dataset.few_shot["validation"])
    alphabets = {dataset.class_names[n].rpartition("_")[0] for n in numbers}
    assert alphabets == set(omniglot.VALIDATION_ALPHABETS)


def test_class_names(dataset):
    names = dataset.class_names
    assert len(names) == len(set(names)) == dataset.num_classes == 6492
    assert [n.partition("@")[2] for n in names[:4]] == ["0", "90", "180", "270"]
    assert len({n.partition("@")[0] for n in names[:4]}) == 1


def test_ink_is_one(dataset):
    images = dataset.splits["test"].take(np.arange(2000))["image"]
    assert images.shape == (2000, 32, 32, 1) and images.dtype == np.uint8
    assert 0.05 < images.mean() / 255 < 0.2
    assert (images.max(axis=(1, 2, 3)) > 200).all()
    assert np.median(images[:, 0, 0]) == 0


def test_rotations_are_quarter_turns(dataset):
    split = dataset.splits["train"]
    chosen = np.random.default_rng(0).integers(0, len(split) // 4, 50) * 4
    batches = [split.take(chosen + turn) for turn in range(4)]
    for turn, batch in enumerate(batches):
        np.testing.assert_array_equal(
            batch["label"], batches[0]["label"] + turn
        )
        np.testing.assert_array_equal(
            batch["image"],
            np.rot90(batches[0]["image"], turn, axes=(1, 2)),
        )


def test_resize_is_tensorflows_lanczos(tfds_dir):
    import tensorflow as tf

    found = tfds.builder("omniglot", str(tfds_dir))
    raw, _ = tfds.read(found, "train[:200]")
    assert raw.shape == (200, 105, 105, 3)
    expected = tf.image.resize(raw, (32, 32), "lanczos3", antialias=True)
    expected = np.rint(np.clip(expected, 0, 255))
    ours = tfds.resize_all(105, 32)(raw)
    assert abs(ours - expected).max() <= 1
    assert (ours != expected).mean() < 1e-4
