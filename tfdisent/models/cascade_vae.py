"""CascadeVAE: a VAE whose re-encoded prior samples follow a structure."""

import keras
import tensorflow as tf

from tfdisent.models import bayesian_regulariser
from tfdisent.models import flat_vae
from tfdisent.models import regularisers
from tfdisent.structure import Structure

# What the structure may be put on: KL weight, gamma and critic to the terms of
# the objective. A weight of None is the regulariser's own.
BASES = {
    "beta_vae": lambda kl, gamma, *critic: [regularisers.WeightedKL(**kl)],
    "factor_vae": lambda kl, gamma, size, *critic: [
        regularisers.WeightedKL(**kl),
        regularisers.CriticTC(size, gamma, *critic),
    ],
    "beta_tcvae": lambda kl, gamma, *critic: [regularisers.DecomposedKL(**kl)],
}


@keras.saving.register_keras_serializable("tfdisent")
class CascadeVAE(flat_vae.FlatVAE):
    """CascadeVAE (Lin et al., CIKM 2022): a VAE + lambda_B KL(q(z^) || p_B).

    Eq. 5 and 6. Beside its own objective on images, the VAE decodes samples of
    the prior, encodes them again (the cascade: one encoder, used twice) and is
    pulled to where these codes follow a Bayesian network, the `structure`; see
    `BayesianRegulariser`. Decoded samples are probabilities, nothing is drawn
    from them. The base's own KL stays: what the paper says is "replaced" is the
    KL of eq. 5. The paper gives neither lambda_B (1 here) nor the conditional
    of its structures (see `Structure`), and leaves open whether the decoder is
    trained by the regulariser, too (it is here).

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of `z`.
      base: the objective on images: `"beta_vae"`, `"factor_vae"` or
        `"beta_tcvae"`. With `factor_vae` half of a batch is its critic's.
      beta: the base's: weight of the KL (of the total correlation in
        `beta_tcvae`); None for what the base has (1, 1 and 6).
      gamma: weight of the total correlation in `factor_vae`.
      structure: text, as `Structure.read` takes it: `"a"` to `"f"`, or edges.
      structure_weight: lambda_B.
      conditional: `"linear_sem"`, `"mean"` or `"mixed"`; see `Structure`.
      disc_input: `"zhat"` or `"pair"`; see `BayesianRegulariser`.
      stop_grad_xhat: whether the regulariser leaves the decoder alone.
      critic_width: of the six hidden layers of every critic.
      critic_learning_rate: of their Adam.
      network: `"conv"`, `"burgess"` (the paper's), `"ladder"` or `"mlp"`.
      likelihood: `"bernoulli"` or `"gaussian"` (unit variance) pixels.
      learning_rate: of the VAE's Adam.
      data_size: N, images in the training set; see `VAE`.
      seed: of the noise.

    Attributes:
      graph: the `Structure` over the entries of `z`.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        latent_dim=10,
        base="beta_vae",
        beta=None,
        gamma=6.4,
        structure="a",
        structure_weight=1.0,
        conditional="linear_sem",
        disc_input="zhat",
        stop_grad_xhat=False,
        critic_width=1000,
        critic_learning_rate=1e-4,
        network="conv",
        likelihood="bernoulli",
        learning_rate=1e-4,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        if base not in BASES:
            raise ValueError(
                f"base must be one of {list(BASES)}. Received: {base}"
            )
        graph = Structure.read(structure, latent_dim)
        critic = (critic_width, critic_learning_rate)
        own = {} if beta is None else {"beta": beta}
        super().__init__(
            image_shape,
            latent_dim,
            [
                *BASES[base](own, gamma, latent_dim, *critic),
                bayesian_regulariser.BayesianRegulariser(
                    graph, structure_weight, conditional, disc_input, *critic
                ),
            ],
            network,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.graph = graph
        self.base = base
        self.beta = beta
        self.gamma = gamma
        self.structure = structure
        self.structure_weight = structure_weight
        self.conditional = conditional
        self.disc_input = disc_input
        self.stop_grad_xhat = stop_grad_xhat
        self.critic_width = critic_width
        self.critic_learning_rate = critic_learning_rate

    def reencode(self, z, seed):
        """z^: what the encoder draws for decoded codes.

        Args:
          z: float32 `[B, d]`.
          seed: int32 `[2]`.

        Returns:
          float32 `[B, d]`; gradients reach the encoder and, but for
          `stop_grad_xhat`, the decoder.
        """
        image = self.decode(z=z)
        if self.stop_grad_xhat:
            image = tf.stop_gradient(image)
        return self.draw(self.posterior(image), seed)["z"]
