"""InfoGAN whose found codes follow a structure."""

import keras

from tfdisent import noise
from tfdisent.models import base
from tfdisent.models import bayesian_regulariser
from tfdisent.models import code_gan
from tfdisent.structure import Structure


@keras.saving.register_keras_serializable("tfdisent")
class CascadeInfoGAN(code_gan.CodeGAN):
    """InfoGAN with CascadeVAE's regulariser (section 4.4); see `CodeGAN`.

    One code of standard normal numbers, z; z^ is what Q finds in the generated
    image. Both G and Q are pulled to where z^ follows the structure. InfoGAN's
    own term stays, and pulls z^_j to z_j: where a child depends on its parents,
    the two argue, and the weights say who wins.

    Args:
      image_shape: 28x28, 32x32 or 64x64.
      latent_dim: size of `z`.
      structure, structure_weight, conditional, disc_input, critic_width,
        critic_learning_rate: as in `CascadeVAE`.
      noise_dim, info_weight, filters, hidden, norm, learning_rate,
        discriminator_learning_rate, seed: see `CodeGAN`.

    Attributes:
      graph: the `Structure` over the entries of `z`.
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        latent_dim=10,
        structure="a",
        structure_weight=1.0,
        conditional="linear_sem",
        disc_input="zhat",
        critic_width=1000,
        critic_learning_rate=1e-4,
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
        graph = Structure.read(structure, latent_dim)
        super().__init__(
            image_shape,
            {"z": code_gan.normal(latent_dim)},
            [
                bayesian_regulariser.BayesianRegulariser(
                    graph,
                    structure_weight,
                    conditional,
                    disc_input,
                    critic_width,
                    critic_learning_rate,
                )
            ],
            noise_dim=noise_dim,
            info_weight=info_weight,
            filters=filters,
            hidden=hidden,
            norm=norm,
            learning_rate=learning_rate,
            discriminator_learning_rate=discriminator_learning_rate,
            seed=seed,
            **kwargs,
        )
        self.graph = graph
        self.latent_dim = latent_dim
        self.structure = structure
        self.structure_weight = structure_weight
        self.conditional = conditional
        self.disc_input = disc_input
        self.critic_width = critic_width
        self.critic_learning_rate = critic_learning_rate

    @property
    def units(self):
        return base.single_entries("z", self.latent_dim)

    def reencode(self, z, seed):
        """z^: what Q finds in images of z and new noise.

        Args:
          z: float32 `[B, d]`.
          seed: int32 `[2]`, of the noise.

        Returns:
          float32 `[B, d]`.
        """
        drawn = noise.normal([noise.shape_of(z)[0], self.noise_dim], seed)
        return self.encode(self.generate(drawn, z))["z"]
