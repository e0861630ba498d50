"""CascadeVAE's regulariser: re-encoded codes follow a Bayesian network.

It knows codes alone, z and z^, and so serves whatever can tell both: VAEs by
`penalty`, which makes them by `vae.reencode`, and GANs by `compare`.
"""

import keras
import tensorflow as tf

from tfdisent import networks
from tfdisent import noise
from tfdisent.models import regularisers
from tfdisent.optimizers import Adam

DISC_INPUTS = ("zhat", "pair")
# Standard deviation of what is added to z in a pair: given z alone, z^B would
# be a point, from which everything is infinitely far.
PAIR_NOISE = 0.1


@keras.saving.register_keras_serializable("tfdisent")
class BayesianRegulariser(regularisers.Regulariser):
    """weight KL(q(z^) || p_B(z^)) by a density ratio (CascadeVAE, eq. 5 and 6).

    z ~ N(0, I) is decoded and encoded again to z^; z^B is made of the same z by
    the structure. KL ~ E log D / (1 - D), D the probability that a code is one
    of q(z^) and not of p_B. As D sees codes of many images together, this is
    the KL of their mixture, not (as eq. 6 is written) of every image's own
    posterior.

    With `disc_input="zhat"` D sees z^ or z^B alone, as the paper has it: then
    any z^ with the right distribution will do, a rotation of the code too. With
    `"pair"` it sees (z, z^) or (z, z^B), which ties z^_j to z_j.

    Args:
      graph: a `Structure`.
      weight: of the KL, lambda_B.
      conditional: of the structure, a name in `structure.CONDITIONALS`.
      disc_input: `"zhat"` or `"pair"`.
      width: of D's six hidden layers (FactorVAE's critic).
      learning_rate: of its Adam.

    Raises:
      ValueError: an unknown `disc_input` or conditional.
    """

    tracked = ("structure_critic", "structure_kl")
    rival = "structure_critic"

    def __init__(
        self,
        graph,
        weight=1.0,
        conditional="linear_sem",
        disc_input="zhat",
        width=1000,
        learning_rate=1e-4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if disc_input not in DISC_INPUTS:
            raise ValueError(
                f"disc_input must be one of {list(DISC_INPUTS)}. Received: "
                f"{disc_input}"
            )
        graph.weights(conditional)
        self.graph = graph
        self.weight = weight
        self.conditional = conditional
        self.disc_input = disc_input
        self.learning_rate = learning_rate
        size = graph.num_latents * (2 if disc_input == "pair" else 1)
        self.critic = networks.code_critic(size, width, name="structure_critic")

    def optimizer(self):
        return Adam(self.learning_rate, beta_1=0.5, beta_2=0.9)

    def penalty(self, vae, run):
        rows = noise.shape_of(run.image)[0]
        seed = noise.fold(run.seed, 3)
        z = noise.normal([rows, self.graph.num_latents], seed)
        return self.compare(z, vae.reencode(z, noise.fold(seed, 1)), seed)

    def compare(self, z, reencoded, seed):
        """The `Penalty` of codes and what became of them.

        Args:
          z: float32 `[B, d]`, standard normal.
          reencoded: float32 `[B, d]`, z^.
          seed: int32 `[2]`.
        """
        target = self.target(z, reencoded, noise.fold(seed, 2))
        if self.disc_input == "pair":
            reencoded = tf.concat([z, reencoded], axis=-1)
            target = tf.concat([z, target], axis=-1)
        estimate, loss = regularisers.density_ratio(
            self.critic, reencoded, target
        )
        reports = {"structure_critic": loss, "structure_kl": estimate}
        return regularisers.Penalty(self.weight * estimate, reports, loss)

    def target(self, z, reencoded, seed):
        """z^B of the same z, float32 `[B, d]`; arguments as `compare`."""
        if self.disc_input == "pair":
            z += PAIR_NOISE * noise.normal(noise.shape_of(z), seed)
        return self.graph.sample(
            z, self.conditional, tf.stop_gradient(reencoded)
        )
