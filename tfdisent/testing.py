"""Tests of the contract, for our models and for a user's own.

```python
tfdisent.testing.check_model(MyModel(image_shape=(32, 32, 3)))
```
"""

import inspect
import pathlib
import re
import tempfile

import keras
import numpy as np
import tensorflow as tf

__all__ = [
    "check_model",
    "random_batch",
    "random_images",
    "tiny_model",
    "tiny_models",
]

# float32 sums taken in another order differ by about this much.
TOLERANCE = 1e-5
_REFERENCE = re.compile(r"^(\w+)(?:\[(\d+)\])?$")

# Arguments that make a model small enough to train in a test.
TINY = {
    "ali": {"latent_dim": 4},
    "autoencoder": {"latent_dim": 8, "filters": (8, 8, 8), "hidden": 16},
    "beta_tcvae": {
        "latent_dim": 4,
        "image_shape": (32, 32, 1),
        "data_size": 100,
    },
    "beta_vae": {"latent_dim": 4, "image_shape": (32, 32, 1)},
    "cascade_infogan": {
        "latent_dim": 4,
        "image_shape": (32, 32, 1),
        "structure": "1->3,2->3",
        "noise_dim": 3,
        "filters": (4, 4),
        "hidden": (8,),
        "critic_width": 8,
    },
    "cascade_vae": {
        "latent_dim": 4,
        "image_shape": (32, 32, 1),
        "structure": "1->3,2->3",
        "critic_width": 8,
    },
    "factor_vae": {
        "latent_dim": 4,
        "image_shape": (32, 32, 1),
        "critic_width": 8,
    },
    "class_vae": {"latent_dim": 3, "num_classes": 4},
    "cvae": {"latent_dim": 3, "num_classes": 4},
    "fden": {},
    "jacobian_vae": {
        "z_dim": 2,
        "students": 1,
        "image_shape": (32, 32, 1),
        "schedule_steps": 4,
    },
    "pro_vlae": {
        "z_dim": 2,
        "image_shape": (32, 32, 1),
        "schedule_steps": 6,
        "fade_steps": 1,
    },
    "vlae": {"z_dim": 2, "image_shape": (32, 32, 1)},
    "hdn": {"image_shape": (16, 16, 1), "style_dim": 3, "filters": 4},
    "infogan": {
        "image_shape": (28, 28, 1),
        "categories": 3,
        "noise_dim": 3,
        "filters": (4, 4),
        "hidden": (8,),
    },
}


# ---- small inputs and models ------------------------------------------------


def random_images(shape, count=4, seed=0):
    """Images of noise.

    Args:
      shape: `(H, W, C)`.
      count: how many.
      seed: int.

    Returns:
      float32 `[count, H, W, C]` in [0, 1].
    """
    rng = np.random.default_rng(seed)
    return rng.random((count, *shape), dtype=np.float32)


def random_batch(model, count=4, seed=0):
    """A training batch of noise of whatever the model's `needs` name.

    Args:
      model: a `StepModel`. With `"episodes"` it gets 3-way 2-shot episodes
        with 2 queries, of images, or of codes where it needs a backbone; with
        `"label"` classes below the size of its part `label`, with
        `"hierarchy"` leaves of its `paths`.
      count: images or episodes.
      seed: int.

    Returns:
      A dict of arrays.

    Raises:
      ValueError: it needs what cannot be made up; give a batch of your own.
    """
    rng = np.random.default_rng(seed)
    if "episodes" in model.needs:
        item = model.image_shape
        if "backbone" in model.needs:
            item = model.codes(random_images(item, 1)).shape[1:]
        draw = rng.normal if len(item) == 1 else rng.random
        return {
            "support": draw(size=(count, 3, 2, *item)).astype(np.float32),
            "query": draw(size=(count, 2, *item)).astype(np.float32),
            "target": rng.integers(0, 3, (count, 2)).astype(np.int32),
        }
    batch = {"image": random_images(model.image_shape, count, seed)}
    known = {"backbone"}
    if "label" in model.parts:
        known.add("label")
    if hasattr(model, "paths"):
        known.add("hierarchy")
    if not model.needs <= known:
        raise ValueError(
            f"{type(model).__name__} needs {sorted(model.needs)}, which "
            "cannot be made up; give check_model a batch."
        )
    if "label" in model.needs:
        classes = model.parts["label"][-1]
        batch["label"] = rng.integers(0, classes, count).astype(np.int32)
    if "hierarchy" in model.needs:
        leaves = len(model.paths)
        batch["label"] = rng.integers(0, leaves, count).astype(np.int32)
    return batch


def tiny_model(name, **arguments):
    """A small instance of a model by its name in `models.MODELS`.

    Args:
      name: of the model.
      **arguments: for its constructor, beside or instead of the small sizes.

    Returns:
      The model, not compiled; FDEN on a tiny autoencoder.
    """
    from tfdisent import models

    model_class = models.get(name)
    arguments = {**TINY.get(name, {}), **arguments}
    if "backbone" in model_class.needs and "backbone" not in arguments:
        arguments["backbone"] = tiny_model("autoencoder")
    return model_class(**arguments)


def tiny_models():
    """`{name: small instance}` of every model in `models.MODELS`."""
    from tfdisent import models

    return {name: tiny_model(name) for name in models.MODELS}


# ---- the contract -----------------------------------------------------------


def check_model(model, batch=None):
    """Holds a model to the contract that everything here is written against.

    Meant for float32. It trains the model for one step, and compiles it first
    where that has not been done; give it a copy that you can spare.

    Args:
      model: a `PartsModel`.
      batch: a training batch, a dict as the model's `update` takes it, with
        at least two images where it has images; made of noise when None.

    Raises:
      AssertionError: the model breaks the contract; the message says where.
      ValueError: no batch, and none can be made up for this model.
    """
    owner = _check_units(model)
    batch = random_batch(model) if batch is None else dict(batch)
    first, second = _inputs(model, batch)
    _check_encode(model, first)
    _check_decode(model, first)
    _check_swap(model, owner, first, second)
    if model.posterior is not None:
        _check_posterior(model, first)
    if model.log_likelihood is not None:
        _check_likelihood(model, first)
    if model.sample is not None:
        _check_sample(model)
    _check_graph(model, first)
    _check_training(model, batch)
    _check_config(model, first)


def _check_units(model):
    """Returns {part: number of the unit of every entry}, int `[*shape]`."""
    _require(model.parts, "parts is empty")
    owner = {}
    for part, shape in model.parts.items():
        _require(
            part.isidentifier() and all(int(n) > 0 for n in shape),
            f"parts: {part!r} with shape {shape}; expected a name that is an "
            "identifier and positive sizes",
        )
        owner[part] = np.full(shape, -1)
    for number, (unit, references) in enumerate(model.units.items()):
        for reference in references:
            match = _REFERENCE.match(reference)
            _require(
                match and match[1] in owner,
                f"units: {unit!r} refers to {reference!r}; expected one of "
                f"{list(owner)}, or an index of it",
            )
            entries = owner[match[1]]
            if match[2] is not None:
                _require(
                    entries.ndim == 1 and int(match[2]) < len(entries),
                    f"units: {reference!r} is no entry of a part of shape "
                    f"{entries.shape}",
                )
                entries = entries[int(match[2]) : int(match[2]) + 1]
            _require(
                np.all(entries < 0), f"units: {reference!r} is in two of them"
            )
            entries[...] = number
    uncovered = [part for part, entries in owner.items() if entries.min() < 0]
    _require(not uncovered, f"units do not cover {uncovered}")
    return owner


def _inputs(model, batch):
    """Two tuples of arguments of `encode`, of different images."""
    images = batch.get("image")
    if images is None:
        images = random_images(model.image_shape)
    images = tf.convert_to_tensor(images)
    _require(len(images) > 1, "the batch must have at least two images")
    if not model.takes_label:
        return (images,), (images[::-1],)
    labels = tf.convert_to_tensor(batch["label"])
    return (images, labels), (images[::-1], labels[::-1])


def _check_encode(model, inputs):
    parts = model.encode(*inputs)
    _require(
        list(parts) == list(model.parts),
        f"encode gives {list(parts)}, parts has {list(model.parts)}",
    )
    count = len(inputs[0])
    for name, value in parts.items():
        _require(
            value.dtype == tf.float32
            and tuple(value.shape) == (count, *model.parts[name]),
            f"encode: part {name!r} is {value.dtype.name} "
            f"{tuple(value.shape)}, expected float32 "
            f"{(count, *model.parts[name])}",
        )
    _require_close(model.encode(*inputs), parts, "encode a second time")
    alone = model.encode(*(value[:1] for value in inputs))
    _require_close(
        alone,
        {name: value[:1] for name, value in parts.items()},
        "encode of the first image alone",
    )


def _check_decode(model, inputs):
    image = model.decode(**model.encode(*inputs))
    _require_image(image, (len(inputs[0]), *model.image_shape), "decode")
    _require_close(
        model.decode(**model.encode(*inputs)), image, "decode a second time"
    )


def _check_swap(model, owner, first, second):
    count, units = len(first[0]), len(model.units)
    source, target = model.encode(*first), model.encode(*second)
    labels = (*first[1:], *second[1:])

    def swap(mix):
        mix = tf.constant(mix, tf.float32)
        return model.swap(first[0], second[0], mix, *labels)

    for value, parts in ((0, source), (1, target)):
        _require_close(
            swap(np.full((count, units), value)),
            model.decode(**parts),
            f"swap with mix {value}",
        )
    # Row u takes unit u, and nothing else, from the target.
    rows = {
        name: (
            np.repeat(value[:1], units, 0),
            np.repeat(target[name][:1], units, 0),
        )
        for name, value in source.items()
    }
    mixed = model.mix(
        {name: pair[0] for name, pair in rows.items()},
        {name: pair[1] for name, pair in rows.items()},
        tf.eye(units),
    )
    for name, (kept, taken) in rows.items():
        number = np.arange(units).reshape(-1, *[1] * owner[name].ndim)
        wanted = np.where(owner[name] == number, taken, kept)
        wrong = np.argwhere(np.asarray(mixed[name]) != wanted)
        if len(wrong):
            unit = list(model.units)[wrong[0][0]]
            raise AssertionError(
                f"mix: taking only unit {unit!r} from the target gives "
                f"another part {name!r}"
            )
    mix = np.random.default_rng(0).random((count, units), dtype=np.float32)
    between = {
        name: source[name] + mix[:, owner[name]] * (target[name] - source[name])
        for name in model.parts
    }
    _require_close(
        swap(mix), model.decode(**between), "swap with mix between 0 and 1"
    )


def _check_posterior(model, inputs):
    parts = model.encode(*inputs)
    posterior = model.posterior(*inputs)
    _require(
        posterior and set(posterior) <= set(parts),
        f"posterior gives {list(posterior)}, parts has {list(parts)}",
    )
    for name, distribution in posterior.items():
        _require_close(
            distribution.mean(), parts[name], f"the mean of posterior {name!r}"
        )


def _check_likelihood(model, inputs):
    _require(
        model.posterior is not None,
        "log_likelihood without a posterior: there is no ELBO",
    )
    nats = model.log_likelihood(inputs[0], **model.encode(*inputs))
    _require(
        nats.dtype == tf.float32 and tuple(nats.shape) == (len(inputs[0]),),
        f"log_likelihood is {nats.dtype.name} {tuple(nats.shape)}, expected "
        f"float32 {(len(inputs[0]),)}",
    )
    _require(np.all(np.isfinite(nats)), "log_likelihood is not finite")


def _check_sample(model):
    seeds = tf.constant([[3, 1], [3, 2], [4, 1], [3, 1]], tf.int32)
    images = model.sample(seeds)
    _require_image(images, (4, *model.image_shape), "sample")
    _require_close(images[3:], images[:1], "sample of an equal seed")
    _require_close(
        model.sample(seeds[1:2]), images[1:2], "sample of one seed alone"
    )


def _check_graph(model, inputs):
    """The verbs as export traces them: compiled, for any batch size."""

    def traced(function, *values):
        spec = [tf.TensorSpec([None, *v.shape[1:]], v.dtype) for v in values]
        return tf.function(function, spec, jit_compile=False)(*values)

    parts = model.encode(*inputs)
    _require_close(traced(model.encode, *inputs), parts, "encode in a graph")
    values = [parts[name] for name in model.parts]
    _require_close(
        traced(
            lambda *p: model.decode(**dict(zip(model.parts, p, strict=True))),
            *values,
        ),
        model.decode(**parts),
        "decode in a graph",
    )
    labels = inputs[1:] * 2
    mix = tf.fill([len(inputs[0]), len(model.units)], 0.5)
    arguments = (inputs[0], inputs[0][::-1], mix, *labels)
    _require_close(
        traced(model.swap, *arguments),
        model.swap(*arguments),
        "swap in a graph",
    )


def _check_training(model, batch):
    if not model.optimizer_of:
        model.compile()
    batch = {name: tf.convert_to_tensor(v) for name, v in batch.items()}
    backbone = getattr(model, "backbone", None)
    frozen = [v.numpy() for v in getattr(backbone, "variables", ())]
    step = int(model.step.numpy())

    model.reset_metrics()
    before = [v.numpy() for v in model.trainable_variables]
    tf.function(model.test_step, jit_compile=False)(batch)
    _require(
        int(model.step.numpy()) == step, "test_step raises the model's step"
    )
    _require(not _changed(before, model), "test_step changes weights")
    _finite_reports(model)

    model.reset_metrics()
    tf.function(model.train_step, jit_compile=False)(batch)
    raised = int(model.step.numpy()) - step
    _require(
        raised == 1, f"train_step raises the model's step by {raised}, not 1"
    )
    _require(_changed(before, model), "train_step changes no weight")
    reported = _finite_reports(model)
    _require(
        reported == set(model.tracked),
        f"update reports {sorted(reported)}, tracked has "
        f"{sorted(model.tracked)}",
    )
    model.reset_metrics()
    for variable in model.variables:
        _require(
            np.all(np.isfinite(variable.numpy())),
            f"after one step weight {variable.name!r} is not finite",
        )
    for old, variable in zip(
        frozen, getattr(backbone, "variables", ()), strict=True
    ):
        _require(
            np.array_equal(old, variable.numpy()),
            f"training changes the backbone's {variable.name!r}",
        )


def _changed(before, model):
    return any(
        not np.array_equal(old, variable.numpy())
        for old, variable in zip(before, model.trainable_variables, strict=True)
    )


def _finite_reports(model):
    """Names of the scalars reported since the last reset, all finite."""
    _require(
        set(model.trackers) == set(model.tracked),
        f"trackers has {sorted(model.trackers)}, tracked has "
        f"{sorted(model.tracked)}",
    )
    reported = {n for n, t in model.trackers.items() if float(t.count) > 0}
    for name in reported:
        value = float(model.trackers[name].result())
        _require(np.isfinite(value), f"{name!r} is {value}")
    return reported


def _check_config(model, inputs):
    """Constructor arguments = get_config, and `.keras` there and back."""
    try:
        config = keras.saving.serialize_keras_object(model)["config"]
    except (NotImplementedError, ValueError):
        # Declared to have no such form, as on a foreign SavedModel.
        return
    parameters = inspect.signature(type(model)).parameters.values()
    forgotten = [
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in config
    ]
    _require(not forgotten, f"get_config forgets {forgotten}")
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "model.keras"
        model.save(path)
        restored = keras.saving.load_model(
            path, custom_objects={type(model).__name__: type(model)}
        )
    parts = model.encode(*inputs)
    _require_close(
        restored.encode(*inputs), parts, "encode of the saved and loaded model"
    )
    _require_close(
        restored.decode(**parts),
        model.decode(**parts),
        "decode of the saved and loaded model",
    )


# ---- clear errors -----------------------------------------------------------


def _require(condition, message):
    if not condition:
        raise AssertionError(message)


def _require_image(image, shape, verb):
    _require(
        image.dtype == tf.float32 and tuple(image.shape) == tuple(shape),
        f"{verb} gives {image.dtype.name} {tuple(image.shape)}, expected "
        f"float32 {tuple(shape)}",
    )
    low, high = float(np.min(image)), float(np.max(image))
    _require(
        0 <= low and high <= 1,
        f"{verb} gives pixels from {low:g} to {high:g}, expected [0, 1]",
    )


def _require_close(actual, expected, what):
    """Tensors, or dicts of tensors, that differ by rounding at most."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            _require_close(actual[name], value, f"{what}: part {name!r}")
        return
    actual, expected = np.asarray(actual), np.asarray(expected)
    _require(
        actual.shape == expected.shape,
        f"{what}: shape {actual.shape}, expected {expected.shape}",
    )
    gap = np.max(np.abs(actual - expected), initial=0)
    scale = max(1.0, np.max(np.abs(expected), initial=0))
    _require(
        gap <= TOLERANCE * scale,
        f"{what} differs from what it should be by up to {gap:.3g}",
    )
