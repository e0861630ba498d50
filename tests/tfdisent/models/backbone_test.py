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
            r"part 'z' must be numbers \[B, n\], it is \(None, 8, 8\)",
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
            r"float images \[B, H, W, C\] of a known size",
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
