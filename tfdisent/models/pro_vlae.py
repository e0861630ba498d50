"""pro-VLAE: the levels of a VLAE learned one after another."""

import keras
import tensorflow as tf

from tfdisent import networks
from tfdisent.models import regularisers
from tfdisent.models import stages
from tfdisent.models import vlae


@keras.saving.register_keras_serializable("tfdisent")
class ProVLAE(stages.Staged, vlae.LadderVAE):
    """pro-VLAE, progressive learning of hierarchical representations.

    Li et al., Progressive Learning and Disentanglement of Hierarchical
    Representations, ICLR 2020. The deepest level L is learned first; stage s
    = 0 .. L-1 adds level L - s (eq. 6-8). A new level fades in (eq. 9): alpha
    grows from 0 to 1 and multiplies the input of its ladder and its map
    m_l(z_l). Levels that wait change no image; their ladders run and their KL
    has weight gamma (eq. 10, 11).

    After the authors' code: the ladder of a level that waits sees its
    features unfaded, so its input falls to 0 when its stage starts; what the
    code calls batch normalisation never left its initial statistics, hence
    `norm="affine"`; eq. 5 ends with f_0^d(g_1). Not after it: in the CelebA
    file each encoder fade is one level off.

    Args:
      image_shape: `(32, 32, C)` or `(64, 64, C)`.
      z_dim: entries of every level; 3 for 3D Shapes and MNIST, 2 for dSprites,
        7 for CelebA.
      levels: 3, or 4 (the network for CelebA).
      beta: weight of the KL of levels in use.
      gamma: weight of the KL of levels that wait; 0.1 for CelebA.
      fade_steps: steps over which a new level fades in, at most a stage; 0
        for none, None for 5,000 or 7% of a stage, whichever is less (the
        paper's share).
      norm: `"affine"`; `"batch"` (real batch normalisation) is an ablation,
        and as it would undo alpha, ladders then see their features unfaded;
        or None.
      likelihood: `"bernoulli"` or `"gaussian"` (unit variance) pixels.
      learning_rate: of Adam, whose state carries over from stage to stage.
      schedule_steps: training steps of all stages, which are equally long; 0
        for a model past its stages, every level in use, which cannot be
        trained.
      data_size: N, images in the training set; see `VAE`.
      seed: of the noise.
    """

    def __init__(
        self,
        image_shape=(64, 64, 1),
        z_dim=3,
        levels=3,
        beta=1.0,
        gamma=0.5,
        fade_steps=None,
        norm="affine",
        likelihood="bernoulli",
        learning_rate=5e-4,
        schedule_steps=0,
        data_size=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(
            image_shape,
            networks.ladder_network(
                image_shape, z_dim, levels, norm, name="ladder"
            ),
            [regularisers.StagedKL(beta, gamma)],
            z_dim,
            levels,
            networks.LADDERS[levels].log_variances,
            likelihood=likelihood,
            learning_rate=learning_rate,
            data_size=data_size,
            seed=seed,
            **kwargs,
        )
        self.beta = beta
        self.gamma = gamma
        self.fade_steps = fade_steps
        self.norm = norm
        self.schedule_steps = schedule_steps
        self.stages = stages.Stages(levels, schedule_steps)

    def waiting(self):
        """Which levels are not in use yet, bool `[levels]`, z1 first."""
        stage = self.stages.at(self.step.value)
        first_in_use = self.levels - 1 - stage
        return tf.range(self.levels) < first_in_use

    def alpha(self):
        """The fade of every level that has entered, float32 `[levels]`.

        1 for those that wait, too: `waiting` is what keeps them out.
        """
        step = tf.cast(self.step.value, tf.float32)
        entered = tf.constant(
            [
                self.stages.start(self.levels - 1 - level)
                for level in range(self.levels)
            ],
            tf.float32,
        )
        age = step - entered
        fading = tf.logical_and(age >= 0, age < self._fade_steps())
        # The first stage has nothing to blend with.
        fading = tf.logical_and(fading, entered > 0)
        return tf.where(fading, age / max(1, self._fade_steps()), 1.0)

    def _fade_steps(self):
        if self.fade_steps is None:
            return min(5000, int(0.07 * self.stages.length))
        return min(self.fade_steps, self.stages.length)

    def head_gains(self):
        return None if self.norm == "batch" else tf.unstack(self.alpha())

    def map_gains(self):
        gains = tf.where(self.waiting(), 0.0, self.alpha())
        return tf.unstack(gains)
