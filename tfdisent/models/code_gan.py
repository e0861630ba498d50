"""The base of InfoGANs: a GAN that finds again which code it was given."""

import dataclasses
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.models.regularisers import joined
from tfdisent.optimizers import Adam


@dataclasses.dataclass(frozen=True)
class Code:
    """A part of the code: its prior, and what Q says of it.

    Attributes:
      size: d.
      draw: standard normal draws `[B, d]` -> codes `[B, d]` of the prior.
      read: Q's outputs `[B, d]` -> the codes it expects, `[B, d]`.
      error: Q's outputs, codes -> -log q(code | image) up to a constant, `[B]`.
      categorical: whether codes are one-hot.
    """

    size: int
    draw: Callable
    read: Callable
    error: Callable
    categorical: bool = False


def _squared_error(outputs, codes):
    # A normal of standard deviation 1.
    return 0.5 * tf.reduce_sum(tf.square(outputs - codes), axis=-1)


def normal(size):
    """Standard normal numbers, found as the means of normals."""
    return Code(size, tf.identity, tf.identity, _squared_error)


def uniform(size):
    """Numbers from (-1, 1), found as the means of normals."""

    def draw(normals):
        return tf.math.erf(normals / math.sqrt(2))

    return Code(size, draw, tf.identity, _squared_error)


def category(size):
    """One of `size` categories, one-hot, all equally likely."""

    def draw(normals):
        return tf.one_hot(tf.argmax(normals, axis=-1), size)

    def error(outputs, codes):
        return tf.nn.softmax_cross_entropy_with_logits(codes, outputs)

    return Code(size, draw, tf.nn.softmax, error, categorical=True)


class CodeGAN(base.PartsModel):
    """A GAN whose generator takes noise and a code, and Q, which finds it.

    InfoGAN (Chen et al., NeurIPS 2016, eq. 6): G and Q minimise
    -log q(code | G(noise, code)), the bound on their mutual information, beside
    the GAN's own losses; Q shares all but its head with the discriminator D,
    and is trained by its optimizer (the authors' code). All updates come from
    one forward pass, where the authors update D before G.

    Q finds the code but not the noise, so `decode(encode(x))` does not resemble
    x: pictures are decoded with noise drawn once, a weight of the model.

    Args:
      image_shape: 28x28, 32x32 or 64x64.
      codes: {part: `Code`}.
      regularisers: list of `BayesianRegulariser`, of the codes found.
      noise_dim: numbers of noise.
      info_weight: of the code's error in both losses.
      filters: of D's stride-2 convolutions; by image side when empty.
      hidden: widths of its dense layers; by image side when empty.
      norm: `"batch"`, or None for no batch normalisation.
      learning_rate: of G's Adam.
      discriminator_learning_rate: of D's and Q's.
      seed: of the noise.
    """

    image_sides = (28, 32, 64)
    reconstructs = False

    def __init__(
        self,
        image_shape,
        codes,
        regularisers=(),
        noise_dim=62,
        info_weight=1.0,
        filters=(),
        hidden=(),
        norm="batch",
        learning_rate=1e-3,
        discriminator_learning_rate=2e-4,
        seed=0,
        **kwargs,
    ):
        if norm not in ("batch", None):
            raise ValueError(
                f"norm must be 'batch' or None. Received: {norm!r}"
            )
        self.tracked = ("loss", "discriminator", "generator", "code_error")
        self.tracked += tuple(n for r in regularisers for n in r.tracked)
        super().__init__(image_shape, seed, **kwargs)
        self.codes = dict(codes)
        self.regularisers = list(regularisers)
        self.noise_dim = noise_dim
        self.info_weight = info_weight
        self.filters = tuple(filters)
        self.hidden = tuple(hidden)
        self.norm = norm
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        size = sum(code.size for code in codes.values())
        side = self.image_shape[0]
        filters = self.filters or networks.GAN_FILTERS[side]
        if side % 2 ** len(filters):
            raise ValueError(
                f"{len(filters)} filters halve an image so many times, and "
                f"{side} pixels cannot be. Received: filters={filters}"
            )
        hidden = self.hidden or networks.GAN_HIDDEN[side]
        layout = (filters, hidden, norm)
        self.generator = networks.gan_generator(
            self.image_shape, noise_dim + size, *layout, name="generator"
        )
        self.trunk = networks.gan_trunk(self.image_shape, *layout, name="trunk")
        self.head = networks.gan_head(hidden[-1], 1, name="discriminator")
        self.finder = networks.gan_head(
            hidden[-1], size, (128,), norm, name="finder"
        )
        self.fixed_noise = self.add_weight(
            name="fixed_noise",
            shape=(noise_dim,),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=seed),
            trainable=False,
        )
        self.built = True

    # ---- the contract ----------------------------------------------------

    @property
    def parts(self):
        return {name: (code.size,) for name, code in self.codes.items()}

    @property
    def categorical(self):
        return frozenset(n for n, c in self.codes.items() if c.categorical)

    def encode(self, image):
        return self.find(self.trunk(_centred(image)))[1]

    def decode(self, **parts):
        codes = joined({name: parts[name] for name in self.codes})
        drawn = tf.repeat(self.fixed_noise.value[None], tf.shape(codes)[0], 0)
        return self.generate(drawn, codes)

    def sample(self, seed):
        count = self.noise_dim + sum(c.size for c in self.codes.values())
        drawn, codes = self.latents(noise.rowwise_normal(seed, count))
        return self.generate(drawn, joined(codes))

    # ---- pieces ----------------------------------------------------------

    def latents(self, normals):
        """Noise and codes of standard normal draws.

        Args:
          normals: float32 `[B, noise_dim + d]`.

        Returns:
          float32 `[B, noise_dim]` and {part: float32 `[B, size]`}.
        """
        sizes = [code.size for code in self.codes.values()]
        drawn, *own = tf.split(normals, [self.noise_dim, *sizes], axis=-1)
        return drawn, {
            name: code.draw(values)
            for (name, code), values in zip(
                self.codes.items(), own, strict=True
            )
        }

    def generate(self, drawn, codes, training=False):
        """Images in [0, 1] of noise `[B, noise_dim]` and codes `[B, d]`."""
        inputs = tf.concat([drawn, codes], axis=-1)
        return 0.5 * (self.generator(inputs, training=training) + 1)

    def find(self, features, training=False):
        """Q's outputs and the codes it expects, {part: `[B, size]`} both."""
        sizes = [code.size for code in self.codes.values()]
        outputs = self.finder(features, training=training)
        outputs = dict(
            zip(self.codes, tf.split(outputs, sizes, axis=-1), strict=True)
        )
        return outputs, {n: c.read(outputs[n]) for n, c in self.codes.items()}

    # ---- training --------------------------------------------------------

    def default_optimizers(self):
        rivals = {r.rival: r.optimizer() for r in self.regularisers}
        return {
            "generator": Adam(self.learning_rate, beta_1=0.5),
            "discriminator": Adam(self.discriminator_learning_rate, beta_1=0.5),
            **rivals,
        }

    def variables_of(self, name):
        own = {r.rival: [r] for r in self.regularisers}
        own["generator"] = [self.generator]
        own["discriminator"] = [self.trunk, self.head, self.finder]
        return [v for part in own[name] for v in part.trainable_variables]

    def update(self, batch):
        return self.descend_all(
            lambda: self.objective(
                batch["image"], self.noise_seed(0), training=True
            )
        )

    def evaluate_batch(self, batch):
        image = batch["image"]
        return self.objective(image, self.held_out_seed(image))[0]

    def objective(self, image, seed, training=False):
        """The losses of real images and as many generated ones.

        Args:
          image: float32 `[B, H, W, C]` in [0, 1].
          seed: int32 `[2]`.
          training: whether batch statistics are used and updated.

        Returns:
          {name: scalar} for every name of `tracked`, and {optimizer: loss}.
        """
        count = self.noise_dim + sum(c.size for c in self.codes.values())
        rows = noise.shape_of(image)[0]
        drawn, codes = self.latents(noise.normal([rows, count], seed))
        generated = self.generate(drawn, joined(codes), training)
        # Either kind has batch statistics of its own (the authors' code).
        real = self.head(self.trunk(_centred(image), training=training))
        features = self.trunk(_centred(generated), training=training)
        fake = self.head(features)
        outputs, found = self.find(features, training)
        code_error = tf.add_n(
            [
                tf.reduce_mean(code.error(outputs[name], codes[name]))
                for name, code in self.codes.items()
            ]
        )
        discriminator = tf.reduce_mean(
            tf.nn.softplus(-real) + tf.nn.softplus(fake)
        )
        generator = tf.reduce_mean(tf.nn.softplus(-fake))
        scalars = {
            "discriminator": discriminator,
            "generator": generator,
            "code_error": code_error,
        }
        shared, rivals = self.info_weight * code_error, {}
        for regulariser in self.regularisers:
            penalty = regulariser.compare(joined(codes), joined(found), seed)
            shared += penalty.value
            scalars |= penalty.reports
            rivals[regulariser.rival] = penalty.rival_loss
        goals = {
            "generator": generator + shared,
            "discriminator": discriminator + shared,
            **rivals,
        }
        return {"loss": goals["generator"]} | scalars, goals


def _centred(image):
    """Images in [0, 1] as the networks see them, in [-1, 1]."""
    return 2 * image - 1
