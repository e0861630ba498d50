"""VLAE: a code at every depth, all of them trained at once."""

import keras
import tensorflow as tf

from tfdisent import distributions
from tfdisent import networks
from tfdisent.models import base
from tfdisent.models import regularisers
from tfdisent.models import vae


class LadderVAE(vae.VAE):
    """A VAE with a code a level: parts `z1` (the shallowest) to `zL`.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      ladder: a `networks.LadderNetwork`.
      regularisers: list of `Regulariser`, the KL among them.
      z_dim: entries of every level.
      levels: L.
      log_variances: the range in which the KL sees them, or None.
      likelihood, learning_rate, data_size, seed: see `VAE`.
    """

    image_sides = (32, 64)

    def __init__(
        self,
        image_shape,
        ladder,
        regularisers,
        z_dim,
        levels,
        log_variances=None,
        **kwargs,
    ):
        self.z_dim = z_dim
        self.levels = levels
        super().__init__(image_shape, regularisers, **kwargs)
        self.ladder = ladder
        self.log_variances = log_variances
        self.built = True

    @property
    def parts(self):
        return {f"z{n + 1}": (self.z_dim,) for n in range(self.levels)}

    @property
    def units(self):
        return base.whole_parts(self.parts)

    def head_gains(self):
        """What every level's ladder sees its features multiplied by."""
        return None

    def map_gains(self):
        """What every level's m_l(z_l) is multiplied by."""
        return None

    def posterior(self, image, training=False):
        parameters = self.ladder.infer(image, self.head_gains(), training)
        posterior = {}
        for name, values in zip(self.parts, parameters, strict=True):
            mean, log_variance = tf.split(values, 2, axis=-1)
            posterior[name] = distributions.diagonal_normal(
                mean, 0.5 * log_variance
            )
        return posterior

    def logits(self, training=False, **parts):
        codes = [parts[name] for name in self.parts]
        return self.ladder.generate(codes, self.map_gains(), training)

    def divergence(self, posterior):
        if self.log_variances:
            low, high = (0.5 * v for v in self.log_variances)
            posterior = {
                name: distributions.diagonal_normal(
                    q.mean(),
                    tf.clip_by_value(tf.math.log(q.stddev()), low, high),
                )
                for name, q in posterior.items()
            }
        return super().divergence(posterior)


@keras.saving.register_keras_serializable("tfdisent")
class VLAE(LadderVAE):
    """Variational ladder autoencoder (Zhao et al., ICML 2017).

    With `network="ladder"` it is the ablation in pro-VLAE's paper: pro-VLAE's
    network, all levels at once from the start. With `network="original"` it
    is the authors' own for MNIST (28x28 padded to 32x32, so its map is 8x8
    where theirs is 7x7); their L1 reconstruction, weighted by 8, is
    `likelihood="laplace"`, up to a constant. Their L2 term is left out: it is
    collected, but never added to their loss.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      z_dim: entries of every level.
      levels: 3, or 4 (pro-VLAE's network for CelebA).
      network: `"ladder"` or `"original"` (3 levels).
      beta: weight of the KL.
      warm_up: steps over which that weight grows (2,000 in the original).
      norm: of the ladder network: `"affine"`, `"batch"` or None.
      likelihood: `"bernoulli"`, `"gaussian"` (unit variance) or `"laplace"`
        (scale 1/8) pixels.
      learning_rate: of Adam.
      data_size: N, images in the training set; see `VAE`.
      seed: of the noise.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        z_dim=3,
        levels=3,
        network="ladder",
        beta=1.0,
        warm_up=0,
        norm="affine",
        likelihood="bernoulli",
        learning_rate=5e-4,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        if network == "original" and levels == 3:
            ladder, log_variances = (
                networks.original_ladder(image_shape, z_dim, name="ladder"),
                None,
            )
        elif network == "ladder" and levels in networks.LADDERS:
            ladder = networks.ladder_network(
                image_shape, z_dim, levels, norm, name="ladder"
            )
            log_variances = networks.LADDERS[levels].log_variances
        else:
            raise ValueError(
                "network must be 'ladder' of 3 or 4 levels or 'original' of "
                f"3. Received: {network} of {levels}"
            )
        super().__init__(
            image_shape,
            ladder,
            [regularisers.WeightedKL(beta, warm_up)],
            z_dim,
            levels,
            log_variances,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.network = network
        self.beta = beta
        self.warm_up = warm_up
        self.norm = norm
