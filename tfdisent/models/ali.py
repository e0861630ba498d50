"""ALI: adversarially learned inference, FDEN's own invertible network.

Dumoulin et al., Adversarially Learned Inference, ICLR 2017, the models of its
appendix A for 32x32 ("SVHN") and 64x64 ("CelebA") images; its paper plugs FDEN
into it.

Departures, of which the first two are options:

- A reconstruction term (`recon_weight`, squared error summed over an image).
  FDEN's paper adds one for its 64x64 sets; without it plain ALI reconstructs
  poorly. 0 is the literal paper.
- Noise on the critic's images (`critic_noise`, fading to nothing over
  `noise_steps`) and a slower critic: on near-binary images the critic
  otherwise wins within a hundred steps and nothing is learned any more.
- The encoder's log standard deviations are bounded, softly, to +-2: the
  encoder can outrun the critic, and then the codes' scale runs away.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tfdisent import distributions
from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent.models import base
from tfdisent.optimizers import Adam

# The mean image is kept this far from 0 and 1 before its log-odds are taken.
MEAN_MARGIN = 1e-2
LOG_SCALE_BOUND = 2.0
# By image side: FDEN's paper, appendix B.
LATENT_DIM = {32: 256, 64: 512}
# Of the images that `critic_noise` is for: 32x32 in grey.
VALUES = 1_024


@keras.saving.register_keras_serializable("tfdisent")
class ALI(base.PartsModel):
    """Adversarially learned inference (Dumoulin et al., ICLR 2017).

    A critic tells pairs (x, E(x)) from pairs (G(z), z); encoder and generator
    make it fail, which fits both joint distributions to each other.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      latent_dim: size of the code; None takes FDEN's, 256 for 32x32 and 512
        for 64x64.
      learning_rate: of encoder and generator.
      critic_learning_rate: of the critic.
      recon_weight: of the summed squared reconstruction error; 0 is the
        literal paper.
      critic_noise: standard deviation of the noise on the critic's images at
        step 0, for images of 1,024 values; it grows with the square root of
        their number, over which a critic averages. 0 is the literal paper.
      noise_steps: steps over which that noise fades linearly to zero.
      norm: `"batch"`, or None for a network without batch statistics.
      seed: of the noise.
    """

    image_sides = (32, 64)
    tracked = (
        "loss",
        "critic",
        "reconstruction",
        "critic_real",
        "critic_fake",
    )

    def __init__(
        self,
        image_shape=(32, 32, 1),
        latent_dim=None,
        learning_rate=1e-4,
        critic_learning_rate=1e-4,
        recon_weight=0.01,
        critic_noise=0.1,
        noise_steps=4000,
        norm="batch",
        seed=0,
        **kwargs,
    ):
        super().__init__(image_shape, seed, **kwargs)
        latent_dim = latent_dim or LATENT_DIM[self.image_shape[0]]
        self.latent_dim = latent_dim
        self.learning_rate = learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.recon_weight = recon_weight
        self.critic_noise = critic_noise
        self.noise_steps = noise_steps
        self.norm = norm
        shape, spec = self.image_shape, networks.ALI[self.image_shape[0]]
        self.encoder = networks.ali_encoder(
            shape, 2 * latent_dim, norm, name="encoder"
        )
        self.generator = networks.ali_generator(
            shape, latent_dim, norm, name="generator"
        )
        self.critic_image = networks.ali_critic_image(
            shape, norm, name="critic_image"
        )
        self.critic_code = networks.ali_critic_dense(
            latent_dim, spec["critic_code"], spec["slope"], name="critic_code"
        )
        self.critic_joint = networks.ali_critic_dense(
            spec["critic_image"][-1][-1] + spec["critic_code"][-1],
            spec["critic_joint"],
            spec["slope"],
            output=1,
            name="critic_joint",
        )
        self.built = True

    @property
    def parts(self):
        return {"z": (self.latent_dim,)}

    @property
    def units(self):
        return base.single_entries("z", self.latent_dim)

    def posterior(self, image, training=False):
        mean, raw = tf.split(self.encoder(image, training=training), 2, axis=-1)
        log_scale = LOG_SCALE_BOUND * tf.tanh(raw / LOG_SCALE_BOUND)
        return {"z": distributions.diagonal_normal(mean, log_scale)}

    def encode(self, image):
        return {"z": self.posterior(image)["z"].mean()}

    def decode(self, z):
        return tf.sigmoid(self.generator(z))

    def sample(self, seed):
        return self.decode(noise.rowwise_normal(seed, self.latent_dim))

    def adapt(self, data):
        """Starts the generator's pixel biases at the mean image's log-odds."""
        mean = np.mean([*data], axis=0)
        mean = np.clip(mean, MEAN_MARGIN, 1 - MEAN_MARGIN)
        self.generator.blocks[-1].bias.assign(np.log(mean / (1 - mean)))

    def default_optimizers(self):
        return {
            "main": Adam(self.learning_rate, beta_1=0.5),
            "critic": Adam(self.critic_learning_rate, beta_1=0.5),
        }

    def variables_of(self, name):
        if name == "main":
            own = (self.encoder, self.generator)
        else:
            own = (self.critic_image, self.critic_code, self.critic_joint)
        return [v for network in own for v in network.trainable_variables]

    def update(self, batch):
        image = batch["image"]
        prior = noise.normal(
            [noise.shape_of(image)[0], self.latent_dim], self.noise_seed(0)
        )
        # Both updates come from this one forward pass.
        with tf.GradientTape(persistent=True) as tape:
            posterior = self.posterior(image, training=True)["z"]
            mean = posterior.mean()
            draw = noise.normal(noise.shape_of(mean), self.noise_seed(1))
            code = mean + posterior.stddev() * draw
            generated = tf.sigmoid(self.generator(prior, training=True))
            real, fake = self._critic(image, code, generated, prior)
            critic = losses.ali_discriminator_loss(real, fake)
            generator = losses.ali_generator_loss(real, fake)
            reconstruction = tf.constant(0.0)
            loss = generator
            if self.recon_weight:
                # A pass of its own through the generator: its batch
                # statistics are those of codes, not of prior draws.
                logits = self.generator(mean, training=True)
                reconstruction = tf.reduce_mean(
                    losses.squared_error_per_image(image, tf.sigmoid(logits))
                )
                loss = generator + self.recon_weight * reconstruction
            scaled_loss = self.scaled(loss)
            scaled_critic = self.scaled(critic, "critic")
        main = tape.gradient(scaled_loss, self.variables_of("main"))
        own = tape.gradient(scaled_critic, self.variables_of("critic"))
        del tape
        self.descend(main)
        self.descend(own, "critic")
        return {
            "loss": loss,
            "critic": critic,
            "reconstruction": reconstruction,
            "critic_real": tf.reduce_mean(tf.sigmoid(real)),
            "critic_fake": tf.reduce_mean(tf.sigmoid(fake)),
        }

    def _critic(self, image, code, generated, prior):
        """Logits `[B]` on pairs (x, E(x)) and on pairs (G(z), z).

        Both go through the critic as one batch, so its batch statistics are
        shared (the authors' code); in turns, so that the dropout of a
        replica's rows is what one device would give them.
        """
        images = _in_turns(image, generated)
        codes = _in_turns(code, prior)
        if self.critic_noise:
            step = tf.cast(self.step.value, tf.float32)
            left = tf.maximum(0.0, 1 - step / max(1, self.noise_steps))
            draws = [
                noise.normal(noise.shape_of(image), self.noise_seed(salt))
                for salt in (2, 3)
            ]
            scale = self.critic_noise * math.sqrt(
                math.prod(self.image_shape) / VALUES
            )
            images += scale * left * _in_turns(*draws)
        features = self.critic_image(
            images, training=True, seed=self.noise_seed(4)
        )
        code_features = self.critic_code(
            codes, training=True, seed=self.noise_seed(5)
        )
        logits = self.critic_joint(
            tf.concat([features, code_features], axis=-1),
            training=True,
            seed=self.noise_seed(6),
        )
        return tf.unstack(tf.reshape(logits, [-1, 2]), axis=1)

    def evaluate_batch(self, batch):
        image = batch["image"]
        reconstruction = self.decode(**self.encode(image))
        error = losses.squared_error_per_image(image, reconstruction)
        return {"reconstruction": tf.reduce_mean(error)}


def _in_turns(first, second):
    """Rows of two `[B, ...]` in turns: `[2 B, ...]`."""
    return tf.reshape(tf.stack([first, second], axis=1), [-1, *first.shape[1:]])
