"""Times training steps on a constant batch and through the pipeline.

    python benchmarks/training.py --models=fden,ali --precision=float32 --json

One line a model: median milliseconds a step, images (episodes for FDEN) a
second, the same rate with the input pipeline in front, and the mean rate of the
compiled loop that `trainers.run` trains in. Models that train in stages are
timed in the last one, where all their parts are at work.

    python benchmarks/training.py --parts --json

Where the steps of cascade_vae and factor_vae go: each and its parts by
themselves, in turns, so that a busy machine slows all alike.
"""

import argparse
import inspect
import json
import statistics
import time

# Before TensorFlow, as every command has it: it chooses the CPU's kernels.
import tfdisent  # noqa: F401 isort: skip
import keras
import numpy as np
import tensorflow as tf

from tfdisent import data
from tfdisent import models
from tfdisent.data import pipeline
from tfdisent.data.episodes import EpisodeSampler
from tfdisent.models.vae import Pass
from trainers import presets
from trainers import train
from trainers.config import CONFIGS

WARM_UP = 5
# Batch and image shape at which a model is timed. Half of factor_vae's batch
# is in its ELBO, so its step is compared with that of 64.
CASES = {
    "ali": (100, (32, 32, 1)),
    "autoencoder": (64, (32, 32, 1)),
    "beta_tcvae": (64, (64, 64, 1)),
    "beta_vae": (64, (64, 64, 1)),
    "cascade_infogan": (128, (28, 28, 1)),
    "cascade_vae": (64, (64, 64, 1)),
    "class_vae": (128, (28, 28, 1)),
    "cvae": (128, (28, 28, 1)),
    # Half of a batch is the critic's.
    "factor_vae": (128, (64, 64, 1)),
    "fden": (16, (32, 32, 1)),
    "hdn": (16, (28, 28, 1)),
    "infogan": (128, (28, 28, 1)),
    "jacobian_vae": (64, (64, 64, 1)),
    "pro_vlae": (64, (64, 64, 1)),
    "vlae": (64, (64, 64, 1)),
}
# Those with a critic, whose parts are timed.
PARTED = ("cascade_vae", "factor_vae")


def case(name, network=None, preset=None):
    """`(model, batches)`: a model, as its class or a preset has it, fed."""
    size, shape = CASES[name]
    rng = np.random.default_rng(0)
    model_class = models.get(name)
    known = inspect.signature(model_class).parameters
    # Models of stages need them to have a length.
    options = {"schedule_steps": 1_000}
    if preset:
        options |= presets.find(name, "any", preset)
        options["schedule_steps"] = options.get("steps", 1)
    if network in CONFIGS[name].choices.get("network", ()):
        options["network"] = network
    options = {k: v for k, v in options.items() if k in known}
    if "episodes" in model_class.needs:
        model = model_class(models.get("autoencoder")(shape), **options)
        codes = rng.normal(size=(9_600, model.size)).astype(np.float32)
        sampler = EpisodeSampler(np.repeat(np.arange(480), 20))
        return model, sampler.batches(codes.__getitem__, size)
    model = model_class(image_shape=shape, **options)
    images = rng.random((4_000, *shape), np.float32) > 0.9
    classes = len(model.paths) if "hierarchy" in model.needs else 10
    labels = rng.integers(0, classes, len(images))
    split = data.ArraySplit((images * 255).astype(np.uint8), labels)
    return model, pipeline.batches(split, size, shape)


def median_ms(step, next_batch, steps):
    """Median milliseconds of `step(next_batch())` after warming up."""
    times = []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        step(next_batch())
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def measure(name, precision, steps, network=None, preset=None):
    """The figures of one model under one precision."""
    keras.config.set_dtype_policy(precision)
    model, batches = case(name, network, preset)
    model.compile()
    # Few-shot models have no parts, and no stages either.
    if ends := getattr(model, "stage_ends", ()):
        model.step.assign(ends[-1])
    train_step = tf.function(model.train_step, jit_compile=False)
    iterator = iter(batches)
    constant = next(iterator)
    bare = median_ms(train_step, lambda: constant, steps)
    fed = median_ms(train_step, lambda: next(iterator), steps)
    loop = train.multi_step(model, tf.distribute.get_strategy())
    loop(iterator, tf.constant(WARM_UP, tf.int64))
    start = time.perf_counter()
    loop(iterator, tf.constant(steps, tf.int64))
    looped = 1e3 * (time.perf_counter() - start) / steps
    size = CASES[name][0]
    return {
        "model": name,
        "precision": precision,
        "batch": size,
        "ms_per_step": round(bare, 2),
        "images_per_second": round(1e3 * size / bare),
        "images_per_second_with_data": round(1e3 * size / fed),
        "images_per_second_in_loop": round(1e3 * size / looped),
    }


def part_times(name, precision, steps, network=None, preset=None):
    """Milliseconds of a step with a critic, of its parts and of a beta_vae's.

    The parts are a beta_vae's step; the pass that makes the critic's codes, of
    cascade_vae the second one through both networks with its gradients, of
    factor_vae the encoder's of the other half of the batch; and the critic
    with the gradients of both its losses and its optimizer's step.
    """
    keras.config.set_dtype_policy(precision)
    vae, batches = case("beta_vae", network, preset)
    batch = next(iter(batches))
    model, batches = case(name, network, preset)
    own_batch = next(iter(batches))
    rows = len(batch["image"])
    for each in (vae, model):
        each.compile()
    regulariser = model.regularisers[-1]
    networks = (model.encoder, model.decoder)
    main = [v for n in networks for v in n.trainable_variables]
    own = model.variables_of(regulariser.rival)
    optimizer = model.optimizer_of[regulariser.rival]
    z = tf.random.stateless_normal([rows, model.latent_dim], [0, 1])
    seed = tf.constant([0, 2])

    def second_pass():
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(model.reencode(z, seed))
        # Read, or they would not be computed.
        return [tf.reduce_sum(g) for g in tape.gradient(value, main)]

    def spare_codes():
        return model.draw(model.posterior(batch["image"]), seed)["z"]

    def critic_of_cascade(codes):
        return regulariser.compare(z, codes, seed)

    def critic_of_factor(codes):
        run = Pass(None, None, {"z": codes}, None, None, None, seed)
        return regulariser.penalty(model, run)

    passes, compare = {
        "cascade_vae": (second_pass, critic_of_cascade),
        "factor_vae": (spare_codes, critic_of_factor),
    }[name]

    def critic(codes):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(codes)
            penalty = compare(codes)
        optimizer.apply(tape.gradient(penalty.rival_loss, own), own)
        return tape.gradient(penalty.value, codes)

    critic = tf.function(critic, jit_compile=False)
    runs = {
        "whole": lambda: model.train_step(own_batch),
        "beta_vae": lambda: vae.train_step(batch),
        "passes": passes,
    }
    runs = {n: tf.function(run, jit_compile=False) for n, run in runs.items()}
    runs["critic"] = lambda: critic(z)
    times = {part: [] for part in runs}
    for _ in range(WARM_UP + steps):
        for part, run in runs.items():
            start = time.perf_counter()
            run()
            times[part].append(1e3 * (time.perf_counter() - start))
    ms = {n: statistics.median(t[WARM_UP:]) for n, t in times.items()}
    parts = ms["beta_vae"] + ms["passes"] + ms["critic"]
    return {
        "model": name,
        "precision": precision,
        **{f"{part}_ms": round(value, 2) for part, value in ms.items()},
        "to_beta_vae": round(ms["whole"] / ms["beta_vae"], 2),
        "to_parts": round(ms["whole"] / parts, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", help="separated by commas; all")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--network", help="of models that have a choice")
    parser.add_argument("--preset", help="of trainers/presets; else defaults")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--parts", action="store_true")
    arguments = parser.parse_args()
    names = PARTED if arguments.parts else CASES
    if arguments.models:
        chosen = arguments.models.split(",")
        if unknown := [name for name in chosen if name not in names]:
            parser.error(
                f"--models={','.join(unknown)}: not among {', '.join(names)}"
            )
        names = chosen
    networks = {
        network
        for name in names
        for network in CONFIGS[name].choices.get("network", ())
    }
    if arguments.network and arguments.network not in networks:
        parser.error(
            f"--network={arguments.network}: these models have "
            f"{', '.join(sorted(networks)) or 'no choice'}"
        )
    take = part_times if arguments.parts else measure
    for name in names:
        for precision in arguments.precision.split(","):
            figures = take(
                name,
                precision,
                arguments.steps,
                arguments.network,
                arguments.preset,
            )
            if arguments.json:
                print(json.dumps(figures), flush=True)
            else:
                print(
                    "  ".join(f"{k} {v}" for k, v in figures.items()),
                    flush=True,
                )


if __name__ == "__main__":
    main()
