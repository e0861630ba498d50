"""What an export must keep: numbers, shapes, order, and whole versions."""

import io
import json
import struct
import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from PIL import Image
from PIL import ImageOps
from tensorflow.core.protobuf import config_pb2

from export import saved_model
from tfdisent import models
from tfdisent import testing
from tfdisent.data import folder
from tfdisent.data import pipeline
from tfdisent.models.ali import ALI
from tfdisent.models.autoencoder import Autoencoder
from tfdisent.models.backbone import SavedModelBackbone
from tfdisent.models.base import PartsModel
from tfdisent.models.beta_vae import BetaVAE
from tfdisent.models.fden import FDEN

TOLERANCE = 1e-5


class Labelled(PartsModel):
    """The least model with a label, a map, and a unit of several parts."""

    takes_label = True
    parts = {"root": (2, 2, 3), "code": (4,), "label": (5,)}
    units = {"root": ("root",), "class": ("label", "code")}

    def __init__(self):
        super().__init__((4, 4, 3))
        self.scale = self.add_weight(shape=(), initializer="ones")
        self.built = True

    def encode(self, image, label):
        return {
            "label": tf.one_hot(label, 5),
            "code": self.scale * image[:, 0, :, 0],
            "root": image[:, ::2, ::2],
        }

    def decode(self, root, code, label):
        shift = tf.reduce_mean(code, -1, True) + label @ tf.linspace(
            [0.0], [1.0], 5
        )
        shift = shift[..., None, None]
        return tf.sigmoid(tf.repeat(tf.repeat(root, 2, 1), 2, 2) + shift)


class Foreign(tf.Module):
    """A linear encoder and decoder that this package did not write."""

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(1).normal(size=(64, 6)) / 8
        self.weight = tf.Variable(draw, dtype=tf.float32)
        # A resource that is no variable has to survive the second export.
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer([0], [2.0]), 0.0
        )

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name="x")])
    def encode(self, x):
        factor = self.table.lookup(tf.constant(0))
        return {"code": factor * tf.reshape(x, [-1, 64]) @ self.weight}

    @tf.function(input_signature=[tf.TensorSpec([None, 6], name="code")])
    def decode(self, code):
        image = tf.matmul(code, self.weight, transpose_b=True)
        return {"y": tf.reshape(tf.tanh(image), [-1, 8, 8, 1])}


def autoencoder():
    return Autoencoder((32, 32, 1), latent_dim=8, filters=(8, 8, 8), hidden=16)


def foreign_fden(folder):
    module = Foreign()
    path = folder / "foreign"
    tf.saved_model.save(
        module,
        str(path),
        signatures={"encode": module.encode, "decode": module.decode},
    )
    return FDEN(SavedModelBackbone(path, (-1, 1)), alignment="cosine")


MODELS = {
    "autoencoder": lambda folder: autoencoder(),
    "beta_vae": lambda folder: BetaVAE((32, 32, 3), latent_dim=3),
    "ali": lambda folder: ALI((32, 32, 1), latent_dim=4),
    "fden": lambda folder: FDEN(autoencoder(), alignment="cosine"),
    "foreign": foreign_fden,
    "labelled": lambda folder: Labelled(),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """`exports(name) -> (model, version, signatures)`, each made once."""
    made = {}

    def export(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            keras.utils.set_random_seed(3)
            model = MODELS[name](folder)
            move_weights(model)
            version = saved_model.export_model(model, folder / "models" / name)
            loaded = tf.saved_model.load(str(version))
            # Without the object its variables would be deleted.
            made[name] = (model, version, loaded.signatures, loaded)
        return made[name][:3]

    return export


def move_weights(model):
    """Fresh ones may be so small that every image is grey."""
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape) / 20)


def images(shape, count=2, seed=0):
    draw = np.random.default_rng(seed).random((count, *shape))
    return tf.constant(draw, tf.float32)


def encoded(pixels, kind="PNG", **options):
    """A uint8 array or a Pillow image as file content."""
    file = io.BytesIO()
    if not hasattr(pixels, "save"):
        pixels = Image.fromarray(np.squeeze(pixels))
    pixels.save(file, kind, **options)
    return file.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def assert_close(received, expected):
    assert set(received) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            received[name], value, rtol=TOLERANCE, atol=TOLERANCE
        )


@pytest.mark.parametrize("name", MODELS)
def test_signatures_give_the_models_numbers(exports, name):
    model, _, verbs = exports(name)
    check_signatures(model, verbs)


# Those that are not in MODELS; two that are quick stand for the rest.
REMAINING = [
    name
    if name in ("class_vae", "cascade_infogan")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in models.MODELS
    if name not in MODELS
]


@pytest.mark.parametrize("name", REMAINING)
def test_every_model_is_exported(tmp_path, name):
    model = testing.tiny_model(name)
    move_weights(model)
    version = saved_model.export_model(model, tmp_path / name)
    loaded = tf.saved_model.load(str(version))
    check_signatures(model, loaded.signatures)


def check_signatures(model, verbs):
    """Holds signatures of arrays to the numbers of the model in memory."""
    source, target = (images(model.image_shape, seed=s) for s in (0, 1))
    mix = tf.random.stateless_uniform([2, len(model.units)], [1, 2])
    label, labels = {}, {}
    if model.takes_label:
        label = {"label": tf.constant([1, 2])}
        labels = {
            "source_label": tf.constant([1, 2]),
            "target_label": tf.constant([0, 1]),
        }
    parts = model.encode(source, **label)

    for verb in ("encode", "serving_default"):
        assert_close(verbs[verb](image=source, **label), parts)
    assert_close(verbs["decode"](**parts), {"image": model.decode(**parts)})
    assert_close(
        verbs["swap"](source=source, target=target, mix=mix, **labels),
        {"image": model.swap(source, target, mix, **labels)},
    )
    assert ("sample" in verbs) == (model.sample is not None)
    if model.sample is not None:
        seed = tf.constant([[1, 2], [3, 4]])
        assert_close(verbs["sample"](seed=seed), {"image": model.sample(seed)})


@pytest.mark.parametrize("name", MODELS)
def test_encoded_images_give_the_same_numbers(exports, name):
    model, _, verbs = exports(name)
    pixels = np.uint8(255 * images(model.image_shape, count=2))
    source, target = pipeline.to_float(pixels), pipeline.to_float(pixels[::-1])
    data = tf.constant([encoded(p) for p in pixels])
    label, labels = {}, {}
    if model.takes_label:
        label = {"label": tf.constant([3, 0])}
        labels = {
            "source_label": tf.constant([3, 0]),
            "target_label": tf.constant([1, 1]),
        }
    parts = model.encode(source, **label)
    mix = tf.fill([2, len(model.units)], 0.25)

    assert_close(verbs["encode_bytes"](image_bytes=data, **label), parts)
    answers = {
        verbs["decode_bytes"](**parts)["image_bytes"].ref(): model.decode(
            **parts
        ),
        verbs["swap_bytes"](
            source_bytes=data, target_bytes=data[::-1], mix=mix, **labels
        )["image_bytes"].ref(): model.swap(source, target, mix, **labels),
    }
    for answer, expected in answers.items():
        for png, image in zip(answer.deref().numpy(), expected, strict=True):
            received = decoded(png).reshape(model.image_shape)
            np.testing.assert_allclose(received / 255, image, atol=0.502 / 255)


@pytest.mark.parametrize("name", ["beta_vae", "fden", "foreign"])
def test_swap_ends_are_source_and_target(exports, name):
    model, _, verbs = exports(name)
    source, target = (images(model.image_shape, seed=s) for s in (0, 1))
    for value, image in ((0.0, source), (1.0, target)):
        mix = tf.fill([2, len(model.units)], value)
        swapped = verbs["swap"](source=source, target=target, mix=mix)
        through = verbs["decode"](**verbs["encode"](image=image))
        assert_close(swapped, through)


@pytest.mark.parametrize("name", ["beta_vae", "ali"])
def test_sample_rows_do_not_know_their_batch(exports, name):
    _, _, verbs = exports(name)
    seed = tf.constant([[5, 1], [0, 0], [5, 1]])
    together = verbs["sample"](seed=seed)["image"]
    alone = verbs["sample"](seed=seed[2:])["image"]
    np.testing.assert_allclose(together[0], alone[0], atol=1e-6)
    np.testing.assert_allclose(together[2], alone[0], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-6


IMAGE = np.zeros([2, 32, 32, 1], np.float32)
MIX = np.zeros([2, 8], np.float32)


@pytest.mark.parametrize(
    ("verb", "inputs", "message"),
    [
        (
            "encode",
            {"image": IMAGE[:, :28, :28]},
            r"\[B, 32, 32, 1\].*2 28 28 1",
        ),
        ("encode", {"image": IMAGE[0]}, r"image must be float32.*\[32 32 1\]"),
        ("encode", {"image": np.float32(0)}, "image must be float32"),
        ("decode", {"z": MIX[:, :1]}, r"z must be float32 \[B, 8\].*\[2 1\]"),
        (
            "swap",
            {"source": IMAGE, "target": IMAGE, "mix": MIX[:, :1]},
            r"mix must be float32 \[B, 8\].*\[2 1\]",
        ),
        (
            "swap",
            {"source": IMAGE, "target": IMAGE[:1], "mix": MIX},
            r"source, target and mix must have equal batch.*\[2 1 2\]",
        ),
        ("encode_bytes", {"image_bytes": [[b""]]}, r"image_bytes.* \[B\]"),
        ("encode", {"image": IMAGE[:0]}, r"image .* at least 1.*\[0\]"),
    ],
)
def test_wrong_shapes_are_named(exports, verb, inputs, message):
    _, version, verbs = exports("autoencoder")
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        verbs[verb](**inputs)
    # TensorFlow Serving runs a session, whose compiler folds other things.
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run_in_session(version, verb, inputs)


def run_in_session(version, verb, inputs):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(version))
        signature = meta.signature_def[verb]
        # Behind the client's check of the feed, as a server feeds it.
        call = session._make_callable_from_options(
            config_pb2.CallableOptions(
                feed=[signature.inputs[name].name for name in inputs],
                fetch=[info.name for info in signature.outputs.values()],
            )
        )
        return call(*[value.numpy() for value in inputs.values()])


def test_labels_outside_the_classes_are_refused(exports):
    model, _, verbs = exports("labelled")
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"label must lie in \[0, 5\)"
    ):
        verbs["encode"](
            image=images(model.image_shape), label=tf.constant([0, 5])
        )
    # The part of this name is numbers, and may lie outside.
    parts = model.encode(images(model.image_shape), tf.constant([0, 1]))
    parts["label"] *= -9.0
    assert_close(verbs["decode"](**parts), {"image": model.decode(**parts)})


# ---- encoded images -------------------------------------------------------


def read(data, shape=(32, 32, 3)):
    return saved_model.read_images(
        tf.constant([data]), shape, saved_model.MAX_PIXELS
    )[0].numpy()


@pytest.mark.parametrize(
    "size", [(32, 32), (28, 31), (27, 32), (90, 71), (5, 9), (2, 40)]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_sizes_are_fitted_as_folders_are_read(size, kind):
    """The central square, but nearly the right size keeps its pixels."""
    pixels = np.uint8(255 * images((*size, 3), 1)[0])
    data = encoded(pixels, kind)
    for mode, channels in (("RGB", 3), ("L", 1)):
        shape = (32, 32, channels)
        if size in ((32, 32), (28, 31)):
            plain = Image.open(io.BytesIO(data)).convert(mode)
            pixels = np.asarray(plain).reshape([1, *size, channels])
            expected = pipeline.fit_images(pixels, shape)[0]
            np.testing.assert_allclose(read(data, shape), expected, atol=1e-6)
        else:
            expected = folder.read_image(io.BytesIO(data), 32, mode == "L")
            # Pillow rounds rows before columns.
            error = np.abs(read(data, shape) - expected / 255.0)
            assert error.mean() < 0.75 / 255


def test_a_line_of_pixels_takes_little_memory():
    program = (
        "import io, resource, sys\n"
        "import tensorflow as tf\n"
        "from PIL import Image\n"
        "from export import saved_model\n"
        "def read(width):\n"
        "    file = io.BytesIO()\n"
        "    Image.new('RGB', (width, 1)).save(file, 'PNG')\n"
        "    data = tf.constant([file.getvalue()])\n"
        "    saved_model.read_images(data, (64, 64, 3), width)\n"
        "    usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    return usage.ru_maxrss // 1024\n"
        "print(-read(9) + read(1_000_000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    # As floats, 64 lines of it are 768 MB.
    assert int(done.stdout) < 300, done.stderr


def test_a_model_that_is_not_square_sees_its_proportions():
    pixels = np.full([40, 40, 3], 60, np.uint8)
    # No black and white: Pillow clips rows before columns.
    pixels[8:30, 12:32] = 190
    for height, width in ((10, 20), (20, 10)):
        expected = ImageOps.fit(
            Image.fromarray(pixels), (width, height), Image.Resampling.LANCZOS
        )
        np.testing.assert_allclose(
            read(encoded(pixels), (height, width, 3)),
            np.asarray(expected) / 255.0,
            atol=2.01 / 255,
        )


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_other_colours_are_converted_as_pillow_does(mode):
    ramp = np.uint8(np.arange(32 * 32).reshape(32, 32) % 256)
    picture = Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp], -1))
    data = encoded(picture.convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    for wanted, channels in (("RGB", 3), ("L", 1)):
        plain = np.asarray(Image.open(io.BytesIO(data)).convert(wanted))
        shape = (32, 32, channels)
        # CMYK has no one conversion.
        tolerance = 2 / 255 if mode == "CMYK" else 1e-6
        np.testing.assert_allclose(
            read(data, shape), plain.reshape(shape) / 255, atol=tolerance
        )


def claiming_png(width, height):
    """A PNG header of this size with no image behind it."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + check


def claiming_jpeg(width, height):
    data = encoded(np.zeros([8, 8, 3], np.uint8), "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


PHOTO = encoded(np.uint8(255 * images((40, 40, 3), 1)[0]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (claiming_png(100_000, 100_000), r"16000000 pixels.*\[100000 100000\]"),
        (claiming_png(2**32 - 1, 2**32 - 1), "16000000 pixels"),
        (claiming_png(0, 7), "between 1 and"),
        (claiming_jpeg(60_000, 50_000), r"16000000 pixels.*\[60000 50000\]"),
        (claiming_png(8, 8), "PNG"),
        (PHOTO[:200], "PNG"),
        (encoded(np.zeros([9, 9, 3], np.uint8), "JPEG")[:200], "JPEG"),
        (encoded(np.zeros([9, 9, 3], np.uint8), "GIF"), "must be PNG or JPEG"),
        (b"hello", "image_bytes must be PNG or JPEG"),
        (b"", "image_bytes must be PNG or JPEG"),
        (b"\xff\xd8\xff", "JPEG"),
    ],
)
def test_images_that_cannot_be_read_are_refused(exports, data, message):
    _, _, verbs = exports("autoencoder")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        verbs["encode_bytes"](image_bytes=tf.constant([PHOTO, data]))


def test_images_are_bounded_together_before_any_is_decoded():
    """Headers alone: none of these can be decoded."""
    largest = claiming_png(4_000, 4_000)
    most = saved_model.MAX_REQUEST_PIXELS // saved_model.MAX_PIXELS

    @tf.function
    def read_all(count):
        return saved_model.read_images(
            tf.repeat(largest, count), (32, 32, 3), saved_model.MAX_PIXELS
        )

    refused = tf.errors.InvalidArgumentError
    with pytest.raises(
        refused, match="(?s)256000000 pixels together.*272000000"
    ):
        read_all(tf.constant(most + 1))
    # As many as may be are tried.
    with pytest.raises(refused) as caught:
        read_all(tf.constant(most))
    assert "256000000 pixels together" not in str(caught.value)


def test_who_allows_larger_images_gets_one_of_them():
    larger = 2 * saved_model.MAX_REQUEST_PIXELS
    for count, together in ((1, False), (2, True)):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            saved_model.read_images(
                tf.constant([claiming_png(32_000, 16_000)] * count),
                (32, 32, 3),
                larger,
            )
        assert ("together" in str(caught.value)) == together


# ---- what lies beside the signatures --------------------------------------


@pytest.mark.parametrize("name", ["autoencoder", "labelled"])
def test_warmup_requests_replay(exports, name):
    _, version, verbs = exports(name)
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    log_class = prediction_log_class()
    replayed = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = log_class.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == name
        inputs = {}
        for key, tensor in request.inputs.items():
            proto = tf.make_tensor_proto(0)
            proto.ParseFromString(tensor)
            inputs[key] = tf.constant(tf.make_ndarray(proto))
        verbs[request.model_spec.signature_name](**inputs)
        replayed.append(request.model_spec.signature_name)
    assert sorted(replayed) == sorted([*verbs, *verbs])


def prediction_log_class():
    """TF Serving's PredictionLog as its .proto files declare it.

    tensorflow_serving/apis/{prediction_log,predict,model}.proto, the fields
    of a request; a tensor is read as the bytes it consists of.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="warmup.proto", package="warmup", syntax="proto3"
    )
    declared = {
        "ModelSpec": [("name", 1, "string"), ("signature_name", 3, "string")],
        "InputsEntry": [("key", 1, "string"), ("value", 2, "bytes")],
        "PredictRequest": [("model_spec", 1, "ModelSpec")],
        "PredictLog": [("request", 1, "PredictRequest")],
        "PredictionLog": [("predict_log", 6, "PredictLog")],
    }
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": kinds.TYPE_STRING, "bytes": kinds.TYPE_BYTES}
    messages = {}
    for message, fields in declared.items():
        if message == "InputsEntry":
            entry = descriptor_pb2.DescriptorProto(name=message)
            entry.options.map_entry = True
            target = entry
        else:
            target = messages[message] = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = target.field.add(
                name=name, number=number, label=kinds.LABEL_OPTIONAL
            )
            field.type = scalars.get(kind, kinds.TYPE_MESSAGE)
            if kind not in scalars:
                field.type_name = f".warmup.{kind}"
    request = messages["PredictRequest"]
    request.nested_type.add().CopyFrom(entry)
    request.field.add(
        name="inputs",
        number=2,
        label=kinds.LABEL_REPEATED,
        type=kinds.TYPE_MESSAGE,
        type_name=".warmup.PredictRequest.InputsEntry",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("warmup.PredictionLog")
    )


def test_warmup_is_what_tensorflow_serving_reads():
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    record = saved_model.prediction_log("m", "encode", {"x": np.ones([2, 3])})
    request = apis.PredictionLog.FromString(record).predict_log.request
    assert request.model_spec.name == "m"
    assert request.model_spec.signature_name == "encode"
    np.testing.assert_array_equal(
        tf.make_ndarray(request.inputs["x"]), np.ones([2, 3])
    )


def test_the_model_card_says_what_a_caller_needs(exports):
    _, version, verbs = exports("labelled")
    card = saved_model.read_card(version)
    assert list(card["parts"].items()) == [
        ("root", [2, 2, 3]),
        ("code", [4]),
        ("label", [5]),
    ]
    assert card["units"] == {"root": ["root"], "class": ["label", "code"]}
    assert card["image_shape"] == [4, 4, 3]
    assert card["takes_label"] and card["reconstructs"]
    assert set(card["signatures"]) == set(verbs)
    swap = card["signatures"]["swap"]
    assert list(swap["inputs"]) == [
        "source",
        "target",
        "mix",
        "source_label",
        "target_label",
    ]
    assert swap["inputs"]["mix"] == {"dtype": "float32", "shape": [None, 2]}
    assert swap["outputs"] == {
        "image": {"dtype": "float32", "shape": [None, 4, 4, 3]}
    }
    assert list(card["signatures"]["encode"]["outputs"]) == list(card["parts"])
    assert {"tensorflow", "keras", "tfdisent"} <= set(card["versions"])


def test_ranges_are_those_of_traversals():
    images = np.random.default_rng(2).random((200, 4, 4, 3), np.float32)
    labels = np.zeros(200, np.int32)
    labels[7] = 3
    found = saved_model.code_ranges(Labelled(), images, labels)
    assert found["images"] == 200
    # The map is no code.
    assert list(found["parts"]) == ["code", "label"]
    code = found["parts"]["code"]
    expected = images[:, 0, :, 0]
    for key, numbers in {
        "mean": expected.mean(0),
        "std": expected.std(0),
        "low": np.quantile(expected, 0.02, axis=0),
        "high": np.quantile(expected, 0.98, axis=0),
    }.items():
        np.testing.assert_allclose(code[key], numbers, rtol=1e-3)
    # A class that nearly no image has keeps its range, one that none has not.
    assert found["parts"]["label"]["low"] == [0, 0, 0, 0, 0]
    assert found["parts"]["label"]["high"] == [1, 0, 0, 1, 0]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("name", MODELS)
def test_the_card_describes_the_signatures_that_were_saved(exports, name):
    _, version, verbs = exports(name)
    for verb, described in saved_model.read_card(version)["signatures"].items():
        sides = {
            "inputs": verbs[verb].structured_input_signature[1],
            "outputs": verbs[verb].structured_outputs,
        }
        for side, specs in sides.items():
            assert described[side] == {
                key: {
                    "dtype": spec.dtype.name,
                    "shape": spec.shape.as_list(),
                }
                for key, spec in specs.items()
            }


def test_samples_of_the_prior_when_none_are_given(exports):
    model, version, _ = exports("beta_vae")
    entries = saved_model.read_card(version)["samples"]
    assert len(entries) == saved_model.SAMPLES
    for entry in entries:
        file = version / "assets.extra" / entry["file"]
        assert decoded(file.read_bytes()).shape == model.image_shape


def test_nothing_in_it_asks_for_xla(exports):
    _, version, _ = exports("ali")
    assert b"_XlaMustCompile" not in (version / "saved_model.pb").read_bytes()


def test_training_state_is_neither_changed_nor_exported(tmp_path):
    model = autoencoder()
    model.compile()
    model.train_step(images(model.image_shape))
    before = [v.numpy() for v in model.variables]
    version = saved_model.export_model(model, tmp_path / "m")
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    kept = tf.train.list_variables(str(version / "variables" / "variables"))
    numbers = sum(np.prod(shape) for _, shape in kept)
    weights = sum(np.prod(v.shape) for v in model.trainable_variables)
    # The object graph and the save counter are single entries.
    assert weights <= numbers <= weights + 2


def test_a_mirrored_model_is_exported(tmp_path, mirrored):
    with mirrored.scope():
        model = Labelled()
    version = saved_model.export_model(model, tmp_path / "m")
    loaded = tf.saved_model.load(str(version))
    inputs = {
        "image": images(model.image_shape),
        "label": tf.constant([1, 2]),
    }
    received = loaded.signatures["encode"](**inputs)
    assert_close(received, model.encode(**inputs))


def test_mixed_precision_is_refused(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = autoencoder()
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="float32.*bfloat16"):
        saved_model.export_model(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


# ---- versions -------------------------------------------------------------


@pytest.fixture(scope="module")
def traced():
    model = Labelled()
    return model, saved_model.signatures(model)


@pytest.fixture
def small(traced, monkeypatch):
    """A model whose signatures are traced already."""
    model, verbs = traced
    monkeypatch.setattr(saved_model, "signatures", lambda *_: verbs)
    return model


def test_versions_grow(tmp_path, small):
    for other in ("7", "00009", "notes", "-12", "12.5"):
        (tmp_path / other).mkdir()
    assert saved_model.export_model(small, tmp_path) == tmp_path / "10"
    assert saved_model.export_model(small, tmp_path) == tmp_path / "11"


def test_two_exports_at_once_get_two_versions(tmp_path, small, monkeypatch):
    first = saved_model.export_model(small, tmp_path)
    numbers = iter([1, 2])
    monkeypatch.setattr(saved_model, "next_version", lambda _: next(numbers))
    assert saved_model.export_model(small, tmp_path) == tmp_path / "2"
    assert (first / "saved_model.pb").exists()


@pytest.mark.parametrize("step", ["_write_warmup", "flush", "_publish"])
def test_a_failure_leaves_no_version(tmp_path, small, monkeypatch, step):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, step, fail)
    with pytest.raises(OSError, match="disk full"):
        saved_model.export_model(small, tmp_path / "m")
    assert not list((tmp_path / "m").iterdir())


def test_a_card_that_is_no_json_is_not_written(tmp_path, small):
    with pytest.raises(ValueError, match="JSON"):
        saved_model.export_model(
            small, tmp_path / "m", card={"scores": {"mig": float("nan")}}
        )
    assert not list((tmp_path / "m").iterdir())


def test_given_samples_and_card_are_kept(tmp_path, small):
    pixels = np.uint8(255 * images((9, 9, 3), count=3))
    version = saved_model.export_model(
        small,
        tmp_path / "m",
        card={"dataset": {"name": "mine"}},
        samples={"image": pixels, "label": np.array([4, 0, 2])},
    )
    text = (version / "assets.extra" / "model_card.json").read_text()
    card = json.loads(text, parse_constant=pytest.fail)
    assert card["dataset"] == {"name": "mine"}
    assert card["samples"] == [
        {"file": f"samples/{n}.png", "label": label}
        for n, label in enumerate([4, 0, 2])
    ]
    expected = pipeline.fit_images(pixels, (4, 4, 3))
    for entry, image in zip(card["samples"], expected, strict=True):
        data = (version / "assets.extra" / entry["file"]).read_bytes()
        np.testing.assert_allclose(decoded(data) / 255, image, atol=0.502 / 255)
