"""What the VAE variants add to the reconstruction: one class a paper's idea.

A VAE's loss is its reconstruction plus the penalties of its regularisers, in
order; a variant is a list of them. One with a rival network (a critic that is
trained against the VAE) brings its optimizer.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfdisent import losses
from tfdisent import networks
from tfdisent import noise
from tfdisent.optimizers import Adam


class Penalty(NamedTuple):
    """What a regulariser makes of a batch.

    Attributes:
      value: scalar added to the VAE's loss.
      reports: {name: scalar} for every name of the regulariser's `tracked`.
      rival_loss: scalar that the rival network descends, or None.
    """

    value: tf.Tensor
    reports: dict = {}
    rival_loss: tf.Tensor | None = None


@keras.saving.register_keras_serializable("tfdisent")
class Regulariser(keras.layers.Layer):
    """A term of a VAE's loss.

    Class attributes:
      tracked: names of the scalars it reports.
      rival: name of the optimizer of its own network, or None.
      wants_spare: whether half of every training batch is kept out of the
        VAE's own loss for it (`Pass.spare`).
    """

    tracked = ()
    rival = None
    wants_spare = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def penalty(self, vae, run):
        """The `Penalty` of a batch.

        Args:
          vae: the `VAE`; its `step`, `posterior` and `logits` may be used.
          run: the `Pass` of the batch.
        """
        raise NotImplementedError

    def optimizer(self):
        """A new optimizer for the rival."""
        return Adam(1e-4, beta_1=0.5, beta_2=0.9)


@keras.saving.register_keras_serializable("tfdisent")
class WeightedKL(Regulariser):
    """beta KL(q(z|x) || p(z)): beta-VAE (Higgins et al., ICLR 2017, eq. 4).

    Args:
      beta: its weight.
      warm_up: steps after which the weight has come within 1/e of beta, as
        1 - exp(-step / warm_up) (VLAE's own code); 0 for a constant.
    """

    def __init__(self, beta=1.0, warm_up=0, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta
        self.warm_up = warm_up

    def penalty(self, vae, run):
        weight = self.beta
        if self.warm_up:
            step = tf.cast(vae.step.value, tf.float32)
            weight *= 1 - tf.exp(-step / self.warm_up)
        return Penalty(weight * total_kl(run))


@keras.saving.register_keras_serializable("tfdisent")
class CapacityKL(Regulariser):
    """gamma |KL - C|, C growing (Burgess et al. 2018, Understanding, eq. 8).

    Args:
      gamma: its weight.
      capacity: nats that C reaches.
      steps: over which C grows linearly from 0.
    """

    tracked = ("capacity",)

    def __init__(self, gamma, capacity, steps, **kwargs):
        super().__init__(**kwargs)
        self.gamma = gamma
        self.capacity = capacity
        self.steps = steps

    def penalty(self, vae, run):
        ramp = (self.capacity, vae.step.value, self.steps)
        by_image = tf.add_n([tf.reduce_sum(kl, -1) for kl in run.kl.values()])
        # |.| is of the whole batch's mean, whatever the replicas.
        gap = losses.capacity_gap(noise.gather(by_image), *ramp)
        return Penalty(self.gamma * gap, {"capacity": losses.ramp(*ramp)})


@keras.saving.register_keras_serializable("tfdisent")
class StagedKL(Regulariser):
    """beta KL of the levels in use, gamma KL of those that wait (pro-VLAE).

    pro-VLAE, eq. 8, 10 and 11; `vae.waiting()` says which wait.
    """

    def __init__(self, beta=1.0, gamma=0.5, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta
        self.gamma = gamma

    def penalty(self, vae, run):
        # Whole numbers are weights, too.
        weights = tf.where(vae.waiting(), float(self.gamma), float(self.beta))
        return Penalty(tf.reduce_sum(weights * tf.stack(mean_kl(run))))


@keras.saving.register_keras_serializable("tfdisent")
class DecomposedKL(Regulariser):
    """MI + beta TC + dimension-wise KL (beta-TCVAE, Chen et al. 2018, eq. 4).

    The terms are those that the VAE tracks, by its `estimator`.

    Raises:
      ValueError: by a VAE that does not know N, its `data_size`: estimated as
        if a batch were all images, the total correlation is far too large.
    """

    def __init__(self, beta=6.0, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta

    def penalty(self, vae, run):
        if vae.data_size < 1:
            raise ValueError(
                "The total correlation's estimate needs data_size, the number "
                f"of training images. Received: {vae.data_size}"
            )
        parts = run.parts_of_kl
        return Penalty(
            parts.mutual_information
            + self.beta * parts.total_correlation
            + parts.dimension_kl
        )


@keras.saving.register_keras_serializable("tfdisent")
class CriticTC(Regulariser):
    """gamma TC by a density ratio (FactorVAE, Kim and Mnih, ICML 2018).

    Eq. 3: TC ~ E log D / (1 - D), D the probability that a code is one of
    q(z) and not of prod_j q(z_j). The latter are codes of spare images with
    every entry permuted over the batch by itself (algorithm 1); D takes its
    step (algorithm 2) from the same forward pass.

    Args:
      size: of the code.
      gamma: weight of TC.
      width: of the critic's six hidden layers.
      learning_rate: of its Adam.
    """

    tracked = ("critic", "critic_total_correlation")
    rival = "critic"
    wants_spare = True

    def __init__(self, size, gamma, width=1000, learning_rate=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.gamma = gamma
        self.learning_rate = learning_rate
        self.critic = networks.code_critic(size, width, name="critic")

    def optimizer(self):
        return Adam(self.learning_rate, beta_1=0.5, beta_2=0.9)

    def penalty(self, vae, run):
        z = joined(run.codes)
        permuted = noise.permuted_columns(
            self._other_codes(vae, run), noise.fold(run.seed, 2)
        )
        estimate, loss = density_ratio(self.critic, z, permuted)
        reports = {"critic": loss, "critic_total_correlation": estimate}
        return Penalty(self.gamma * estimate, reports, loss)

    def _other_codes(self, vae, run):
        if run.spare is None:
            return joined(run.codes)
        posterior = vae.posterior(run.spare)
        codes = vae.draw(posterior, noise.fold(run.seed, 1))
        return joined(codes)


@keras.saving.register_keras_serializable("tfdisent")
class JacobianSupervision(Regulariser):
    """Holds a student to its teacher (Lezama, ICLR 2019).

    With T and S the decoders, z_T and z_f the means of the teacher's entries
    by teacher and student, z_n those of the student's new entries, and ' a
    permutation of the batch:

        code_weight mean (z_T - z_f)^2
        + jacobian_weight mean [T(z_T) - T(z_T') - S(z_n, z_f) + S(z_n, z_f')]^2
        + covariance_weight ||cov(z_n, z_f)||_F

    Means are over entries, or pixels, and the batch; nothing of it in stage 0.
    """

    tracked = ("code_distance", "jacobian_distance", "covariance")

    def __init__(
        self, code_weight, jacobian_weight, covariance_weight, **kwargs
    ):
        super().__init__(**kwargs)
        self.code_weight = code_weight
        self.jacobian_weight = jacobian_weight
        self.covariance_weight = covariance_weight

    def penalty(self, vae, run):
        kept = vae.mask(vae.stage() - 1)
        taught, mean = vae.teach(run.image), run.posterior["z"].mean()
        off = tf.reduce_sum(kept * tf.square(taught - mean), axis=-1)
        code = tf.reduce_mean(off) / tf.maximum(tf.reduce_sum(kept), 1.0)

        everyone = noise.gather(mean)
        centred = everyone - tf.reduce_mean(everyone, axis=0)
        products = tf.matmul(
            centred * (1 - kept), centred * kept, transpose_a=True
        ) / tf.cast(tf.shape(everyone)[0], tf.float32)
        # The root has no slope at 0.
        covariance = tf.sqrt(tf.reduce_sum(tf.square(products)) + 1e-12)

        order = noise.permutation(
            noise.shape_of(mean)[0], noise.fold(run.seed, 3)
        )
        swapped = kept * tf.gather(everyone, order) + (1 - kept) * mean
        others = tf.gather(noise.gather(taught), order)
        # The decoders take half of the step: not where nobody is taught.
        jacobian = tf.cond(
            vae.stage() > 0,
            lambda: _distance(vae, (taught, others), (mean, swapped)),
            lambda: tf.constant(0.0),
        )
        value = (
            self.code_weight * code
            + self.jacobian_weight * jacobian
            + self.covariance_weight * covariance
        )
        reports = dict(
            zip(self.tracked, (code, jacobian, covariance), strict=True)
        )
        return Penalty(value, reports)


def _distance(vae, taught, own):
    """Mean squared gap between what a swap does to images by T and by S."""
    teacher = _difference(vae.teacher_decoder, taught)
    student = _difference(lambda z: vae.logits(z=z), own)
    return tf.reduce_mean(tf.square(tf.stop_gradient(teacher) - student))


def _difference(logits, codes):
    """Images of the first codes minus those of the second."""
    first, second = tf.split(tf.sigmoid(logits(tf.concat(codes, 0))), 2)
    return first - second


def mean_kl(run):
    """KL(q(z|x) || p(z)) of every part, means over the batch; scalars."""
    return [tf.reduce_mean(tf.reduce_sum(kl, -1)) for kl in run.kl.values()]


def total_kl(run):
    """KL(q(z|x) || p(z)) of all parts, mean over the batch; scalar."""
    return tf.add_n(mean_kl(run))


def joined(codes):
    """All parts of {part: `[B, d]`} side by side."""
    return tf.concat(list(codes.values()), axis=-1)


def density_ratio(critic, codes, others):
    """KL(q || p) by a critic that tells codes of q from those of p.

    Args:
      critic: `[B, n]` -> logits `[B, 2]`; D is the softmax's first entry.
      codes: `[B, n]`, of q.
      others: `[B', n]`, of p.

    Returns:
      E_q log D / (1 - D), and the critic's mean cross-entropy; scalars.
    """
    # In one batch: the critic's five million weights are read once.
    both = critic(tf.concat([codes, others], axis=0))
    own, rest = both[: tf.shape(codes)[0]], both[tf.shape(codes)[0] :]
    estimate = tf.reduce_mean(own[:, 0] - own[:, 1])
    return estimate, 0.5 * (_class_error(own, 0) + _class_error(rest, 1))


def _class_error(logits, label):
    """Mean cross-entropy of logits `[B, 2]` when all rows are of one class."""
    return -tf.reduce_mean(tf.nn.log_softmax(logits)[:, label])
