import numpy as np

from tfdisent import data


def test_digits():
    dataset = data.load("digits")
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.num_classes == 10 and dataset.class_names[7] == "7"
    sizes = {n: len(s) for n, s in dataset.splits.items()}
    assert sizes == {"train": 1437, "test": 360}
    images = dataset.splits["train"].take(np.arange(1437))["image"]
    assert images.dtype == np.float32
    np.testing.assert_array_equal(np.unique(images), np.arange(17) / 16)


def test_unseen_classes_are_unseen():
    few_shot = data.load("digits").few_shot
    classes = {n: sorted(set(s.labels.tolist())) for n, s in few_shot.items()}
    assert classes == {
        "train": [0, 1, 2, 3, 4],
        "validation": [3, 4],
        "test": [5, 6, 7, 8, 9],
    }
    assert sum(len(few_shot[n]) for n in ("train", "test")) == 1797
