"""A fresh critic's held-out bound on the information between two factors."""

import keras
import numpy as np
import tensorflow as tf

from tfdisent import layers
from tfdisent import losses
from tfdisent.optimizers import Adam

BATCH = 512
# How often the held-out bound is read; the best reading counts, as MINE's
# supremum asks, and overfitting can only lower a held-out one.
READ_EVERY = 100


def held_out_bound(first, second, steps=1_500, seed=0):
    """Donsker-Varadhan bound of a critic trained on half the pairs.

    The codes are deterministic functions of one image, so no absolute number
    of nats means anything: the same critic on shuffled pairs is the zero, and
    another run's factors, measured alike, the comparison.

    Args:
      first, second: float32 `[N, d]`, row i of both from image i.
      steps: training steps of the critic.
      seed: of its weights, its batches and the halves.

    Returns:
      {"joint": nats, "shuffled": nats, "pairs": held-out pairs, "steps"}.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(first))
    first, second = _standard(first[order]), _standard(second[order])
    shuffled = second[rng.permutation(len(second))]
    return {
        "joint": _bound(first, second, steps, seed),
        "shuffled": _bound(first, shuffled, steps, seed),
        "pairs": len(first) - len(first) // 2,
        "steps": steps,
    }


def _standard(codes):
    spread = codes.std(axis=0)
    return (
        (codes - codes.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
    ).astype(np.float32)


def _bound(first, second, steps, seed):
    keras.utils.set_random_seed(seed)
    half = len(first) // 2
    critic = layers.dense_stack((512, 256, 64, 1))
    critic.build((None, first.shape[1] + second.shape[1]))
    optimizer = Adam(5e-4)
    optimizer.build(critic.trainable_variables)

    def bound(x, y, shuffled):
        joint = critic(tf.concat([x, y], axis=-1))[:, 0]
        product = critic(tf.concat([x, shuffled], axis=-1))[:, 0]
        return losses.donsker_varadhan(joint, product)

    @tf.function(jit_compile=False)
    def step(x, y, shuffled):
        with tf.GradientTape() as tape:
            loss = -bound(x, y, shuffled)
        optimizer.apply(tape.gradient(loss, critic.trainable_variables))

    rng = np.random.default_rng(seed)
    held_first, held_second = first[half:], second[half:]
    pairing = rng.permutation(len(held_second))
    # A critic that says nothing has a bound of 0.
    best = 0.0
    size = min(BATCH, half)
    for number in range(steps):
        rows = rng.integers(0, half, size)
        others = rng.integers(0, half, size)
        step(first[rows], second[rows], second[others])
        if (number + 1) % READ_EVERY == 0 or number + 1 == steps:
            reading = bound(held_first, held_second, held_second[pairing])
            best = max(best, float(reading))
    return best
