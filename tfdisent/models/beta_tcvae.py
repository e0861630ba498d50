"""beta-TCVAE: the KL in its three parts, the total correlation weighted."""

import keras

from tfdisent.models import flat_vae
from tfdisent.models import regularisers
from tfdisent.models import vae


@keras.saving.register_keras_serializable("tfdisent")
class BetaTCVAE(flat_vae.FlatVAE):
    """beta-TCVAE (Chen et al., NeurIPS 2018): MI + beta TC + dimension KL.

    Stratified sampling has one weight (N - M) / (N M) a row here. In the
    authors' code the stride that sets the weights runs past the rows, so that
    a column holds it instead; with the batch in random order, that is not
    the estimator of their appendix C.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of `z`.
      beta: weight of the total correlation.
      estimator: of q(z): `"mss"`, minibatch stratified sampling, or `"mws"`,
        minibatch-weighted sampling, whose bias grows with N (of 64 codes
        without any, nine entries, its total correlation is 110 nats at N =
        432,000).
      network: `"conv"`, `"burgess"`, `"ladder"` or `"mlp"`.
      likelihood: `"bernoulli"` or `"gaussian"` (unit variance) pixels.
      learning_rate: of Adam.
      data_size: N, images in the training set; its loss needs it.
      seed: of the noise.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        latent_dim=10,
        beta=6.0,
        estimator="mss",
        network="conv",
        likelihood="bernoulli",
        learning_rate=5e-4,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        if estimator not in vae.ESTIMATORS:
            raise ValueError(
                f"estimator must be one of {list(vae.ESTIMATORS)}. "
                f"Received: {estimator}"
            )
        super().__init__(
            image_shape,
            latent_dim,
            [regularisers.DecomposedKL(beta)],
            network,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.beta = beta
        self.estimator = estimator
