"""Times every score of a model on one code table of `sprites`.

    python benchmarks/metrics.py --json
    python benchmarks/metrics.py --codes=synthetic --metrics=dci_10000

By default one pass of an untrained convolutional VAE over all 737,280 images
makes the table, and is timed; with `--codes=synthetic` the codes are the
factors, mixed and noisy, and there is no pass. One line a score: seconds, and
how many images the reference protocol (disentanglement_lib) would encode for
it. The last line: the sums, the pass beside them, and peak memory.
"""

import argparse
import json
import time

import numpy as np

from tfdisent import data
from tfdisent import models
from trainers import encoders
from trainers import scores
from trainers import train

CODES = 10
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
    """Codes of an untrained VAE and of which factors they are.

    Returns:
      `(means [points, 10], stddevs [points, 10], factors [points, K])`.
    """
    shape = dataset.image_shape
    model = models.get("beta_vae")(image_shape=shape, latent_dim=CODES)
    rows = {"model": encoders.of_model(model)}
    report = train.counter("encoding")
    tables, factors = encoders.encode(rows, dataset.grid, report)
    return *tables["model"], factors


def synthetic(dataset):
    """Mixed and noisy codes; returns what `encoded` does."""
    sizes = dataset.factor_sizes
    rng = np.random.default_rng(0)
    points = np.indices(sizes).reshape(len(sizes), -1).T
    standard = (points - points.mean(axis=0)) / points.std(axis=0)
    mixing = rng.normal(size=(len(sizes), CODES)) ** 3
    noise = 0.3 * rng.standard_normal((len(points), CODES), np.float32)
    means = (standard @ mixing).astype(np.float32) + noise
    return means, np.full_like(means, 0.3), points


def measure(source, names):
    """Yields the figures of every score, then those of all together."""
    dataset = data.load("sprites")
    start = time.perf_counter()
    make = {"encoder": encoded, "synthetic": synthetic}[source]
    means, stddevs, factors = make(dataset)
    encoding = time.perf_counter() - start
    fit, test = scores.split_rows(len(means))
    codes = scores.Codes(
        factors=factors,
        means=means,
        stddevs=stddevs,
        factor_names=dataset.factor_names,
        code_names=tuple(f"z[{i}]" for i in range(CODES)),
        groups=(CODES,),
        grid_sizes=dataset.factor_sizes,
        train=fit,
        test=test,
    )
    total = 0.0
    for name in names:
        start, cpu = time.perf_counter(), time.process_time()
        found, _ = scores.score_rows({"model": codes}, [name])
        seconds = time.perf_counter() - start
        total += seconds
        values = found["rows"]["model"]
        yield {
            "score": name,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "reference_images": REFERENCE.get(name, 0),
            "values": {n: round(value, 4) for n, value in values.items()},
        }
    figures = {"score": "all", "seconds": round(total, 2)}
    if source == "encoder":
        figures["pass_seconds"] = round(encoding, 2)
    yield figures | {
        "images": len(means),
        "reference_images": sum(REFERENCE.get(name, 0) for name in names),
        "peak_memory_mb": round(train.peak_memory() / 1e6),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--codes", choices=["encoder", "synthetic"], default="encoder"
    )
    parser.add_argument(
        "--metrics", help="as trainers.evaluate takes them; the usual ones"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = [name for name, score in scores.SCORES.items() if score.usual]
    if arguments.metrics:
        names = scores.parse_names(arguments.metrics.split(","))
    for figures in measure(arguments.codes, names):
        if arguments.json:
            print(json.dumps(figures), flush=True)
        else:
            print("  ".join(f"{k} {v}" for k, v in figures.items()), flush=True)


if __name__ == "__main__":
    main()
