"""Jacobian supervision: a teacher, then students whose code grows."""

import keras
import tensorflow as tf

from tfdisent import distributions
from tfdisent import networks
from tfdisent.models import flat_vae
from tfdisent.models import regularisers
from tfdisent.models import stages


@keras.saving.register_keras_serializable("tfdisent")
class JacobianVAE(stages.Staged, flat_vae.FlatVAE):
    """The teacher-student strategy of Lezama (ICLR 2019) on a VAE.

    Overcoming the Disentanglement vs Reconstruction Trade-off via Jacobian
    Supervision, whose MNIST code trains autoencoders; pro-VLAE's paper compares
    itself with it on VAEs. Stage 0 trains a VAE with `z_dim` entries. Every
    further stage takes the model as it is for the teacher and adds `z_dim`
    entries in front of its own, the student's nuisances. The student keeps the
    teacher's entries and what they do to an image (`JacobianSupervision`).

    All entries are there from the start and a stage masks those that wait:
    their posterior is the prior, and the decoder does not see them. The
    teacher is a second copy of the networks, not trained, which takes the
    student's weights in the step that starts a stage.

    Departures: a VAE instead of an autoencoder, means stand for codes where
    teacher and student are matched; entries join `z_dim` at a time; no decay of
    weights, which Adam would wear away where entries wait. The default weights
    of the three terms are its paper's, beside a reconstruction that is a mean
    over pixels; here it is a sum, and preset `summed` multiplies them by the
    number of values in an image.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      z_dim: entries that a stage adds.
      students: stages after the teacher's.
      beta: weight of the KL.
      code_weight: of the distance of codes.
      jacobian_weight: of the distance of image differences.
      covariance_weight: of the covariance of new and old entries.
      network: `"conv"`, `"burgess"` or `"ladder"`.
      likelihood: `"bernoulli"` or `"gaussian"` (unit variance) pixels.
      learning_rate: of Adam.
      schedule_steps: training steps of all stages, which are equally long; 0
        for a model past its stages, which cannot be trained.
      data_size: N, images in the training set; see `VAE`.
      seed: of the noise.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        z_dim=3,
        students=2,
        beta=1.0,
        code_weight=0.25,
        jacobian_weight=0.1,
        covariance_weight=1e-3,
        network="conv",
        likelihood="bernoulli",
        learning_rate=3e-4,
        schedule_steps=0,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        latent_dim = z_dim * (students + 1)
        # The names of what is tracked are made of them right away.
        self.z_dim = z_dim
        self.students = students
        super().__init__(
            image_shape,
            latent_dim,
            [
                regularisers.WeightedKL(beta),
                regularisers.JacobianSupervision(
                    code_weight, jacobian_weight, covariance_weight
                ),
            ],
            network,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.beta = beta
        self.code_weight = code_weight
        self.jacobian_weight = jacobian_weight
        self.covariance_weight = covariance_weight
        self.schedule_steps = schedule_steps
        self.stages = stages.Stages(students + 1, schedule_steps)
        encoder, decoder = networks.FLAT[network]
        self.teacher_encoder = encoder(self.image_shape, 2 * latent_dim)
        self.teacher_decoder = decoder(self.image_shape, latent_dim)
        self.teacher_encoder.trainable = False
        self.teacher_decoder.trainable = False

    @property
    def groups(self):
        names = [f"student {n}" for n in range(self.students, 0, -1)]
        entries = range(self.latent_dim)
        return {
            name: ("z", list(entries[i * self.z_dim : (i + 1) * self.z_dim]))
            for i, name in enumerate([*names, "teacher"])
        }

    def mask(self, stage):
        """1 for the entries that a stage has, float32 `[latent_dim]`.

        The teacher's are the last ones; at stage -1 there are none.
        """
        waiting = self.z_dim * (self.students - stage)
        return tf.cast(tf.range(self.latent_dim) >= waiting, tf.float32)

    def stage(self):
        return self.stages.at(self.step.value)

    def posterior(self, image, training=False):
        mask = self.mask(self.stage())
        parameters = self.encoder(image, training=training)
        mean, log_variance = tf.split(parameters, 2, axis=-1)
        return {
            "z": distributions.diagonal_normal(
                mask * mean, 0.5 * mask * log_variance
            )
        }

    def logits(self, z, training=False):
        return self.decoder(z * self.mask(self.stage()), training=training)

    def update(self, batch):
        self._promote()
        return super().update(batch)

    def _promote(self):
        """Makes the student the next teacher, where a stage starts."""
        step = self.step.value
        starts = tf.constant(
            [self.stages.start(s + 1) for s in range(self.students)], tf.int64
        )
        now = tf.reduce_any(tf.equal(step, starts)) & (step > 0)
        pairs = (
            (self.teacher_encoder, self.encoder),
            (self.teacher_decoder, self.decoder),
        )
        for teacher, student in pairs:
            for old, new in zip(
                teacher.variables, student.variables, strict=True
            ):
                old.assign(tf.where(now, new.value, old.value))

    def teach(self, image):
        """The teacher's means of its own entries, others 0; `[B, d]`."""
        mean, _ = tf.split(self.teacher_encoder(image), 2, axis=-1)
        return tf.stop_gradient(mean * self.mask(self.stage() - 1))
