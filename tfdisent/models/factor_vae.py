"""FactorVAE: a critic measures the total correlation, which is penalised."""

import keras

from tfdisent.models import flat_vae
from tfdisent.models import regularisers


@keras.saving.register_keras_serializable("tfdisent")
class FactorVAE(flat_vae.FlatVAE):
    """FactorVAE (Kim and Mnih, ICML 2018): the ELBO + gamma TC, eq. 2.

    Half of a training batch is in the ELBO; codes of the other half are
    permuted for the critic (the second batch of the paper's algorithm 2). So
    `batch_size` is twice that of the other VAEs for the same ELBO.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of `z`.
      gamma: weight of the total correlation.
      critic_width: of the critic's six hidden layers.
      critic_learning_rate: of the critic's Adam.
      network: `"conv"`, `"burgess"`, `"ladder"` or `"mlp"`.
      likelihood: `"bernoulli"` or `"gaussian"` (unit variance) pixels.
      learning_rate: of Adam.
      data_size: N, images in the training set; see `VAE`.
      seed: of the noise.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        latent_dim=10,
        gamma=6.4,
        critic_width=1000,
        critic_learning_rate=1e-4,
        network="conv",
        likelihood="bernoulli",
        learning_rate=1e-4,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(
            image_shape,
            latent_dim,
            [
                regularisers.WeightedKL(),
                regularisers.CriticTC(
                    latent_dim, gamma, critic_width, critic_learning_rate
                ),
            ],
            network,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.gamma = gamma
        self.critic_width = critic_width
        self.critic_learning_rate = critic_learning_rate
