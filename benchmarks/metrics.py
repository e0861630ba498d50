"""Times every score of the suite on one code table of `sprites`.

    python benchmarks/metrics.py --json
    python benchmarks/metrics.py --codes=synthetic

By default one pass of an untrained convolutional encoder over all 737,280
images makes the table, and is timed; with `--codes=synthetic` the table is the
factors, mixed and noisy, and there is no pass. One line a score: seconds, and
how many images the reference protocol (disentanglement_lib) would encode for
it. The last line: the sums, the pass beside them, and peak memory.
"""

import argparse
import functools
import json
import time

import numpy as np

from tfdisent import data
from tfdisent import metrics
from trainers import train

CODES = 10
TRAIN, TEST = 10_000, 5_000
# Rows that gradient boosting learns from by default, and all it may have.
DCI_ROWS = {"dci": (2_000, 1_000), "dci_10000": (10_000, 5_000)}
# Images that the reference protocol encodes for a score.
REFERENCE = {
    "mig": 10_000,
    "factor_vae_score": 10_000 + 15_000 * 64,
    "beta_vae_score": 15_000 * 2 * 64,
    "dci": 15_000,
    "sap": 15_000,
    "modularity": 15_000,
    "irs": 10_000,
}


def encoded(dataset):
    """The code table of an untrained encoder, float32 `[points, 10]`."""
    from tfdisent import models

    shape = dataset.image_shape
    model = models.get("beta_vae")(image_shape=shape, latent_dim=CODES)
    return train.encode_split(
        lambda images: model.encode(images)["z"],
        dataset.splits["train"],
        shape,
        train.counter("encoding"),
    )


def synthetic(dataset):
    """A mixed and noisy code table, float32 `[points, 10]`."""
    sizes = dataset.factor_sizes
    rng = np.random.default_rng(0)
    points = np.indices(sizes).reshape(len(sizes), -1).T
    standard = (points - points.mean(axis=0)) / points.std(axis=0)
    mixing = rng.normal(size=(len(sizes), CODES)) ** 3
    noise = 0.3 * rng.standard_normal((len(points), CODES), np.float32)
    return (standard @ mixing).astype(np.float32) + noise


def suite(table, sizes):
    """{score: a function that computes it} on one code table."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(table))[: TRAIN + TEST]
    factors = np.stack(np.unravel_index(rows, sizes), axis=1)
    codes = table[rows]
    first = factors[:TRAIN], codes[:TRAIN]
    whole = table, sizes

    def split(train_rows, test_rows):
        test = slice(TRAIN, TRAIN + test_rows)
        return (
            factors[:train_rows],
            codes[:train_rows],
            factors[test],
            codes[test],
        )

    halves = split(TRAIN, TEST)
    given = {
        "mig": first,
        "mig_sup": first,
        "modularity": first,
        "irs": first,
        "total_correlation": first[1:],
        "factor_vae_score": whole,
        "beta_vae_score": whole,
        "sap": halves,
        "explicitness": halves,
    }
    scores = {
        name: functools.partial(metrics.METRICS[name], *arrays)
        for name, arrays in given.items()
    }
    for name, counts in DCI_ROWS.items():
        scores[name] = functools.partial(metrics.dci, *split(*counts))
    return scores


def measure(source, wanted):
    """Yields the figures of every score, then those of the suite."""
    dataset = data.load("sprites")
    start = time.perf_counter()
    table = {"encoder": encoded, "synthetic": synthetic}[source](dataset)
    encoding = time.perf_counter() - start
    total = 0.0
    for name, score in suite(table, dataset.factor_sizes).items():
        if name not in wanted:
            continue
        start, cpu = time.perf_counter(), time.process_time()
        value = score()
        seconds = time.perf_counter() - start
        total += seconds
        yield {
            "score": name,
            "value": np.round(value, 4).tolist(),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "reference_images": REFERENCE.get(name, 0),
        }
    figures = {"score": "suite", "seconds": round(total, 2)}
    if source == "encoder":
        figures["pass_seconds"] = round(encoding, 2)
    yield figures | {
        "images": len(table),
        "reference_images": sum(REFERENCE.get(name, 0) for name in wanted),
        "peak_memory_mb": round(train.peak_memory() / 1e6),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--codes", choices=["encoder", "synthetic"], default="encoder"
    )
    parser.add_argument(
        "--scores",
        help="names, dci_10000 among them; by default all but that one",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    usual = [*metrics.METRICS]
    wanted = arguments.scores.split(",") if arguments.scores else usual
    for figures in measure(arguments.codes, wanted):
        if arguments.json:
            print(json.dumps(figures), flush=True)
        else:
            print("  ".join(f"{k} {v}" for k, v in figures.items()), flush=True)


if __name__ == "__main__":
    main()
