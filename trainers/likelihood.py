"""Bounds on the likelihood of images under a model that has one."""

import numpy as np
import tensorflow as tf

from tfdisent.data import pipeline

# Draws that go through the decoder at once.
DRAWS_AT_ONCE = 1_024


def evidence_bounds(model, split, samples=64, seed=0, report=None):
    """The ELBO of images, and the importance-weighted bound above it.

    With w_k = p(x | z_k) p(z_k) / q(z_k | x) and K draws from the posterior,
    the ELBO is the mean of log w_k, and log(1/K sum_k w_k) lies between it
    and log p(x), nearer for larger K (Burda et al., Importance Weighted
    Autoencoders, ICLR 2016). The KL has weight 1, whatever the model's beta.

    Args:
      model: a `PartsModel` with `log_likelihood`.
      split: a `Split` of a few hundred images.
      samples: K.
      seed: of the draws.
      report: called with (done, total) images.

    Returns:
      {"elbo", "importance_weighted": nats an image, the mean over images;
      "elbo_error", "importance_weighted_error": its standard error; "images",
      "samples", "seed"}.
    """
    batch_size = max(1, DRAWS_AT_ONCE // samples)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def log_weights(batch, number):
        inputs = (batch["image"],)
        if model.takes_label:
            inputs += (batch["label"],)
        posterior = model.posterior(*inputs)
        parts, log_ratio = {}, 0.0
        for salt, (name, q) in enumerate(posterior.items()):
            mean, stddev = q.mean(), q.stddev()
            key = tf.stack([seed + salt, number])
            shape = tf.concat([[samples], tf.shape(mean)], 0)
            draw = tf.random.stateless_normal(shape, key)
            z = mean + stddev * draw
            # log N(z; 0, I) - log q(z | x); the constants cancel.
            ratio = (tf.square(draw) - tf.square(z)) / 2 + tf.math.log(stddev)
            entries = list(range(2, 1 + len(mean.shape)))
            log_ratio += tf.reduce_sum(ratio, entries)
            parts[name] = _as_batch(z)
        if len(parts) < len(model.parts):
            encoded = model.encode(*inputs)
            for name in model.parts:
                if name not in parts:
                    parts[name] = _as_batch(_repeated(encoded[name], samples))
        image = _as_batch(_repeated(batch["image"], samples))
        nats = model.log_likelihood(image, **{n: parts[n] for n in model.parts})
        return tf.reshape(nats, [samples, -1]) + log_ratio

    elbo, weighted = [], []
    batches = pipeline.in_order(split, model.image_shape, batch_size)
    for number, batch in enumerate(batches):
        logs = log_weights(batch, tf.constant(number))
        elbo.append(tf.reduce_mean(logs, 0))
        weighted.append(tf.reduce_logsumexp(logs, 0) - np.log(samples))
        if report:
            done = min((number + 1) * batch_size, len(split))
            report(done, len(split))
    scores = {}
    for name, nats in (("elbo", elbo), ("importance_weighted", weighted)):
        nats = np.float64(np.concatenate(nats))
        scores[name] = float(nats.mean())
        scores[f"{name}_error"] = float(nats.std() / np.sqrt(len(nats)))
    return scores | {"images": len(split), "samples": samples, "seed": seed}


def _repeated(values, samples):
    """`[B, ...]` -> `[samples, B, ...]`."""
    return tf.repeat(values[None], samples, axis=0)


def _as_batch(values):
    """`[samples, B, ...]` -> `[samples B, ...]`."""
    return tf.reshape(values, [-1, *values.shape[2:]])
