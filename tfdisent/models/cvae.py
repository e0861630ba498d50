"""ClassVAE's naive model: a conditional VAE with one code.

Kondamudi and Balasubramanian, Class-Conditional and Class-Generic
Disentangled Representations, report, 2019, section 3.1: q(z|x, y),
p(x|z, y). Their (1) lacks a logarithm and has two priors; this is

    max E log p(x|z, y) - beta |KL(q(z|x, y)) - C|

with p(z) = N(0, I) and C rising linearly, as the text below (1) asks.
"""

import keras
import tensorflow as tf

from tfdisent import distributions
from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam


@keras.saving.register_keras_serializable("tfdisent")
class CVAE(base.PartsModel):
    """A conditional VAE: one code, with the label beside it.

    The defaults give it as many entries and nats as both codes of `ClassVAE`
    have together.

    Args:
      image_shape: `(28, 28, C)`, perceptrons, or `(64, 64, C)`, convolutions.
      num_classes: n; labels lie in [0, n).
      latent_dim: size of `z`.
      beta: weight of |KL - C|; with C = 0 of the KL itself.
      capacity: C, nats.
      ramp_steps: steps over which C rises from 0.
      learning_rate: of Adam.
      seed: of the noise.
    """

    image_sides = (28, 64)
    needs = frozenset({"label"})
    takes_label = True
    tracked = ("loss", "reconstruction", "kl")

    def __init__(
        self,
        image_shape=(28, 28, 1),
        num_classes=10,
        latent_dim=20,
        beta=100.0,
        capacity=40.0,
        ramp_steps=11_700,
        learning_rate=1e-3,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        self.num_classes = num_classes
        self.latent_dim = latent_dim
        self.beta = beta
        self.capacity = capacity
        self.ramp_steps = ramp_steps
        self.learning_rate = learning_rate
        self.encoder = networks.label_encoder(
            self.image_shape, 2 * latent_dim, num_classes, name="encoder"
        )
        self.decoder = networks.label_decoder(
            self.image_shape, latent_dim + num_classes, name="decoder"
        )
        self.built = True

    @property
    def parts(self):
        return {"z": (self.latent_dim,), "label": (self.num_classes,)}

    @property
    def units(self):
        entries = base.single_entries("z", self.latent_dim)
        return entries | {"label": ("label",)}

    def one_hot(self, label):
        """Labels int `[B]` as float32 `[B, num_classes]`."""
        return tf.one_hot(label, self.num_classes)

    def posterior(self, image, label):
        """q(z|x, y): {"z"}, event `[d]`."""
        values = self.encoder(image, self.one_hot(label))
        mean, log_variance = tf.split(values, 2, axis=-1)
        return {"z": distributions.diagonal_normal(mean, 0.5 * log_variance)}

    def encode(self, image, label):
        """Images and labels int `[B]` to parts; the label one-hot."""
        z = self.posterior(image, label)["z"].mean()
        return {"z": z, "label": self.one_hot(label)}

    def decode(self, z, label):
        return tf.sigmoid(self.logits(z, label))

    def logits(self, z, label):
        """log-odds of the pixels, `[B, H, W, C]`."""
        return self.decoder(tf.concat([z, label], axis=-1))

    def log_likelihood(self, image, z, label):
        """log p(x | z, y), `[B]`, nats."""
        return distributions.bernoulli(self.logits(z, label)).log_prob(image)

    def sample(self, seed):
        """z from N(0, I), the class uniform."""
        sizes = [self.latent_dim, self.num_classes]
        draw = noise.rowwise_normal(seed, sum(sizes))
        z, votes = tf.split(draw, sizes, axis=-1)
        # The largest of equally distributed numbers is any of them.
        return self.decode(z, self.one_hot(tf.argmax(votes, axis=-1)))

    def default_optimizers(self):
        return {"main": Adam(self.learning_rate)}

    def update(self, batch):
        with tf.GradientTape() as tape:
            scalars = self.objective(batch, self.noise_seed(0))
            scaled = self.scaled(scalars["loss"])
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return scalars

    def evaluate_batch(self, batch):
        return self.objective(batch, self.held_out_seed(batch["image"]))

    def objective(self, batch, seed):
        """The negative bound's terms, one posterior sample an image."""
        image = batch["image"]
        q = self.posterior(image, batch["label"])["z"]
        z = q.mean() + q.stddev() * noise.normal(noise.shape_of(q.mean()), seed)
        label = self.one_hot(batch["label"])
        reconstruction = -tf.reduce_mean(self.log_likelihood(image, z, label))
        by_entry = distributions.kl_to_standard_normal(q)
        # |.| is of the whole batch's mean, whatever the replicas.
        kl = noise.gather(tf.reduce_sum(by_entry, axis=-1))
        gap = losses.capacity_gap(
            kl, self.capacity, self.step.value, self.ramp_steps
        )
        return {
            "loss": reconstruction + self.beta * gap,
            "reconstruction": reconstruction,
            "kl": tf.reduce_mean(kl),
        }
