"""The contract: every model turns images into named parts and back.

`StepModel` is how everything here trains; `PartsModel` adds the named parts.
"""

import inspect
import re

import keras
import numpy as np
import tensorflow as tf

from tfdisent import noise
from tfdisent.optimizers import Adam

_INDEXED = re.compile(r"^(\w+)\[(\d+)\]$")


class StepModel(keras.Model):
    """A Keras model with several optimizers and noise that follows its step.

    A subclass implements `update`, and names its losses in `tracked`.

    Class attributes:
      needs: what it trains on beside images, a set out of `"label"`,
        `"episodes"`, `"backbone"`, `"hierarchy"`.
      tracked: names of the scalars that `update` returns.

    Args:
      image_shape: `(height, width, channels)` it works at.
      seed: int; initial weights follow Keras' global seed, all noise this.

    Attributes:
      step: int64 weight, raised once a training step and saved with the
        weights; noise and schedules follow it.
      optimizer_of: {name: optimizer}, set by `compile`.
    """

    needs = frozenset()
    tracked = ("loss",)

    def __init__(self, image_shape, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.image_shape = tuple(int(n) for n in image_shape)
        self.seed = int(seed)
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.trackers = {n: keras.metrics.Mean(name=n) for n in self.tracked}
        self.optimizer_of = {}

    # ---- what a subclass implements --------------------------------------

    def update(self, batch):
        """One training step on a batch, without raising `step`.

        Args:
          batch: a dict with `image` float32 `[B, H, W, C]` and whatever the
            model needs beside.

        Returns:
          {name: scalar} for every name of `tracked`.
        """
        raise NotImplementedError

    def evaluate_batch(self, batch):
        """The losses of a batch without training; as `update` returns them.

        May leave out what exists in training only.
        """
        raise NotImplementedError

    def default_optimizers(self):
        """{name: a new optimizer} with the paper's settings."""
        return {"main": Adam()}

    def variables_of(self, name):
        """The trainable variables that optimizer `name` updates."""
        del name
        return self.trainable_variables

    def adapt(self, data):
        """Takes what the model fixes from training data before step 0.

        Args:
          data: an iterable of images (or codes) of the training split, which
            costs nothing where nobody reads it.
        """

    # ---- what follows from it --------------------------------------------

    def get_config(self):
        """The constructor's arguments: attributes of the same names."""
        arguments = inspect.signature(type(self)).parameters
        config = {n: getattr(self, n) for n in arguments if n != "kwargs"}
        return config | {"name": self.name}

    def build(self, input_shape=None):
        """Nothing: constructors create every variable."""
        del input_shape
        self.built = True

    def compile(self, optimizers=None, jit_compile=False, **kwargs):
        """Prepares for training; every optimizer is built here.

        Args:
          optimizers: {name: optimizer} with the names of
            `default_optimizers`, which stand in for those left out.
          jit_compile: whether steps are compiled by XLA (slower on CPU).
          **kwargs: for `keras.Model.compile`.

        Raises:
          ValueError: an optimizer of an unknown name.
        """
        chosen = self.default_optimizers()
        unknown = set(optimizers or {}) - set(chosen)
        if unknown:
            raise ValueError(
                f"optimizers has unknown names {sorted(unknown)}; this model "
                f"has {list(chosen)}."
            )
        chosen |= optimizers or {}
        if keras.config.dtype_policy().name == "mixed_float16":
            chosen = {n: _loss_scaled(o) for n, o in chosen.items()}
        for name, optimizer in chosen.items():
            # Unbuilt, its state would be skipped when a run is resumed.
            optimizer.build(self.variables_of(name))
        self.optimizer_of = chosen
        super().compile(
            # Without one Keras would make an RMSprop that nobody uses.
            optimizer=next(iter(chosen.values())),
            jit_compile=jit_compile,
            auto_scale_loss=False,
            **kwargs,
        )

    def get_compile_config(self):
        if not self.optimizer_of:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizers": {
                name: serialize(optimizer)
                for name, optimizer in self.optimizer_of.items()
            }
        }

    def compile_from_config(self, config):
        restore = keras.saving.deserialize_keras_object
        self.compile({n: restore(o) for n, o in config["optimizers"].items()})

    @property
    def metrics(self):
        return list(self.trackers.values())

    def train_step(self, data):
        """One step; `data` is a batch dict, images, or (images, labels)."""
        batch = self.as_batch(data)
        scalars = self.update(batch)
        self.step.assign_add(1)
        return self.track(scalars, batch)

    def test_step(self, data):
        batch = self.as_batch(data)
        return self.track(self.evaluate_batch(batch), batch)

    def as_batch(self, data):
        """The batch dict of whatever `fit` was given.

        Raises:
          ValueError: images of another shape than the model's.
        """
        if isinstance(data, tuple):
            if len(data) == 1:
                data = data[0]
            else:
                data = {"image": data[0], "label": data[1]}
        batch = dict(data) if isinstance(data, dict) else {"image": data}
        if "image" in batch:
            image = tf.convert_to_tensor(batch["image"])
            if tuple(image.shape[1:]) != self.image_shape:
                raise ValueError(
                    f"Expected images of shape {self.image_shape}, received "
                    f"{tuple(image.shape[1:])}."
                )
            if image.dtype == tf.uint8:
                image = tf.cast(image, tf.float32) / 255.0
            batch["image"] = tf.cast(image, tf.float32)
        return batch

    def track(self, scalars, batch):
        """Updates the running means, weighted by batch size."""
        size = tf.shape(next(iter(batch.values())))[0]
        for name, value in scalars.items():
            self.trackers[name].update_state(value, sample_weight=size)
        return self.get_metrics_result()

    def noise_seed(self, salt):
        """int32 `[2]`, unique to (seed, step, salt)."""
        base = tf.constant([self.seed, salt], tf.int32)
        return noise.fold(base, tf.cast(self.step.value, tf.int32))

    def held_out_seed(self, image):
        """int32 `[2]`, for images that are not trained on.

        The step stands still meanwhile, so it follows the images: batches have
        noise of their own, and the same one the same whenever it comes.
        """
        levels = tf.cast(tf.round(255 * image), tf.int32)
        rows = _fingerprint(tf.reshape(levels, [tf.shape(levels)[0], -1]))
        everyone = _fingerprint(noise.gather(rows)[None])[0]
        return noise.fold(self.noise_seed(1), everyone)

    def scaled(self, loss, optimizer="main"):
        """A loss as the tape should see it: per replica, scaled for float16.

        Args:
          loss: mean over this replica's batch.
          optimizer: whose gradient it is for.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self.optimizer_of[optimizer].scale_loss(loss / replicas)

    def descend_all(self, objective):
        """One forward pass, and from it a step of every optimizer.

        Args:
          objective: () -> (anything, {optimizer: the loss it descends}).

        Returns:
          The first of what `objective` gave.
        """
        with tf.GradientTape(persistent=True) as tape:
            result, losses = objective()
            goals = {n: self.scaled(loss, n) for n, loss in losses.items()}
        gradients = {
            name: tape.gradient(goal, self.variables_of(name))
            for name, goal in goals.items()
        }
        del tape
        for name, gradient in gradients.items():
            self.descend(gradient, name)
        return result

    def descend(self, gradients, optimizer="main"):
        """Applies gradients of a `scaled` loss to the optimizer's variables."""
        chosen = self.optimizer_of[optimizer]
        if isinstance(chosen, keras.optimizers.LossScaleOptimizer):
            # It looks for an overflow on the first replica only.
            gradients = _replica_means(gradients)
        chosen.apply(gradients, self.variables_of(optimizer))


class PartsModel(StepModel):
    """A model of images whose representation consists of named parts.

    A subclass sets `parts` and `units` and implements `encode`, `decode` and
    `update`; everything else in this package (swaps, traversals, pictures,
    scores, export, serving) follows from these. Images are float32 in [0, 1]
    at every method, whatever range the networks use inside;
    `data.pipeline.fit_images` makes such of bytes and of other sizes.

    Class attributes:
      image_sides: sides of the square images it can take, or None for any.
      takes_label: whether `encode` wants a label and `swap` two.
      categorical: parts that are one-hot; between categories is nothing.
      reconstructs: whether `decode(encode(image))` resembles the image.
      sample: None, or a method `sample(seed)`: int32 `[B, 2]` -> images from
        the prior, each row independent of the others.
      posterior: None, or a method `posterior(image)` -> {part: distribution}:
        a diagonal Gaussian whose prior is N(0, I) and whose mean is what
        `encode` gives. It takes a label where `encode` does.
      log_likelihood: None, or a method `log_likelihood(image, **parts)` ->
        float32 `[B]`, nats: log p(image | parts) of the model whose ELBO is
        E log p(image | parts) - KL(posterior || N(0, I)). It wants a
        posterior; parts without one are given as `encode` gives them.
      stage_ends: the steps at which stages of training end.
      graph: None, or the `Structure` that the entries of its part `z` were
        trained to follow; then there is a method `reencode(z, seed)`, and
        `conditional`, a name in `structure.CONDITIONALS`.

    Attributes:
      parts: {name: shape without batch}, in order.
      units: {name: references}; a reference is a part's name or `"z[3]"`.
    """

    image_sides = None
    takes_label = False
    categorical = frozenset()
    reconstructs = True
    sample = None
    posterior = None
    log_likelihood = None
    stage_ends = ()
    graph = None

    def __init__(self, image_shape, seed=0, **kwargs):
        super().__init__(image_shape, seed, **kwargs)
        if self.image_sides and (
            self.image_shape[0] not in self.image_sides
            or self.image_shape[1] != self.image_shape[0]
        ):
            sides = " or ".join(f"{s}x{s}" for s in self.image_sides)
            raise ValueError(
                f"{type(self).__name__} takes images of {sides}. Received: "
                f"image_shape={self.image_shape}"
            )

    # ---- what a subclass implements --------------------------------------

    def encode(self, image):
        """Images to parts, deterministic: posterior means.

        Args:
          image: float32 `[B, H, W, C]` in [0, 1].

        Returns:
          {part: float32 `[B, *shape]`}.
        """
        raise NotImplementedError

    def decode(self, **parts):
        """Parts to images, float32 `[B, H, W, C]` in [0, 1]."""
        raise NotImplementedError

    # ---- what follows from it --------------------------------------------

    @property
    def groups(self):
        """{name: (part, entries)}: codes that pictures show together.

        Every part of rank 1 by default.
        """
        return {
            name: (name, list(range(shape[0])))
            for name, shape in self.parts.items()
            if len(shape) == 1
        }

    def call(self, image, training=False):
        """Reconstructions; Keras asks for it, `encode` and `decode` are it.

        `image` is `(image, label)` where the model `takes_label`.
        """
        del training
        given = image if self.takes_label else (image,)
        return self.decode(**self.encode(*given))

    def swap(self, source, target, mix, source_label=None, target_label=None):
        """Images of the source with some units of the target.

        Args:
          source, target: float32 `[B, H, W, C]` in [0, 1].
          mix: float32 `[B, len(units)]`; 0 keeps the source's unit, 1 takes
            the target's, between is linear interpolation.
          source_label, target_label: where `takes_label`, int `[B]`.

        Returns:
          float32 `[B, H, W, C]`.

        Raises:
          ValueError: mix of another shape.
        """
        labels = (source_label, target_label) if self.takes_label else ()
        first = self.encode(source, *labels[:1])
        second = self.encode(target, *labels[1:])
        return self.decode(**self.mix(first, second, mix))

    def mix(self, source, target, mix):
        """Interpolates two sets of parts unit by unit.

        Args:
          source, target: {part: `[B, *shape]`}.
          mix: float32 `[B, len(units)]`.

        Returns:
          {part: `[B, *shape]`}; exactly the source at 0, the target at 1.

        Raises:
          ValueError: mix of another shape.
        """
        mix = tf.cast(mix, tf.float32)
        if not mix.shape[1:].is_compatible_with([len(self.units)]):
            raise ValueError(
                f"mix must be [B, {len(self.units)}], a number for each of the "
                f"units {', '.join(self.units)}. Received shape {mix.shape}."
            )
        mixed = {}
        for part, unit in self.unit_of_entry().items():
            weight = tf.gather(mix, unit, axis=1)
            rank = len(self.parts[part])
            while len(weight.shape) < rank + 1:
                weight = weight[..., None]
            mixed[part] = (1 - weight) * source[part] + weight * target[part]
        return mixed

    def unit_of_entry(self):
        """{part: number of its unit, or one number an entry (int `[n]`)}."""
        owner = {}
        for number, references in enumerate(self.units.values()):
            for reference in references:
                indexed = _INDEXED.match(reference)
                if indexed:
                    part, entry = indexed[1], int(indexed[2])
                    entries = owner.setdefault(
                        part, np.full(self.parts[part][-1], -1)
                    )
                    entries[entry] = number
                else:
                    owner[reference] = np.int64(number)
        missing = [
            part
            for part in self.parts
            if part not in owner or np.any(owner[part] < 0)
        ]
        if missing:
            raise ValueError(
                f"units must cover every part. Not covered: {missing}"
            )
        return owner


def _fingerprint(numbers):
    """A number for every row of int32 `[B, n]`; the order counts."""
    return tf.reduce_sum(numbers * (1 + tf.range(tf.shape(numbers)[1])), axis=1)


def _loss_scaled(optimizer):
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def _replica_means(gradients):
    """Gradients that are the same on every replica; their sum stays."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    present = [g for g in gradients if g is not None]
    means = iter(context.all_reduce(tf.distribute.ReduceOp.MEAN, present))
    return [g if g is None else next(means) for g in gradients]


def whole_parts(parts):
    """Units that are the parts themselves."""
    return {name: (name,) for name in parts}


def single_entries(part, size):
    """Units that are the entries of one part: `z[0]`, `z[1]`, ..."""
    return {f"{part}[{i}]": (f"{part}[{i}]",) for i in range(size)}
