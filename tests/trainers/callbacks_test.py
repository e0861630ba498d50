import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdisent import data
from tfdisent import testing
from trainers import callbacks


def split(labels=True, classes=6, each=10):
    rng = np.random.default_rng(0)
    images = rng.random((classes * each, 32, 32, 1), np.float32)
    numbers = np.repeat(np.arange(classes), each) if labels else None
    return data.ArraySplit(images, numbers)


def tags(logs):
    found = set()
    for path in logs.glob("*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found |= {value.tag for value in event.summary.value}
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("autoencoder", {"reconstructions", "traversal"}),
        ("beta_vae", {"reconstructions", "traversal", "samples"}),
        (
            "fden",
            {"reconstructions", "traversal", "swaps", "translation", "tsne"},
        ),
    ],
)
def test_pictures_follow_from_the_contract(name, expected, tmp_path):
    model = testing.tiny_model(name)
    event = callbacks.picture_events(model, split(), tmp_path)
    writer = tf.summary.create_file_writer(str(tmp_path / "logs"))
    with writer.as_default(step=3):
        event(3)
    writer.close()
    files = {p.name for p in (tmp_path / "images").iterdir()}
    assert files == {
        f"{n}{end}" for n in expected for end in (".png", "-3.png")
    }
    assert tags(tmp_path / "logs") == expected


def test_without_labels_there_is_no_map_of_classes(tmp_path):
    shown = callbacks.Shown(testing.tiny_model("fden"), split(labels=False))
    names = [name for name, _ in shown.pictures()]
    assert "tsne" not in names
    assert "translation" in names


def test_the_same_weights_give_the_same_pictures():
    model = testing.tiny_model("beta_vae")
    first, second = (
        dict(callbacks.Shown(model, split()).pictures()) for _ in range(2)
    )
    for name, picture in first.items():
        np.testing.assert_array_equal(picture, second[name], err_msg=name)


def test_the_png_is_the_picture(tmp_path):
    picture = np.random.default_rng(0).integers(
        0, 256, (8, 9, 3), dtype=np.uint8
    )
    callbacks.write_picture(tmp_path, "noise", 7, picture)
    for name in ("noise.png", "noise-7.png"):
        content = (tmp_path / "images" / name).read_bytes()
        np.testing.assert_array_equal(
            np.asarray(Image.open(io.BytesIO(content))), picture
        )


def test_few_images_are_enough(tmp_path):
    tiny = split(classes=2, each=3)
    names = dict(callbacks.Shown(testing.tiny_model("fden"), tiny).pictures())
    assert "translation" in names
