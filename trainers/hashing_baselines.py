"""Hashing networks trained beside an HDN: the other rows of its table 2."""

import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tfdisent.data import pipeline
from tfdisent.models import hashing
from trainers import train

SEED = 0
BATCH = 64
# Steps between two reports.
REPORT_STEPS = 10


def rows(model, config, train_split, splits, paths, run, suffix=""):
    """Real codes of every method's networks, one for each level.

    Args:
      model: the HDN whose codes they stand beside: as many bits.
      config: of its run; `baseline_steps` of training each, 0 for none.
      train_split: images with leaves for labels.
      splits: what is searched, and what asks.
      paths: int `[leaves, L - 1]`.
      run: the run directory, where the codes are kept.
      suffix: of their files, where the data are not the run's.

    Returns:
      {method: for every level, float32 `[N, bits]` of either split}.
    """
    if not config.baseline_steps:
        return {}
    cache = train.Cache(pathlib.Path(run) / "cache")
    stored, asked = map(len, splits)
    found = {}
    for method in hashing.METHODS:
        found[method] = []
        for level, nodes in enumerate(paths.T.astype(np.int32)):

            def compute(method=method, level=level, nodes=nodes):
                network = trained(
                    method,
                    model,
                    train_split,
                    nodes,
                    (level + 1) * model.style_dim,
                    config.baseline_steps,
                    train.counter(f"{method} for level {level + 2}", "steps"),
                )
                return np.concatenate(
                    [
                        train.encode_split(network.encode, s, model.image_shape)
                        for s in splits
                    ]
                )

            sizes = f"{config.baseline_steps}-{stored}-{asked}"
            mirror = "-mirrored" if model.mirror else ""
            name = f"{method}-level{level + 2}-{sizes}{mirror}{suffix}"
            both = cache.get(name, compute)
            found[method].append((both[:stored], both[stored:]))
    return found


def trained(method, model, train_split, nodes, bits, steps, report):
    """A hashing network trained for one level.

    Args:
      method: a key of `hashing.METHODS`.
      model: an HDN; images are of its shape and mirrored where its are.
      train_split: images with leaves for labels.
      nodes: int32 `[leaves]`, every leaf's category at the level.
      bits: length of the code.
      steps: of training.
      report: called with steps done and to do.
    """
    keras.utils.set_random_seed(SEED)
    network = hashing.METHODS[method](
        model.image_shape,
        bits=bits,
        classes=int(nodes.max()) + 1,
        filters=model.filters,
    )
    network.compile()

    # A partial function: TensorFlow takes closures of one code for the same
    # function and warns of "retracing".
    step = tf.function(
        functools.partial(_step, network, nodes, model.mirror),
        jit_compile=False,
        reduce_retracing=True,
    )
    batches = pipeline.batches(train_split, BATCH, model.image_shape, SEED)
    for done, batch in enumerate(batches.take(steps), 1):
        step(batch)
        if done % REPORT_STEPS == 0:
            report(done, steps)
    return network


def _step(network, nodes, mirror, batch):
    image, label = batch["image"], tf.gather(nodes, batch["label"])
    if mirror:
        seed = network.noise_seed(0)
        image = tf.image.stateless_random_flip_left_right(image, seed)
    network.train_step({"image": image, "label": label})
