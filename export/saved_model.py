"""A model with named parts as a SavedModel version for TF Serving.

models/fden/3/
  saved_model.pb, variables/           the signatures and their weights
  assets.extra/model_card.json         parts, units, scores, signatures
  assets.extra/samples/0.png ...       images to try it on
  assets.extra/tf_serving_warmup_requests
"""

import dataclasses
import errno
import functools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

import tfdisent
from tfdisent import visualization
from tfdisent.data import pipeline
from trainers import rundir

# An encoded image whose header claims more pixels is not decoded.
MAX_PIXELS = 16_000_000
# Nor are the images of a request that claim more together: seconds of decoding.
# 1,024 photos of 500x500 pixels do not.
MAX_REQUEST_PIXELS = 256_000_000
# Sample images that accompany a version, and images of which the card says
# how far their codes go.
SAMPLES = 8
RANGED = 512
# TF Serving sends a warm-up request of each of these sizes when it loads.
WARMUP_BATCHES = (1, 8)
# Encoded images that are decoded at the same time; bounds the memory.
DECODERS = 4

PNG_MAGIC = tuple(b"\x89PNG\r\n\x1a\n")
JPEG_MAGIC = tuple(b"\xff\xd8\xff")
# PNG keeps width and height, 4 big-endian bytes each, in bytes 16 to 23.
PNG_HEADER = 24
ENCODED_IMAGES = (
    "PNG or JPEG. The largest central part of the model's proportions is "
    "resized. EXIF orientation is ignored: turn photos upright first."
)
# ITU-R 601 luma in 1/65536, as Pillow computes the grey of training images.
LUMA = (19595, 38470, 7471)


@dataclasses.dataclass(frozen=True)
class Signature:
    """One verb of the exported model.

    Attributes:
      inputs: {name: `tf.TensorSpec`}, the batch first and open.
      outputs: {name: `tf.TensorSpec`}, likewise.
      function: the concrete function, for `tf.saved_model.save`.
    """

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]
    function: Callable


def export_model(
    model, directory, *, card=None, samples=None, max_pixels=MAX_PIXELS
):
    """Writes the next version of a model below a directory, atomically.

    Args:
      model: a `PartsModel`, float32; it is read, never changed.
      directory: the model's, `models/NAME`; versions are its subdirectories
        and NAME is what TF Serving calls it.
      card: further entries of the model card, plain JSON data.
      samples: images to keep beside the model, a dict as `Split.take` gives
        it (`image`, where known `label`). None takes them from the prior of
        a model that has one.
      max_pixels: encoded images that claim more are refused undecoded.

    Returns:
      The path of the version.

    Raises:
      ValueError: a model under mixed precision, or a card that is not JSON.
      OSError: the directory cannot be written; nothing is left behind then.
    """
    if model.compute_dtype != "float32":
        raise ValueError(
            f"Exports are float32, this model computes in "
            f"{model.compute_dtype}; load its run with rundir.load_model."
        )
    verbs = signatures(model, max_pixels)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # A sibling of the versions, hence of their file system; TF Serving skips
    # what is not named by a number.
    temporary = pathlib.Path(tempfile.mkdtemp(dir=directory, prefix=".export-"))
    try:
        _save(model, verbs, temporary)
        extra = temporary / "assets.extra"
        listed = _write_samples(model, samples, extra)
        _write_warmup(verbs, directory.resolve().name, model.image_shape, extra)
        _write_card(
            {
                **model_card(model, verbs),
                "max_pixels": max_pixels,
                "samples": listed,
                **(card or {}),
            },
            extra,
        )
        flush(temporary)
        # mkdtemp makes it private; models are the user's to share.
        temporary.chmod(0o755)
        return _publish(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


# ---- signatures -----------------------------------------------------------


def signatures(model, max_pixels=MAX_PIXELS):
    """What a model can be asked for once it is exported.

    Args:
      model: a `PartsModel`.
      max_pixels: of an encoded image.

    Returns:
      {name: `Signature`}: `serving_default` (which is `encode`), `encode`,
      `decode`, `swap`; `sample` where the model has a prior; `encode_bytes`,
      `decode_bytes` and `swap_bytes` where PNG has the model's channels.
    """
    image = _batch_of(model.image_shape, tf.float32)
    parts = {n: _batch_of(s, tf.float32) for n, s in model.parts.items()}
    mix = _batch_of([len(model.units)], tf.float32)

    def encode(image, **label):
        found = model.encode(image, *label.values())
        return {name: found[name] for name in parts}

    def decode(**codes):
        return {"image": model.decode(**codes)}

    def swap(source, target, mix, **labels):
        return {"image": model.swap(source, target, mix, **labels)}

    def sample(seed):
        return {"image": model.sample(seed)}

    read = functools.partial(
        read_images, image_shape=model.image_shape, max_pixels=max_pixels
    )

    def encode_bytes(image_bytes, **label):
        return encode(read(image_bytes, name="image_bytes"), **label)

    def decode_bytes(**codes):
        return {"image_bytes": write_images(model.decode(**codes))}

    def swap_bytes(source_bytes, target_bytes, mix, **labels):
        source = read(source_bytes, name="source_bytes")
        target = read(target_bytes, name="target_bytes")
        swapped = model.swap(source, target, mix, **labels)
        return {"image_bytes": write_images(swapped)}

    label, labels = {}, {}
    if model.takes_label:
        number = _batch_of([], tf.int32)
        label = {"label": number}
        labels = {"source_label": number, "target_label": number}
    verbs = {
        encode: {"image": image, **label},
        decode: parts,
        swap: {"source": image, "target": image, "mix": mix, **labels},
    }
    if model.sample is not None:
        verbs[sample] = {"seed": _batch_of([2], tf.int32)}
    if model.image_shape[-1] in (1, 3):
        text = _batch_of([], tf.string)
        verbs |= {
            encode_bytes: {"image_bytes": text, **label},
            decode_bytes: parts,
            swap_bytes: {
                "source_bytes": text,
                "target_bytes": text,
                "mix": mix,
                **labels,
            },
        }
    outputs = {"image": image, "image_bytes": _batch_of([], tf.string), **parts}
    classes = model.parts.get("label", [None])[-1]
    traced = {
        verb.__name__: _trace(verb, inputs, outputs, classes)
        for verb, inputs in verbs.items()
    }
    return {"serving_default": traced["encode"], **traced}


def _batch_of(shape, dtype):
    return tf.TensorSpec([None, *shape], dtype)


def _trace(verb, inputs, outputs, classes):
    """The `Signature` of a verb.

    Args:
      verb: `verb(**inputs) -> {name: tensor}`.
      inputs: {name: spec}.
      outputs: {name: spec} of whatever a verb may return.
      classes: how many labels there are, None where that is not known.
    """
    inputs = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name=name)
        for name, spec in inputs.items()
    }

    @tf.function
    def signature(**values):
        results = verb(**checked(values, inputs, classes))
        return {
            name: tf.ensure_shape(result, outputs[name].shape)
            for name, result in results.items()
        }

    function = signature.get_concrete_function(**inputs)
    given = function.structured_outputs
    order = [name for name in outputs if name in given]
    return Signature(inputs, {n: outputs[n] for n in order}, function)


def checked(values, specs, classes=None):
    """Inputs whose shapes are verified whenever the graph runs.

    Nothing outside the graph does: a server feeds what it is sent, and a
    wrong shape may broadcast into a wrong answer.

    Args:
      values: {name: tensor}.
      specs: {name: `tf.TensorSpec`}; only the batch, their first axis, may be
        open, and it has to be the same for all.
      classes: labels lie in [0, classes), None for any.

    Returns:
      {name: tensor} with the shapes of `specs`, in their order.
    """
    # The graph compiler believes declared shapes and would fold the checks
    # away; it cannot see through a placeholder.
    opened = {
        name: tf.raw_ops.PlaceholderWithDefault(input=values[name], shape=None)
        for name in specs
    }
    checks = [_check_shape(n, opened[n], spec) for n, spec in specs.items()]
    with tf.control_dependencies(checks):
        sizes = tf.stack([tf.shape(v)[0] for v in opened.values()])
        # Of none, convolutions complain about their filters.
        right = tf.equal(sizes, sizes[0]) & tf.greater(sizes, 0)
        message = (
            f"{_listing(opened)} must have equal batch sizes of at least 1; "
            "received"
        )
        checks = [tf.debugging.Assert(tf.reduce_all(right), [message, sizes])]
        if classes:
            checks += [
                _check_label(name, opened[name], classes)
                for name, spec in specs.items()
                # A part of this name is floats, one-hot or between classes.
                if spec.dtype == tf.int32 and spec.shape.rank == 1
            ]
    with tf.control_dependencies(checks):
        passed = {name: tf.identity(value) for name, value in opened.items()}
    for name, value in passed.items():
        value.set_shape(specs[name].shape)
    return passed


def _check_shape(name, value, spec):
    inner = spec.shape.as_list()[1:]
    shape = tf.shape(value)
    # Padded with what no axis can be, any two ranks compare.
    padded = tf.concat([shape, tf.fill([len(inner) + 2], -1)], axis=0)
    right = tf.equal(padded[1 : len(inner) + 2], [*inner, -1])
    wanted = ", ".join(["B", *map(str, inner)])
    return tf.debugging.Assert(
        tf.reduce_all(right) & tf.greater_equal(padded[0], 0),
        [f"{name} must be {spec.dtype.name} [{wanted}]; received shape", shape],
        summarize=8,
    )


def _check_label(name, value, classes):
    return tf.debugging.Assert(
        tf.reduce_all((value >= 0) & (value < classes)),
        [f"{name} must lie in [0, {classes}); received", value],
    )


def _listing(names):
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


# ---- encoded images -------------------------------------------------------


def read_images(encoded, image_shape, max_pixels, name="image_bytes"):
    """PNG or JPEG data as the images a model takes, inside a graph.

    Nearly the right size is padded as `pipeline.fit_images` does it. Of other
    sizes the largest central part of the model's proportions is resized, as
    `data.folder.read_image` does it for training. Orientation tags of cameras
    are not looked at: TensorFlow has no reader of EXIF.

    Args:
      encoded: string `[B]`.
      image_shape: `(H, W, 1 or 3)` of the result.
      max_pixels: a header that claims more is refused before decoding; so are
        all of them together beyond `MAX_REQUEST_PIXELS`.
      name: of the input, for messages.

    Returns:
      float32 `[B, H, W, C]` in [0, 1].

    Raises:
      tf.errors.InvalidArgumentError: neither format, too large, or damaged.
    """
    claimed = tf.map_fn(
        lambda data: _claimed_pixels(data, max_pixels, name),
        encoded,
        fn_output_signature=tf.TensorSpec([], tf.int64),
    )
    total = tf.reduce_sum(claimed)
    most = max(MAX_REQUEST_PIXELS, max_pixels)
    bounded = tf.debugging.Assert(
        total <= most,
        [
            f"{name} of a request must have at most {most} pixels together; "
            "the headers claim",
            total,
        ],
    )
    with tf.control_dependencies([bounded]):
        encoded = tf.identity(encoded)

    def read(data):
        # Reads PNG as well. The accurate transform is the one Pillow decoded
        # the training images with.
        pixels = tf.image.decode_jpeg(
            data, channels=3, dct_method="INTEGER_ACCURATE"
        )
        if image_shape[-1] == 1:
            pixels = _grey(pixels)
        return _fit(pixels, image_shape)

    return tf.map_fn(
        read,
        encoded,
        parallel_iterations=DECODERS,
        fn_output_signature=tf.TensorSpec(image_shape, tf.float32),
    )


def write_images(images):
    """Images in [0, 1], `[B, H, W, 1 or 3]`, as PNG data: string `[B]`."""
    scaled = tf.round(255.0 * tf.clip_by_value(images, 0.0, 1.0))
    return tf.io.encode_png(tf.cast(scaled, tf.uint8))


def _claimed_pixels(data, max_pixels, name):
    """int64 `[]`: of an image's header; fails unless it may be decoded."""
    header = tf.io.decode_raw(data, tf.uint8, fixed_length=PNG_HEADER)
    png = tf.reduce_all(tf.equal(header[: len(PNG_MAGIC)], PNG_MAGIC))
    jpeg = tf.reduce_all(tf.equal(header[: len(JPEG_MAGIC)], JPEG_MAGIC))
    known = tf.debugging.Assert(
        png | jpeg,
        [
            f"{name} must be PNG or JPEG data; received bytes that start with",
            header[: len(PNG_MAGIC)],
        ],
        summarize=len(PNG_MAGIC),
    )
    with tf.control_dependencies([known]):
        size = tf.cond(png, lambda: _png_size(header), lambda: _jpeg_size(data))
    # Two numbers of 32 bits: their product is right or, seen as int64, < 0.
    pixels = tf.reduce_prod(size)
    allowed = tf.debugging.Assert(
        (pixels > 0) & (pixels <= max_pixels),
        [
            f"{name} must have between 1 and {max_pixels} pixels; its header "
            "claims width and height",
            size,
        ],
    )
    with tf.control_dependencies([allowed]):
        return tf.identity(pixels)


def _png_size(header):
    """int64 `[2]`: width and height in the first bytes of a PNG file."""
    digits = tf.reshape(tf.cast(header[16:PNG_HEADER], tf.int64), [2, 4])
    powers = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
    return tf.reduce_sum(digits * powers, axis=1)


def _jpeg_size(data):
    """int64 `[2]`: width and height in the frame header of a JPEG file."""
    return tf.image.extract_jpeg_shape(data, output_type=tf.int64)[1::-1]


def _grey(pixels):
    """uint8 `[h, w, 3]` to `[h, w, 1]`; grey in three channels stays."""
    weighted = tf.cast(pixels, tf.int32) * tf.constant(LUMA)
    luma = (tf.reduce_sum(weighted, axis=-1, keepdims=True) + 2**15) // 2**16
    return tf.cast(luma, tf.uint8)


def _fit(pixels, image_shape):
    """The padding of `pipeline.fit_images`, or `ImageOps.fit`, in a graph.

    Args:
      pixels: uint8 `[h, w, C]`.
      image_shape: `(H, W, C)`.

    Returns:
      float32 `[H, W, C]` in [0, 1].
    """
    height, width, _ = image_shape
    h, w = tf.unstack(tf.shape(pixels)[:2])
    nearly = (8 * h >= 7 * height) & (h <= height)
    nearly &= (8 * w >= 7 * width) & (w <= width)

    def pad():
        return tf.image.pad_to_bounding_box(
            pixels, (height - h) // 2, (width - w) // 2, height, width
        )

    def resize():
        scale = tf.reduce_max([height, width] / tf.cast([h, w], tf.float32))
        inner = tf.cast(tf.math.ceil([height, width] / scale), tf.int32)
        # A line of a million pixels would grow as high as the result. What
        # the filter sees beyond the central part, at least 3 pixels, stays.
        spare = tf.maximum([h, w] - 2 * (inner + 3), 0)
        top, left = tf.unstack(spare // 2)
        kept = pixels[top : h - top, left : w - left]
        size = tf.cast(tf.shape(kept)[:2], tf.float32)
        # `tf.image.resize` cannot cut half a pixel off either side.
        resized = tf.raw_ops.ScaleAndTranslate(
            images=kept[None],
            size=[height, width],
            scale=[scale, scale],
            translation=([height, width] - scale * size) / 2,
            kernel_type="lanczos3",
        )
        return tf.saturate_cast(tf.round(resized[0]), tf.uint8)

    fitted = tf.ensure_shape(tf.cond(nearly, pad, resize), image_shape)
    return pipeline.to_float(fitted)


# ---- what is written ------------------------------------------------------


def model_card(model, verbs):
    """What a caller has to know about an exported model, as plain data.

    A SavedModel returns its outputs in alphabetical order; the order of
    `parts` and `units` (the columns of `mix`) is here.

    Args:
      model: a `PartsModel`.
      verbs: its `signatures`.
    """
    return {
        "model": type(model).__name__,
        "image_shape": list(model.image_shape),
        "parts": {name: list(shape) for name, shape in model.parts.items()},
        "units": {n: list(references) for n, references in model.units.items()},
        "takes_label": model.takes_label,
        "reconstructs": model.reconstructs,
        "signatures": {
            name: {
                "inputs": _described(verb.inputs),
                "outputs": _described(verb.outputs),
            }
            for name, verb in verbs.items()
        },
        "encoded_images": ENCODED_IMAGES,
        "versions": {"tfdisent": tfdisent.__version__, **rundir.versions()},
    }


def code_ranges(model, images, labels=None):
    """How far the entries of every code go, for sliders and traversals.

    Args:
      model: a `PartsModel`.
      images: `[N, H, W, C]`, uint8 or float in [0, 1], of any size.
      labels: int `[N]`, where the model `takes_label`.

    Returns:
      `{"images": N, "parts": {part of rank 1: {"mean", "std", "low", "high":
      a list of the entries' numbers}}}`; low and high are the ends of
      `visualization.traverse`, or where nearly all images share a value (a
      rare class) the smallest and the largest.
    """
    images = pipeline.fit_images(images, model.image_shape)
    codes = visualization.encode(model, images.numpy(), labels)
    parts = {}
    for part, code in codes.items():
        if code.ndim != 2:
            continue
        tail = visualization.TAIL
        low, high = np.quantile(code, (tail, 1 - tail), axis=0)
        same = low == high
        parts[part] = {
            "mean": _rounded(np.mean(code, 0)),
            "std": _rounded(np.std(code, 0)),
            "low": _rounded(np.where(same, np.min(code, 0), low)),
            "high": _rounded(np.where(same, np.max(code, 0), high)),
        }
    return {"images": len(images), "parts": parts}


def _rounded(values):
    return [float(f"{value:.4g}") for value in values]


def _described(specs):
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in specs.items()
    }


def _save(model, verbs, directory):
    module = tf.Module()
    # Only what inference reads: no critics, no optimizers.
    used = {
        variable.ref(): variable
        for verb in verbs.values()
        for variable in verb.function.graph.variables
    }
    module.weights = list(used.values())
    module.foreign = _foreign_backbone(model)
    tf.saved_model.save(
        module,
        str(directory),
        signatures={name: verb.function for name, verb in verbs.items()},
    )


def _foreign_backbone(model):
    """The SavedModel a model stands on, with its tables and files, or None."""
    while model is not None:
        if hasattr(model, "loaded"):
            return model.loaded
        model = getattr(model, "backbone", None)
    return None


def read_card(version):
    """The model card of an exported version."""
    path = pathlib.Path(version) / "assets.extra" / "model_card.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _write_card(card, directory):
    # NaN is no JSON; a card that a browser cannot read is not written.
    text = json.dumps(card, indent=2, allow_nan=False)
    (directory / "model_card.json").write_text(text + "\n", encoding="utf-8")


def _write_samples(model, samples, directory):
    """Writes PNG files; returns their entries for the model card."""
    folder = directory / "samples"
    folder.mkdir(parents=True)
    if samples is None and model.sample is not None:
        seeds = tf.stack([tf.range(SAMPLES), tf.zeros(SAMPLES, tf.int32)], 1)
        samples = {"image": model.sample(seeds)}
    if samples is None or model.image_shape[-1] not in (1, 3):
        return []
    images = pipeline.fit_images(samples["image"], model.image_shape)
    labels = samples.get("label")
    entries = []
    for number, data in enumerate(write_images(images).numpy()):
        (folder / f"{number}.png").write_bytes(data)
        entry = {"file": f"samples/{number}.png"}
        if labels is not None:
            entry["label"] = int(labels[number])
        entries.append(entry)
    return entries


def _write_warmup(verbs, name, image_shape, directory):
    path = directory / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, verb in verbs.items():
            for size in WARMUP_BATCHES:
                inputs = {
                    key: _example(spec, size, image_shape)
                    for key, spec in verb.inputs.items()
                }
                writer.write(prediction_log(name, signature, inputs))


def _example(spec, size, image_shape):
    """A valid input of `size` rows: zeros, or black images as PNG data."""
    if spec.dtype == tf.string:
        return write_images(tf.zeros([size, *image_shape])).numpy()
    shape = [size, *spec.shape.as_list()[1:]]
    return np.zeros(shape, spec.dtype.as_numpy_dtype)


def prediction_log(model, signature, inputs):
    """A request as TF Serving logs it, a serialized `PredictionLog`.

    TF Serving's own messages come with tensorflow-serving-api, which only
    serving needs. Every field used here is a length-delimited one, so a
    record is no more than names and tensors put into one another.

    Args:
      model, signature: names.
      inputs: {name: array}.

    Returns:
      bytes.
    """
    spec = _field(1, model.encode()) + _field(3, signature.encode())
    request = _field(1, spec)
    for name, array in inputs.items():
        tensor = tf.make_tensor_proto(array).SerializeToString()
        # One entry of the map `inputs`.
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    # PredictionLog.predict_log.request
    return _field(6, _field(1, request))


def _field(number, payload):
    """A length-delimited field of the protocol buffers' wire format."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(number):
    """Seven bits a byte, the lowest first; the top bit says: more follow."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


# ---- versions -------------------------------------------------------------


def next_version(directory):
    """One more than the largest version below a directory; 1 at first."""
    names = (path.name for path in pathlib.Path(directory).iterdir())
    numbers = [int(n) for n in names if n.isascii() and n.isdigit()]
    return max(numbers, default=0) + 1


def _publish(temporary, directory):
    """Gives a complete directory its number; another may export as well."""
    while True:
        version = directory / str(next_version(directory))
        try:
            temporary.rename(version)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return version


def flush(directory):
    """Puts a tree on the disk, so that a rename never outlives its files."""
    for path in [*directory.rglob("*"), directory]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
