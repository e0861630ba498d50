"""Times training steps fed from a factor grid against a constant batch.

    python benchmarks/pipeline.py --dataset=sprites --json

Both kinds of steps are taken in turns in one process, so other work on the
machine slows both down. One line: milliseconds of either step and their ratio
(what the pipeline costs), images a second of the pipeline alone and how many
times what a step consumes that is, and the memory that the data set and its
pipeline add to a process that already trains.
"""

import argparse
import json
import statistics
import time

# Before TensorFlow, as every command has it: it chooses the CPU's kernels.
import tfdisent  # noqa: F401 isort: skip
import psutil
import tensorflow as tf

from tfdisent import data
from tfdisent import models
from tfdisent.data import pipeline
from trainers import train

BATCH = 64
# Steps taken before a block's clock starts: they use up what was prefetched.
SKIPPED = 2 * pipeline.PREFETCH


def seconds(run, steps):
    """Seconds of a step in a block of steps."""
    run(tf.constant(SKIPPED))
    start = time.perf_counter()
    run(tf.constant(steps))
    return (time.perf_counter() - start) / steps


def resident():
    """Bytes of memory this process holds now."""
    return psutil.Process().memory_info().rss


def measure(name, steps, blocks):
    """The figures of one data set."""
    shape = data.load(name).image_shape
    model = models.get("beta_vae")(image_shape=shape)
    model.compile()
    constant = {"image": tf.random.uniform((BATCH, *shape), seed=0)}

    @tf.function(jit_compile=False)
    def repeated(count):
        for _ in tf.range(count):
            model.train_step(constant)

    @tf.function(jit_compile=False)
    def fed(iterator, count):
        for _ in tf.range(count):
            model.train_step({"image": next(iterator)["image"]})

    seconds(repeated, steps)
    before = resident()
    split = data.load(name).splits["train"]
    iterator = iter(pipeline.batches(split, BATCH, shape))
    feed = fed.get_concrete_function(iterator, tf.constant(0))

    def fed_steps(count):
        feed(iterator, count)

    # Tables are computed and the second function is warmed up.
    seconds(fed_steps, steps)
    pairs = [
        (seconds(repeated, steps), seconds(fed_steps, steps))
        for _ in range(blocks)
    ]
    added = train.peak_memory() - before
    bare = statistics.median(p[0] for p in pairs)
    alone = statistics.median(_drain(iterator, steps) for _ in range(blocks))
    return {
        "dataset": name,
        "batch": BATCH,
        "ms_constant": round(1e3 * bare, 2),
        "ms_fed": round(1e3 * statistics.median(p[1] for p in pairs), 2),
        "ratio": round(statistics.median(f / c for c, f in pairs), 3),
        "images_per_second_step": round(BATCH / bare),
        "images_per_second_pipeline": round(BATCH / alone),
        "pipeline_over_step": round(bare / alone, 1),
        "memory_added_mb": round(added / 1e6),
    }


def _drain(iterator, batches):
    """Seconds of a batch of the pipeline, nobody else at work."""
    for _ in range(SKIPPED):
        next(iterator)
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return (time.perf_counter() - start) / batches


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="sprites")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.dataset.split(","):
        figures = measure(name, arguments.steps, arguments.blocks)
        if arguments.json:
            print(json.dumps(figures), flush=True)
        else:
            print("  ".join(f"{k} {v}" for k, v in figures.items()), flush=True)


if __name__ == "__main__":
    main()
