"""The flat VAE and its beta."""

import keras
import tensorflow as tf

from tfdisent import distributions
from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam


@keras.saving.register_keras_serializable("tfdisent")
class BetaVAE(base.PartsModel):
    """beta-VAE (Higgins et al., ICLR 2017): reconstruction + beta KL.

    Cross-entropy is summed over pixels and the KL over latents, both in nats
    an image, so beta means what it means in the paper.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of `z`.
      beta: weight of the KL term; 1 is the plain VAE.
      network: `"conv"`, the sizes of Locatello et al.
      learning_rate: of Adam.
      seed: of the noise.
    """

    image_sides = (32, 64)
    tracked = ("loss", "reconstruction", "kl")

    def __init__(
        self,
        image_shape=(64, 64, 1),
        latent_dim=10,
        beta=1.0,
        network="conv",
        learning_rate=5e-4,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        if network != "conv":
            raise ValueError(f"network must be 'conv'. Received: {network}")
        self.latent_dim = latent_dim
        self.beta = beta
        self.network = network
        self.learning_rate = learning_rate
        self.encoder = networks.conv_encoder(
            self.image_shape, 2 * latent_dim, name="encoder"
        )
        self.decoder = networks.conv_decoder(
            self.image_shape, latent_dim, name="decoder"
        )
        self.built = True

    @property
    def parts(self):
        return {"z": (self.latent_dim,)}

    @property
    def units(self):
        return base.single_entries("z", self.latent_dim)

    def posterior(self, image):
        mean, log_variance = tf.split(self.encoder(image), 2, axis=-1)
        return {"z": distributions.diagonal_normal(mean, 0.5 * log_variance)}

    def encode(self, image):
        return {"z": self.posterior(image)["z"].mean()}

    def decode(self, z):
        return tf.sigmoid(self.decoder(z))

    def log_likelihood(self, image, z):
        return distributions.bernoulli(self.decoder(z)).log_prob(image)

    def sample(self, seed):
        return self.decode(noise.rowwise_normal(seed, self.latent_dim))

    def default_optimizers(self):
        return {"main": Adam(self.learning_rate)}

    def update(self, batch):
        with tf.GradientTape() as tape:
            scalars = self.objective(batch["image"], self.noise_seed(0))
            scaled = self.scaled(scalars["loss"])
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return scalars

    def evaluate_batch(self, batch):
        return self.objective(batch["image"], self.noise_seed(1))

    def objective(self, image, seed):
        """The negative ELBO's terms, one posterior sample an image."""
        posterior = self.posterior(image)["z"]
        draw = noise.normal(noise.shape_of(posterior.mean()), seed)
        z = posterior.mean() + posterior.stddev() * draw
        likelihood = distributions.bernoulli(self.decoder(z))
        reconstruction = -tf.reduce_mean(likelihood.log_prob(image))
        by_entry = distributions.kl_to_standard_normal(posterior)
        kl = tf.reduce_mean(tf.reduce_sum(by_entry, axis=-1))
        return {
            "loss": reconstruction + self.beta * kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }
