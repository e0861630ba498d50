"""A plain convolutional autoencoder: the quickest invertible network."""

import keras
import tensorflow as tf

from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam


@keras.saving.register_keras_serializable("tfdisent")
class Autoencoder(base.PartsModel):
    """Convolutional autoencoder with a code of numbers, trained on pixels.

    A baseline without a paper: summed cross-entropy of the reconstruction,
    optionally of an input with Gaussian noise (Vincent et al., JMLR 2010),
    which keeps neighbouring codes meaningful.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of the code `z`.
      filters: of the stride-2 convolutions; `()` for the default by size.
      hidden: width of the dense layer on either side.
      input_noise: standard deviation of the noise added to the input.
      code_noise: standard deviation of the noise added to the code.
      code_decay: weight of the code's mean square, which fixes its scale.
      learning_rate: of Adam.
      seed: of the noise.
    """

    image_sides = (32, 64)
    tracked = ("loss", "reconstruction", "code_energy")

    def __init__(
        self,
        image_shape=(32, 32, 1),
        latent_dim=256,
        filters=(),
        hidden=256,
        input_noise=0.0,
        code_noise=0.0,
        code_decay=0.0,
        learning_rate=1e-3,
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        self.latent_dim = latent_dim
        self.filters = tuple(filters)
        self.hidden = hidden
        self.input_noise = input_noise
        self.code_noise = code_noise
        self.code_decay = code_decay
        self.learning_rate = learning_rate
        self.encoder = networks.conv_encoder(
            self.image_shape, latent_dim, self.filters, hidden, name="encoder"
        )
        self.decoder = networks.conv_decoder(
            self.image_shape, latent_dim, self.filters, hidden, name="decoder"
        )
        self.built = True

    @property
    def parts(self):
        return {"z": (self.latent_dim,)}

    @property
    def units(self):
        return base.single_entries("z", self.latent_dim)

    def encode(self, image):
        return {"z": self.encoder(image)}

    def decode(self, z):
        return tf.sigmoid(self.decoder(z))

    def default_optimizers(self):
        return {"main": Adam(self.learning_rate)}

    def update(self, batch):
        image = seen = batch["image"]
        if self.input_noise:
            draw = noise.normal(noise.shape_of(image), self.noise_seed(0))
            seen = image + self.input_noise * draw
        with tf.GradientTape() as tape:
            z = self.encoder(seen)
            received = z
            if self.code_noise:
                draw = noise.normal(noise.shape_of(z), self.noise_seed(1))
                received = z + self.code_noise * draw
            scalars = self.objective(image, z, received)
            scaled = self.scaled(scalars["loss"])
        self.descend(tape.gradient(scaled, self.trainable_variables))
        return scalars

    def evaluate_batch(self, batch):
        z = self.encoder(batch["image"])
        return self.objective(batch["image"], z, z)

    def objective(self, image, z, received):
        """The terms of the loss for a code and what the decoder received."""
        reconstruction = tf.reduce_mean(
            losses.cross_entropy_per_image(image, self.decoder(received))
        )
        energy = tf.reduce_mean(tf.reduce_sum(tf.square(z), axis=-1))
        return {
            "loss": reconstruction + self.code_decay * energy,
            "reconstruction": reconstruction,
            "code_energy": energy,
        }
