"""One pass over images, for a model's codes and for those of its controls.

Whatever is scored is an `Encoder`: a trained model, the same network before
training, principal components of the pixels, a SavedModel from elsewhere.
`encode` reads every image once and lets all of them encode it.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfdisent.data import pipeline
from tfdisent.errors import InputError
from trainers import rundir
from trainers import train

# Images whose principal components stand for doing nothing clever.
PCA_IMAGES = 5_000
PCA_SEED = 0

compiled = functools.partial(
    tf.function, jit_compile=False, reduce_retracing=True
)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Something that turns images into codes.

    Attributes:
      read: a compiled function: a batch dict with `image` float32
        `[B, H, W, C]` -> means `[B, D]`, standard deviations `[B, D]` of the
        posterior or None.
      parts: {part: number of codes}, in order.
      image_shape: `(H, W, C)` it takes.
      takes_label: whether it wants the batch's `label`, too.
      no_posterior: the reason, where it has none.
    """

    read: Callable
    parts: Mapping[str, int]
    image_shape: tuple
    takes_label: bool = False
    no_posterior: str = ""

    @property
    def names(self):
        """One name a code, as `z[0]`."""
        return tuple(
            f"{p}[{i}]" for p, n in self.parts.items() for i in range(n)
        )


def of_model(model):
    """The codes of a model: its parts of rank 1, one after another.

    Where there is a posterior, those it covers: what it leaves out is given
    with the image, as the one-hot label is, and not encoded.

    Args:
      model: a `PartsModel`.

    Returns:
      An `Encoder`, or None where no part is a code.
    """
    parts = {n: s[0] for n, s in model.parts.items() if len(s) == 1}
    if not parts:
        return None
    reason = "the model has no posterior"
    if model.posterior is not None:
        # What it covers is known when it is asked.
        covered = model.posterior(*_example(model))
        parts = {name: n for name, n in parts.items() if name in covered}
        reason = ""

    @compiled
    def read(batch):
        inputs = (batch["image"],)
        if model.takes_label:
            inputs += (batch["label"],)
        if reason:
            found = model.encode(*inputs)
            return tf.concat([found[n] for n in parts], axis=-1), None
        # Its means are what encode gives, and come in the same pass.
        found = model.posterior(*inputs)
        means = [found[n].mean() for n in parts]
        stddevs = [found[n].stddev() for n in parts]
        return tf.concat(means, axis=-1), tf.concat(stddevs, axis=-1)

    return Encoder(read, parts, model.image_shape, model.takes_label, reason)


def _example(model):
    image = tf.zeros((1, *model.image_shape))
    return (image, tf.zeros(1, tf.int32)) if model.takes_label else (image,)


def untrained(run, split, step):
    """The encoder of a run with its weights of step 0, seed and all.

    Args:
      run: a run directory.
      split: the `Split` it trained on.
      step: of the trained model: schedules that let codes through are as far
        here, so that only weights differ.

    Returns:
      An `Encoder` without a posterior: nothing was fitted.
    """
    config, image_shape = rundir.read_config(run)
    model = rundir.build_model(config, image_shape)
    train.adapt_to(model, split, image_shape)
    model.step.assign(step)
    encoder = of_model(model)
    return dataclasses.replace(
        encoder,
        read=compiled(lambda batch: (encoder.read(batch)[0], None)),
        no_posterior="it was not trained",
    )


def principal_components(split, image_shape, count):
    """Principal components of the pixels as codes.

    Args:
      split: a `Split`; `PCA_IMAGES` of its images, at random, are looked at.
      image_shape: `(H, W, C)` at which they are.
      count: codes; fewer where the images have fewer directions.

    Returns:
      An `Encoder`.
    """
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(PCA_SEED)
    rows = rng.permutation(len(split))[:PCA_IMAGES]
    batches = pipeline.in_order(split.subset(np.sort(rows)), image_shape)
    pixels = np.concatenate([b["image"].numpy() for b in batches])
    pixels = pixels.reshape(len(pixels), -1)
    count = min(count, *pixels.shape)
    fitted = PCA(count, svd_solver="randomized", random_state=PCA_SEED)
    fitted.fit(pixels)
    directions = tf.constant(fitted.components_.T, tf.float32)
    centre = tf.constant(fitted.mean_, tf.float32)

    @compiled
    def read(batch):
        image = batch["image"]
        flat = tf.reshape(image, [tf.shape(image)[0], directions.shape[0]])
        return (flat - centre) @ directions, None

    return Encoder(
        read, {"pca": count}, tuple(image_shape), no_posterior="PCA has none"
    )


def of_saved_model(path, value_range=(0.0, 1.0)):
    """Any SavedModel with an `encode` signature, from this package or not.

    A SavedModel is a program: load only those you trust. Parts that are no
    vectors of a known size are left out; their order is the model card's where
    there is one, and alphabetical elsewhere.

    Args:
      path: directory with `saved_model.pb`.
      value_range: `(low, high)` of the pixels it takes.

    Returns:
      An `Encoder` without a posterior.

    Raises:
      InputError: no SavedModel, no such signature, or one that takes anything
        but any number of float images of a known size (and, perhaps, an int
        `label`), or gives no vectors.
    """
    path = pathlib.Path(path)
    if not (path / "saved_model.pb").is_file():
        raise InputError(
            f"{str(path)!r} is no SavedModel (no saved_model.pb in it)."
        )
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures.get("encode")
    if signature is None:
        present = ", ".join(sorted(loaded.signatures)) or "none"
        raise InputError(
            f"{str(path)!r} has no signature 'encode' (it has: {present})."
        )
    inputs = dict(signature.structured_input_signature[1])
    takes_label = inputs.pop("label", None) is not None
    shapes = [
        (key, spec.shape.as_list())
        for key, spec in inputs.items()
        if spec.dtype.is_floating and spec.shape.rank == 4
    ]
    # The number of images is free, their size is known.
    free = [n is None for n in shapes[0][1]] if shapes else []
    if len(inputs) != 1 or free != [True, False, False, False]:
        raise InputError(
            f"{str(path)!r}: encode must take any number of float images "
            "[None, H, W, C] of a known size and nothing but a label beside; "
            "it takes "
            f"{', '.join(f'{k} {s.shape}' for k, s in inputs.items())}."
        )
    ((key, shape),) = shapes
    found = {
        name: spec.shape for name, spec in signature.structured_outputs.items()
    }
    parts = {
        name: found[name][1]
        for name in _in_order(path, found)
        if found[name].rank == 2 and found[name][1]
    }
    if not parts:
        raise InputError(
            f"{str(path)!r}: encode gives no part of numbers [B, n] of a known "
            "n; it gives "
            f"{', '.join(f'{n} {s}' for n, s in found.items())}."
        )
    low, high = value_range

    @compiled
    def read(batch):
        given = {key: low + (high - low) * batch["image"]}
        if takes_label:
            given["label"] = batch["label"]
        # Reached through what was loaded, which has to live as long.
        outputs = loaded.signatures["encode"](**given)
        codes = [tf.cast(outputs[name], tf.float32) for name in parts]
        return tf.concat(codes, axis=-1), None

    return Encoder(
        read, parts, tuple(shape[1:]), takes_label, "a SavedModel gives none"
    )


def _in_order(path, names):
    """Output names as the model card lists them, else alphabetical."""
    card = path / "assets.extra" / "model_card.json"
    try:
        listed = json.loads(card.read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError, TypeError):
        listed = ()
    rest = sorted(name for name in names if name not in listed)
    return [name for name in listed if name in names] + rest


def encode(encoders, split, report=None):
    """Codes of every image of a split by every encoder, in one pass.

    Args:
      encoders: {name: `Encoder`} of one image shape.
      split: a `Split`.
      report: called with (done, total).

    Returns:
      `({name: (means [N, D], stddevs [N, D] or None)}, factors)`, float32 and
      int32 `[N, K]`; factors are None where the split has none. Standard
      deviations are positive: what float32 cannot tell from 0 is its smallest
      normal number.

    Raises:
      InputError: an encoder wants labels, and the split has none; codes that
        are NaN or infinite.
    """
    first = next(iter(encoders.values()))
    if first.takes_label and split.labels is None:
        raise InputError(
            "This model encodes images with their labels, and the data set "
            "has none."
        )
    tables, factors, done = {}, None, 0
    batches = pipeline.in_order(split, first.image_shape, train.ENCODE_BATCH)
    for batch in batches:
        rows = slice(done, done + len(batch["image"]))
        for name, encoder in encoders.items():
            for kind, values in enumerate(encoder.read(batch)):
                if values is None:
                    continue
                table = tables.setdefault(
                    (name, kind),
                    np.empty((len(split), values.shape[-1]), np.float32),
                )
                table[rows] = values
        if "factors" in batch:
            if factors is None:
                shape = (len(split), batch["factors"].shape[-1])
                factors = np.empty(shape, np.int32)
            factors[rows] = batch["factors"]
        done = rows.stop
        if report:
            report(done, len(split))
    for (name, kind), table in tables.items():
        if not np.isfinite(table).all():
            raise InputError(
                f"The codes of {name} are not finite; there is nothing to "
                "score."
            )
        if kind == 1:
            np.maximum(table, np.finfo(np.float32).tiny, out=table)
    return {n: (tables[n, 0], tables.get((n, 1))) for n in encoders}, factors
