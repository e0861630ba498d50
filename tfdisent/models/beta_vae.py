"""The flat VAE and its beta, with a growing capacity as an option."""

import keras

from tfdisent.models import flat_vae
from tfdisent.models import regularisers


@keras.saving.register_keras_serializable("tfdisent")
class BetaVAE(flat_vae.FlatVAE):
    """beta-VAE (Higgins et al., ICLR 2017): reconstruction + beta KL.

    With a `capacity` the loss is reconstruction + gamma |KL - C| in place of
    it, C growing linearly (Burgess et al., Understanding disentangling in
    beta-VAE, 2018, eq. 8).

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of `z`.
      beta: weight of the KL term; 1 is the plain VAE.
      capacity: nats that C reaches; 0 for the form with beta.
      gamma: weight of |KL - C|.
      capacity_steps: over which C grows from 0.
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
        beta=1.0,
        capacity=0.0,
        gamma=1000.0,
        capacity_steps=100_000,
        network="conv",
        likelihood="bernoulli",
        learning_rate=5e-4,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        regulariser = regularisers.WeightedKL(beta)
        if capacity:
            regulariser = regularisers.CapacityKL(
                gamma, capacity, capacity_steps
            )
        super().__init__(
            image_shape,
            latent_dim,
            [regulariser],
            network,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.beta = beta
        self.capacity = capacity
        self.gamma = gamma
        self.capacity_steps = capacity_steps
