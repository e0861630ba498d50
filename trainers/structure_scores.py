"""Whether codes follow the structure they were trained to follow.

CascadeVAE's paper shows high-order features in traversals and has no score
for them. Here are three: do re-encoded codes, which were trained for it, and
codes of images, which were not, have the structure's correlations; what does
every latent know about every factor; does moving a composite latent move what
moving its components moves. The last is set beside the same graph on other
latents, for a matched covariance alone is no meaning.
"""

import numpy as np
import tensorflow as tf

from tfdisent import noise
from tfdisent import visualization
from tfdisent.data import pipeline
from tfdisent.metrics.information_matrix import factor_entropies
from tfdisent.metrics.information_matrix import information_matrix
from trainers import encoders
from trainers import scores as code_scores

# Samples of the prior and images that scores are taken on.
SAMPLES = 10_000
BATCH = 500
# Images whose codes are moved, and where to, in standard deviations of the
# prior (the paper's range on dSprites).
STARTS = 100
VALUES = np.linspace(-2, 2, 5)
# A judge's answer counts as moved when it is further than this share of the
# factor's values from all it held possible before: values at least this
# likely, as a share of the likeliest. A square has four orientations.
TOLERANCE = 0.1
POSSIBLE = 0.05
LABEL = "label"  # The judge's head of classes, whose numbers have no order.
# Random places of the graph that make the control.
PLACES = 1_000
# A latent whose largest entry is below this share of the largest of all does
# nothing; the control leaves it out.
IDLE = 0.05
SEED = 0


def of_model(model, dataset, judge=None):
    """All scores of a model with a structure.

    Args:
      model: a `PartsModel`; one without a `graph` has none of these scores.
      dataset: a `Dataset`.
      judge: None, or what sees factors in images: `judge(images)` -> features,
        {head: logits}, with `sizes` {head: values}.

    Returns:
      {} or {"structure": plain data for metrics.json}.
    """
    if model.graph is None:
        return {}
    graph, names = model.graph, list(model.graph.names)
    scores = {
        "edges": str(graph),
        "names": names,
        "seed": SEED,
        "reencoded": reencoded_scores(model),
    }
    split = dataset.grid or dataset.splits["train"]
    rows = np.random.default_rng(SEED).permutation(len(split))
    some = split.subset(np.sort(rows[:SAMPLES]))
    means, codes, factors = codes_of_images(model, some)
    scores["images"] = correlation_scores(codes, graph, model.conditional)
    if dataset.factor_names:
        columns = code_scores.varied_factors(dataset)
        shares = information_shares(means, factors[:, columns])
        varied = [dataset.factor_names[k] for k in columns]
        scores["information"] = {
            "images": len(some),
            "shares": _named(shares, names, varied),
            "wholes": union_scores(shares, graph),
        }
    else:
        scores["information"] = {"absent": "the data set has no known factors"}
    if judge is None:
        scores["traversals"] = {"absent": "there is no judge of the images"}
    else:
        starts = split.subset(np.sort(rows[:STARTS]))
        moved = moved_answers(model, starts, judge)
        scores["traversals"] = {
            "judge": judge.name,
            "starts": len(starts),
            "values": VALUES.tolist(),
            "moved": _named(moved, names, judge.sizes),
            "wholes": union_scores(moved, graph),
        }
    return {"structure": scores}


def _named(matrix, rows, columns):
    return {
        row: dict(zip(columns, values.tolist(), strict=True))
        for row, values in zip(rows, matrix, strict=True)
    }


# ---- correlations ------------------------------------------------------------


def reencoded_scores(model, samples=SAMPLES):
    """Samples of the prior, decoded and encoded again, against the structure.

    Args:
      model: with `graph` and `reencode`.
      samples: how many.

    Returns:
      Plain data: see `correlation_scores`, with "recovered": {latent:
      correlation of z_j with z^_j}.
    """
    graph = model.graph
    size = graph.num_latents
    z = np.random.default_rng(SEED).standard_normal((samples, size))
    z = z.astype(np.float32)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def reencode(batch, number):
        return model.reencode(batch, noise.fold(tf.constant([SEED, 0]), number))

    reencoded = np.concatenate(
        [
            reencode(z[start : start + BATCH], tf.constant(start))
            for start in range(0, samples, BATCH)
        ]
    )
    scores = correlation_scores(reencoded, graph, model.conditional)
    both = _correlations(np.hstack([z, reencoded]))
    recovered = np.diag(both[:size, size:]).tolist()
    names = graph.names
    return scores | {"recovered": dict(zip(names, recovered, strict=True))}


def codes_of_images(model, split):
    """Means, a draw of the posterior (the means without one), and factors."""
    tables, factors = encoders.encode(
        {"model": encoders.of_model(model)}, split
    )
    means, stddevs = tables["model"]
    if stddevs is None:
        return means, means, factors
    drawn = np.random.default_rng(SEED).standard_normal(means.shape)
    return means, means + stddevs * drawn, factors


def correlation_scores(codes, graph, conditional="linear_sem"):
    """How near codes are to a structure's distribution.

    Args:
      codes: float `[N, d]`.
      graph: a `Structure` of d latents.
      conditional: of the structure, a name in `structure.CONDITIONALS`.

    Returns:
      Plain data: "correlations" and "expected" `[d, d]`; "edges": {edge:
      [found, expected]}; "largest_gap" off the diagonal; "variances" `[d]`;
      "divergence": KL, in nats, of a normal distribution with the codes' mean
      and covariance from the structure's; and "divergence_ignored": what it
      is for independent standard normal codes.
    """
    target = graph.covariance(conditional)
    spread = np.sqrt(np.diag(target))
    expected = target / np.outer(spread, spread)
    found = _correlations(codes)
    off = ~np.eye(len(found), dtype=bool)
    gaps = np.abs(found - expected)[off]
    codes = np.float64(codes)
    covariance = np.atleast_2d(np.cov(codes.T, ddof=0))
    independent = np.zeros(len(found)), np.eye(len(found))
    return {
        "samples": len(codes),
        "correlations": found.tolist(),
        "expected": expected.tolist(),
        "edges": {
            f"{graph.names[p - 1]}->{graph.names[c - 1]}": [
                float(matrix[p - 1, c - 1]) for matrix in (found, expected)
            ]
            for p, c in graph.edges
        },
        "largest_gap": float(np.max(gaps, initial=0.0)),
        "variances": np.diag(covariance).tolist(),
        "divergence": normal_divergence(codes.mean(axis=0), covariance, target),
        "divergence_ignored": normal_divergence(*independent, target),
    }


def _correlations(codes):
    """Float64 `[d, d]`; a constant column correlates with nothing."""
    codes = np.float64(codes) - np.mean(codes, axis=0, dtype=np.float64)
    lengths = np.linalg.norm(codes, axis=0)
    unit = codes / np.where(lengths > 0, lengths, 1)
    return unit.T @ unit


def normal_divergence(mean, covariance, target):
    """KL(N(mean, covariance) || N(0, target)), nats; infinite if singular.

    Args:
      mean: `[d]`.
      covariance, target: `[d, d]`.
    """
    inverse = np.linalg.inv(target)
    sign, log_volume = np.linalg.slogdet(covariance)
    if sign <= 0:
        return float("inf")
    _, log_target = np.linalg.slogdet(target)
    trace = np.trace(inverse @ covariance) + mean @ inverse @ mean
    return float(0.5 * (trace - len(mean) + log_target - log_volume))


# ---- factors -----------------------------------------------------------------


def information_shares(means, factors):
    """Share of factors' entropy that every latent holds, `[d, K]`."""
    return information_matrix(factors, means) / factor_entropies(factors)


def moved_answers(model, split, judge):
    """How often moving a latent changes what a judge sees.

    Args:
      model: a `PartsModel` with the part `z`.
      split: images whose codes are moved, one entry at a time, to `VALUES`.
      judge: see `of_model`.

    Returns:
      Float `[d, heads]` in [0, 1]: among all starts and values, how often the
      answer is further than `TOLERANCE` of the head's values from whatever
      was `POSSIBLE` for the unmoved code; classes have no distance.
    """
    batch = split.take(np.arange(len(split)))
    images = pipeline.fit_images(batch["image"], model.image_shape)
    start = visualization.encode(model, images.numpy())
    plain = _logits(judge, visualization.decode(model, start))
    moved = []
    for entry in range(start["z"].shape[1]):
        changed = []
        for value in VALUES:
            there = {name: part.copy() for name, part in start.items()}
            there["z"][:, entry] = value
            seen = _logits(judge, visualization.decode(model, there))
            changed.append(
                [
                    np.mean(_elsewhere(plain[h], seen[h], h != LABEL))
                    for h in judge.sizes
                ]
            )
        moved.append(np.mean(changed, axis=0))
    return np.stack(moved)


def _logits(judge, images):
    """{head: float `[B, values]`}."""
    _, logits = judge(images)
    return {head: np.asarray(logits[head]) for head in judge.sizes}


def _elsewhere(before, after, ordered=True):
    """Which answers moved, bool `[B]`, of logits `[B, values]`."""
    values = np.arange(before.shape[1])
    possible = before - before.max(axis=1, keepdims=True) > np.log(POSSIBLE)
    gaps = np.abs(np.argmax(after, axis=1)[:, None] - values)
    near = gaps <= (np.floor(TOLERANCE * len(values)) if ordered else 0)
    return ~np.any(possible & near, axis=1)


def union_scores(profiles, graph, places=PLACES):
    """Whether composite latents do what their components do together.

    The profile of each of the graph's `wholes` is compared with the largest
    entries of its components' profiles: sum of the smaller over sum of the
    larger, 1 where they are equal and 0 where they have nothing in common.

    Args:
      profiles: float `[d, K]`, not negative: what every latent does to every
        factor.
      graph: a `Structure` of d latents.
      places: how often the graph is put on other latents, for the control.

    Returns:
      None without edges; else plain data: "overlap": {latent: in [0, 1]},
      "mean" over them, and "control": the "mean" of that over graphs whose
      nodes stand on other latents, and "share_as_high", how many of these
      reach the structure's own (small where the structure is meant).
    """
    if not graph.edges:
        return None
    own = _overlaps(profiles, graph)
    linked = sorted({number for edge in graph.edges for number in edge})
    strength = profiles.max(axis=1)
    busy = np.flatnonzero(strength > IDLE * strength.max()) + 1
    pool = np.union1d(busy, linked)
    rng, means = np.random.default_rng(SEED), []
    for _ in range(places):
        chosen = dict(zip(linked, rng.permutation(pool), strict=False))
        rest = iter(set(range(1, len(profiles) + 1)) - set(chosen.values()))
        numbers = [
            chosen[n] if n in chosen else next(rest)
            for n in range(1, len(profiles) + 1)
        ]
        means.append(np.mean(_overlaps(profiles, graph.permuted(numbers))))
    mean = float(np.mean(own))
    names = [graph.names[number - 1] for number in graph.wholes()]
    return {
        "overlap": dict(zip(names, own, strict=True)),
        "mean": mean,
        "control": {
            "mean": float(np.mean(means)),
            "share_as_high": float(np.mean(np.array(means) >= mean - 1e-12)),
            "places": places,
        },
    }


def _overlaps(profiles, graph):
    """Of every composite's profile with the union of its parts', floats."""
    overlaps = []
    for number, parts in graph.wholes().items():
        union = profiles[np.array(parts) - 1].max(axis=0)
        own = profiles[number - 1]
        whole = np.maximum(union, own).sum()
        shared = np.minimum(union, own).sum()
        overlaps.append(float(shared / whole) if whole else 0.0)
    return overlaps


# ---- words -------------------------------------------------------------------


def table(scores):
    """Lines for a terminal of what `of_model` gave, none where it gave {}."""
    found = scores.get("structure")
    if not found:
        return []
    own = found["reencoded"]
    lines = [
        f"structure {found['edges'] or '(no edges)'}: re-encoded codes "
        f"{own['divergence']:.3f} nats from it (independent ones "
        f"{own['divergence_ignored']:.3f}), largest gap of a correlation "
        f"{own['largest_gap']:.3f}; {own['samples']:,} prior samples"
    ]
    for edge, (value, expected) in own["edges"].items():
        on_images, _ = found["images"]["edges"][edge]
        lines.append(
            f"  {edge}: correlation {value:.3f}, wanted {expected:.3f}; of "
            f"codes of images {on_images:.3f}"
        )
    for name, words in (
        ("information", "knows of the factors what its parts know"),
        ("traversals", "moves what its parts move"),
    ):
        wholes = found.get(name, {}).get("wholes")
        if wholes:
            control = wholes["control"]
            high = f"{control['share_as_high']:.1%} of them as high"
            lines.append(
                f"a composite {words}: {wholes['mean']:.3f}, on other latents "
                f"{control['mean']:.3f} ({high})"
            )
    return lines
