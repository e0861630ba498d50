"""The base of all VAEs with one code: their networks."""

import tensorflow as tf

from tfdisent import distributions
from tfdisent import networks
from tfdisent.models import base
from tfdisent.models import vae


class FlatVAE(vae.VAE):
    """A VAE with one code `z`; variants differ by their regularisers.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of `z`.
      regularisers: list of `Regulariser`, the KL among them.
      network: `"conv"` (Locatello et al.), `"burgess"` (Burgess et al.),
        `"ladder"` (pro-VLAE's trunk and deepest ladder) or `"mlp"` (the
        perceptrons of ClassVAE's paper).
      likelihood, learning_rate, data_size, seed: see `VAE`.
    """

    image_sides = (32, 64)

    def __init__(
        self,
        image_shape,
        latent_dim,
        regularisers,
        network="conv",
        **kwargs,
    ):
        if network not in networks.FLAT:
            raise ValueError(
                f"network must be one of {list(networks.FLAT)}. "
                f"Received: {network}"
            )
        self.latent_dim = latent_dim
        super().__init__(image_shape, regularisers, **kwargs)
        self.network = network
        encoder, decoder = networks.FLAT[network]
        self.encoder = encoder(self.image_shape, 2 * latent_dim, name="encoder")
        self.decoder = decoder(self.image_shape, latent_dim, name="decoder")
        self.built = True

    @property
    def parts(self):
        return {"z": (self.latent_dim,)}

    @property
    def units(self):
        return base.single_entries("z", self.latent_dim)

    def posterior(self, image, training=False):
        mean, log_variance = tf.split(
            self.encoder(image, training=training), 2, axis=-1
        )
        return {"z": distributions.diagonal_normal(mean, 0.5 * log_variance)}

    def logits(self, z, training=False):
        return self.decoder(z, training=training)
