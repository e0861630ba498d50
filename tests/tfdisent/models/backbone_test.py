import numpy as np
import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent import testing
from tfdisent.models.backbone import SavedModelBackbone
from tfdisent.models.fden import FDEN

IMAGE = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")


class Foreign(tf.Module):
    """Somebody else's encoder and decoder: two codes out of 64 pixels."""

    def __init__(self):
        rng = np.random.default_rng(0)
        basis, _ = np.linalg.qr(rng.normal(size=(64, 64)))
        self.basis = tf.Variable(basis, dtype=tf.float32)

    def codes(self, pixels):
        flat = tf.reshape(pixels, [-1, 64]) @ self.basis
        return {"b": flat[:, :10], "a": flat[:, 10:]}

    def image(self, a, b):
        pixels = tf.concat([b, a], axis=1) @ tf.transpose(self.basis)
        return {"pixels": tf.reshape(pixels, [-1, 8, 8, 1])}


def codes_spec(**sizes):
    return [
        tf.TensorSpec([None, size], tf.float32, name=name)
        for name, size in sizes.items()
    ]


def save(path, **changes):
    """A SavedModel with `Foreign`'s signatures, replaced or left out."""
    module = Foreign()
    verbs = {
        "encode": (module.codes, IMAGE),
        "decode": (module.image, *codes_spec(a=54, b=10)),
    } | changes
    signatures = {
        name: tf.function(verb[0]).get_concrete_function(*verb[1:])
        for name, verb in verbs.items()
        if verb
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return save(tmp_path_factory.mktemp("foreign"))


def test_what_it_found(foreign):
    backbone = SavedModelBackbone(foreign)
    assert backbone.image_shape == (8, 8, 1)
    # A SavedModel's outputs come in alphabetical order.
    assert list(backbone.parts.items()) == [("a", (54,)), ("b", (10,))]
    images = testing.random_images((8, 8, 1))
    parts = backbone.encode(images)
    assert parts["b"].shape == (4, 10)
    np.testing.assert_allclose(backbone.decode(**parts), images, atol=1e-5)


def test_its_own_pixel_range(foreign):
    backbone = SavedModelBackbone(foreign, value_range=(-1, 1))
    plain = SavedModelBackbone(foreign)
    images = testing.random_images((8, 8, 1))
    parts = backbone.encode(images)
    np.testing.assert_allclose(
        parts["a"], plain.encode(2 * images - 1)["a"], atol=1e-5
    )
    np.testing.assert_allclose(backbone.decode(**parts), images, atol=1e-5)


def test_fden_trains_on_it_and_leaves_it_alone(foreign):
    backbone = SavedModelBackbone(foreign)
    model = FDEN(backbone)
    before = backbone.loaded.basis.numpy()
    testing.check_model(model)
    np.testing.assert_array_equal(before, backbone.loaded.basis.numpy())
    with pytest.raises(ValueError, match="no .keras form"):
        model.get_config()


def test_other_precisions_are_converted(tmp_path):
    def encode(image):
        return {"z": tf.reshape(image, [-1, 64])}

    def decode(z):
        pixels = tf.reshape(255 * z, [-1, 8, 8, 1])
        return {"image": tf.cast(tf.round(pixels), tf.uint8)}

    double = tf.TensorSpec([None, 8, 8, 1], tf.float64, name="image")
    codes = tf.TensorSpec([None, 64], tf.float64, name="z")
    save(tmp_path, encode=(encode, double), decode=(decode, codes))
    backbone = SavedModelBackbone(tmp_path)
    images = testing.random_images((8, 8, 1))
    parts = backbone.encode(images)
    assert parts["z"].dtype == tf.float32
    # Its pixels come as 0 to 255 and are held to the range that was named.
    np.testing.assert_array_equal(backbone.decode(**parts), 1.0)
    backbone = SavedModelBackbone(tmp_path, value_range=(0, 255))
    parts = {"z": backbone.encode(images)["z"] / 255}
    np.testing.assert_allclose(backbone.decode(**parts), images, atol=3e-3)


@pytest.mark.parametrize("lost", ["saved_model.pb", "variables"])
def test_a_damaged_saved_model_is_named(tmp_path, lost):
    save(tmp_path)
    for path in (tmp_path / lost, *(tmp_path / lost).glob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be loaded") as error:
        SavedModelBackbone(tmp_path)
    assert "\n" not in str(error.value)


def second_image():
    return (
        lambda image, label: {"z": tf.reshape(image, [-1, 64])},
        IMAGE,
        tf.TensorSpec([None], tf.int32, name="label"),
    )


def maps():
    return lambda image: {"z": image[..., 0]}, IMAGE


def to_pixels(side):
    return (
        lambda z: {"image": tf.zeros([tf.shape(z)[0], side, side, 1])},
        *codes_spec(z=64),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encode": None}, r"no signature 'encode' \(it has: decode\)"),
        ({"decode": None}, r"no signature 'decode' \(it has: encode\)"),
        (
            {"encode": second_image()},
            "exactly one image, it takes image, label",
        ),
        (
            {
                "encode": maps(),
                "decode": (
                    lambda z: {"image": z[..., None]},
                    tf.TensorSpec([None, 8, 8], tf.float32, name="z"),
                ),
            },
            r"float numbers \[B, n\], it is float32 \(None, 8, 8\)",
        ),
        (
            {"decode": to_pixels(8)},
            "encode gives a, b but decode takes z",
        ),
        (
            {
                "encode": (
                    lambda image: {"z": tf.reshape(image, [-1, 64])},
                    IMAGE,
                ),
                "decode": to_pixels(16),
            },
            r"images of \(8, 8, 1\), decode gives \(.*, 16, 16, 1\)",
        ),
        (
            {
                "encode": (
                    lambda image: {"z": tf.zeros([tf.shape(image)[0], 64])},
                    tf.TensorSpec([None, None, None, 1], name="image"),
                )
            },
            r"float images \[None, H, W, C\] of a known size",
        ),
        (
            {
                "encode": (
                    lambda image: {"z": tf.reshape(image, [-1, 64])},
                    tf.TensorSpec([1, 8, 8, 1], name="image"),
                )
            },
            r"any number of float images .* it takes float32 \(1, 8, 8, 1\)",
        ),
        (
            {
                "decode": (
                    lambda a, b: to_pixels(8)[0](a),
                    tf.TensorSpec([1, 54], name="a"),
                    tf.TensorSpec([1, 10], name="b"),
                )
            },
            r"as \(None, 54\), decode takes \(1, 54\)",
        ),
        (
            {
                "decode": (
                    lambda a, b: {
                        "image": tf.zeros([tf.shape(a)[0], 8, 8, 1]),
                        "mask": tf.zeros([tf.shape(b)[0], 8, 8, 1]),
                    },
                    *codes_spec(a=54, b=10),
                )
            },
            "decode must give one image, it gives image, mask",
        ),
        (
            {
                "decode": (
                    lambda a, b: to_pixels(8)[0](a - b[:, :1]),
                    *codes_spec(a=50, b=10),
                )
            },
            r"part 'a' as \(None, 54\), decode takes \(None, 50\)",
        ),
    ],
)
def test_what_it_refuses(changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        SavedModelBackbone(save(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_not_a_saved_model(tmp_path):
    with pytest.raises(InputError, match="no saved_model.pb"):
        SavedModelBackbone(tmp_path)
