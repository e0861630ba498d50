"""Scores of codes against known factors, from arrays and nothing else.

`Codes` are what one encoding pass (or a file) gave; `score_rows` scores them,
and whatever stands beside them as a control, by one protocol that is printed
with every number.
"""

import dataclasses
import difflib
import functools
import math
import time
from collections.abc import Callable

import numpy as np

from tfdisent import metrics
from tfdisent.errors import InputError
from tfdisent.metrics.aggregated_posterior import DEAD
from tfdisent.metrics.aggregated_posterior import kl_by_code

# Rows that a score learns on or counts, and those it is tested on.
TRAIN_ROWS, TEST_ROWS = 10_000, 5_000
# DCI's boosted trees cost more than all the rest, so they see fewer rows
# unless all are asked for; half as many test them.
DCI_ROWS = 2_000
# Of the choice of rows, of votes and of draws; no training seed matters here.
SEED = 0
# With more codes than this, boosted trees and a support vector machine a code
# are for those who ask for them.
WIDE = 64
# A factor counts as found when some code holds more than this share of it
# (CascadeVAE, figure 5).
FOUND = 0.5
# Draws from an aggregated posterior; each meets every row's every code, once
# on all rows and about once more within the values of the factors.
AGGREGATE_DRAWS = 10_000
SECONDS_A_PAIR = 8e-9
# dSprites' factors: beta-TCVAE and pro-VLAE leave the shape out of MIG there.
DSPRITES = ("shape", "scale", "orientation", "position_x", "position_y")


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of images whose factors are known.

    Attributes:
      factors: int `[N, K]`.
      means: float32 `[N, D]`; posterior means where there is a posterior.
      stddevs: float32 `[N, D]` of the posterior, or None.
      factor_names: K names.
      code_names: D names, as `z[0]`.
      groups: codes in each part of the model, ints that add up to D.
      grid_sizes: values of each factor where the rows are the complete grid,
        row-major; None elsewhere.
      train, test: int row numbers, what scores learn on and are tested on.
    """

    factors: np.ndarray
    means: np.ndarray
    stddevs: np.ndarray | None
    factor_names: tuple
    code_names: tuple
    groups: tuple
    grid_sizes: tuple | None
    train: np.ndarray
    test: np.ndarray

    @functools.cached_property
    def shares(self):
        """I(z_j; v_k) / H(v_k) of the train rows, binned; float64 `[D, K]`."""
        factors, means, _, _ = self.pairs()
        information = metrics.information_matrix(factors, means)
        return information / metrics.factor_entropies(factors)

    def pairs(self, train=None, test=None):
        """Factors and codes of the train rows, then of the test rows."""
        for rows in (self.train[:train], self.test[:test]):
            yield from (self.factors[rows], self.means[rows])


class Absent(Exception):
    """A score that does not exist for these codes; the text is the reason."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A score, or several that come from one computation.

    Attributes:
      compute: `codes -> ({name: float}, {picture: [D, K]})`.
      convention: what its numbers mean; may name the numbers of rows
        `{train}`, `{test}`, `{dci_train}`, `{dci_test}` and `{all}`.
      table: whether it needs the codes of the complete grid.
      posterior: whether it needs posteriors.
      factors, codes: the fewest it can do with.
      usual: whether it is computed unless others are asked for.
      wide: whether it is as usual with many codes.
    """

    compute: Callable
    convention: str
    table: bool = False
    posterior: bool = False
    factors: int = 1
    codes: int = 1
    usual: bool = True
    wide: bool = True


def split_rows(count, seed=SEED):
    """Random rows to score on.

    Args:
      count: rows there are, at least 3.
      seed: int.

    Returns:
      `(train, test)`: disjoint int arrays of `TRAIN_ROWS` and `TEST_ROWS`, or
      two thirds and one third where there are fewer.
    """
    train = min(TRAIN_ROWS, 2 * count // 3)
    test = min(TEST_ROWS, count - train)
    chosen = np.random.default_rng(seed).permutation(count)[: train + test]
    return chosen[:train], chosen[train:]


# ---- the scores --------------------------------------------------------------


def _on_rows(metric, **options):
    def compute(codes):
        factors, means, _, _ = codes.pairs()
        return {metric.__name__: metric(factors, means, **options)}, {}

    return compute


def _on_both(metric):
    def compute(codes):
        return {metric.__name__: metric(*codes.pairs())}, {}

    return compute


def _on_table(metric):
    def compute(codes):
        value = metric(codes.means, codes.grid_sizes, seed=SEED)
        return {metric.__name__: value}, {}

    return compute


def _by_convention(codes, name, score, shares):
    """{name, with a suffix where fewer factors count: the score}."""
    values = {name: score(shares)}
    if codes.factor_names == DSPRITES:
        values[f"{name}_without_shape"] = score(shares[:, 1:])
    return values


def _mig(codes):
    shares = codes.shares
    values = _by_convention(codes, "mig", metrics.mig_from_shares, shares)
    values["factors_found"] = np.sum(shares.max(axis=0) > FOUND)
    return values, {"information": shares}


def _mig_sup(codes):
    score = functools.partial(
        metrics.mig_sup_from_shares, codes=codes.means[codes.train]
    )
    return _by_convention(codes, "mig_sup", score, codes.shares), {}


def _total_correlation(codes):
    value = metrics.total_correlation(codes.means[codes.train])
    if not math.isfinite(value):
        raise Absent("infinite: some code is a linear function of others")
    return {"total_correlation": value}, {}


def _dci(name, rows):
    def compute(codes):
        importance = metrics.importance_matrix(
            *codes.pairs(rows, rows // 2), seed=SEED
        )
        values = metrics.dci_from_importance(importance)._asdict()
        return (
            {f"{name}_{part}": value for part, value in values.items()},
            {"importance": importance.matrix},
        )

    return compute


def _aggregate(codes):
    information = metrics.aggregate_information_matrix(
        codes.factors,
        codes.means,
        codes.stddevs,
        samples=AGGREGATE_DRAWS,
        seed=SEED,
    )
    shares = information / metrics.factor_entropies(codes.factors)
    sup = functools.partial(metrics.mig_sup_from_shares, codes=codes.means)
    return {
        **_by_convention(
            codes, "mig_aggregate", metrics.mig_from_shares, shares
        ),
        **_by_convention(codes, "mig_sup_aggregate", sup, shares),
    }, {"aggregate_information": shares}


def _mutual_information(codes):
    overlap = metrics.information_overlap(
        codes.means,
        codes.stddevs,
        codes.groups,
        samples=AGGREGATE_DRAWS,
        seed=SEED,
    )
    values = {"i_x_z": overlap.total}
    if len(codes.groups) > 1:
        parts = dict.fromkeys(name.split("[")[0] for name in codes.code_names)
        values |= {
            f"i_x_{part}": nats
            for part, nats in zip(parts, overlap.groups, strict=True)
        }
        values["i_overlap"] = overlap.overlap
    return values, {}


SCORES = {
    "mig": Score(
        _mig,
        "20 bins of equal width a code, shares of H(v), found above "
        f"{FOUND:g}; {{train}} rows",
    ),
    "mig_sup": Score(
        _mig_sup,
        "as mig; codes of variance above 0.01; {train} rows",
    ),
    "modularity": Score(
        _on_rows(metrics.modularity),
        "20 bins a code; {train} rows",
        factors=2,
    ),
    "irs": Score(_on_rows(metrics.irs), "0.99 quantile; {train} rows"),
    "total_correlation": Score(
        _total_correlation, "nats, Gaussian of the codes; {train} rows"
    ),
    "factor_vae_score": Score(
        _on_table(metrics.factor_vae_score),
        "10,000 + 5,000 votes of 64; codes of std 0.05 or more; whole grid",
        table=True,
    ),
    "beta_vae_score": Score(
        _on_table(metrics.beta_vae_score),
        "10,000 + 5,000 points of 64 pairs, logistic regression; whole grid",
        table=True,
        factors=2,
    ),
    "sap": Score(
        _on_both(metrics.sap),
        "linear SVC a code, C 0.01; {train} / {test} rows",
        codes=2,
        wide=False,
    ),
    "explicitness": Score(
        _on_both(metrics.explicitness),
        "logistic regression, ROC AUC; {train} / {test} rows",
        wide=False,
    ),
    "dci": Score(
        _dci("dci", DCI_ROWS),
        "gradient boosted trees; {dci_train} / {dci_test} rows",
        factors=2,
        codes=2,
        wide=False,
    ),
    "dci_10000": Score(
        _dci("dci_10000", TRAIN_ROWS),
        "gradient boosted trees; {train} / {test} rows",
        factors=2,
        codes=2,
        usual=False,
    ),
    "mig_aggregate": Score(
        _aggregate,
        "aggregated posterior of {all} rows, 10,000 draws, no bins",
        posterior=True,
        usual=False,
    ),
    "mutual_information": Score(
        _mutual_information,
        "nats, aggregated posterior of {all} rows, 10,000 draws",
        posterior=True,
        usual=False,
    ),
}
# What a training run can afford every now and then, and `--quick` at the end.
CHEAP = ("mig", "mig_sup", "modularity", "irs", "total_correlation")


def varied_factors(dataset):
    """Columns of the factors that take more than one value, int `[K]`.

    There is nothing in the others that a code could tell.
    """
    return np.flatnonzero(np.array(dataset.factor_sizes) > 1)


def parse_names(texts, others=()):
    """The scores that `--metrics` asks for.

    Args:
      texts: names of `SCORES`, `["all"]`, or none for the usual ones.
      others: further names that are known.

    Returns:
      A tuple of names in their own order, or None for the usual ones.

    Raises:
      InputError: an unknown name; one line with the choices.
    """
    if not texts:
        return None
    known = (*SCORES, *others)
    if list(texts) == ["all"]:
        return known
    for text in texts:
        if text not in known:
            near = difflib.get_close_matches(text, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"--metrics={text}: unknown.{hint} Choices: "
                f"{', '.join(known)}, all."
            )
    return tuple(name for name in known if name in texts)


def wants_grid(names=None, posterior=True):
    """Whether any of these scores needs the codes of a complete grid.

    An aggregated posterior is that of the whole data set.

    Args:
      names: of `SCORES`; None for the usual ones.
      posterior: whether there is one.
    """
    chosen = [score for name, score in SCORES.items() if _asked(name, names)]
    return any(s.table or (s.posterior and posterior) for s in chosen)


def _asked(name, names):
    return SCORES[name].usual if names is None else name in names


def missing(name, codes, asked=False, no_posterior=""):
    """Why a score does not exist for these codes, or None.

    Args:
      name: of `SCORES`.
      codes: `Codes`.
      asked: whether somebody asked for it by name.
      no_posterior: why there is no posterior, where that is known.
    """
    score = SCORES[name]
    if score.posterior and codes.stddevs is None:
        return no_posterior or "needs a posterior"
    if score.table and codes.grid_sizes is None:
        points = np.unique(codes.factors, axis=0)
        grid = math.prod(len(np.unique(column)) for column in points.T)
        return (
            "needs the codes of a complete factor grid, one row a point; "
            f"{len(codes.factors):,} rows hold {len(points):,} of {grid:,} "
            "points"
        )
    if len(codes.factor_names) < score.factors:
        return f"needs at least {score.factors} factors"
    if len(codes.code_names) < score.codes:
        return f"needs at least {score.codes} codes"
    if not asked and not score.wide and len(codes.code_names) > WIDE:
        return (
            f"takes long for {len(codes.code_names)} codes; ask for it with "
            f"--metrics={name}"
        )
    if not asked and not score.usual:
        return f"takes long; ask for it with --metrics={name}"
    return None


def score_rows(rows, names=None, report=None, reason=""):
    """All scores of a model and its controls.

    Args:
      rows: {name: `Codes`} of the same images; the first is the model.
      names: of `SCORES`; None for the usual ones.
      report: called with a line for every score that took a while.
      reason: why the model has no posterior, where it has none.

    Returns:
      `(scores, pictures)`: plain data for metrics.json, and the first row's
      {name: float `[D, K]`}.

    """
    report = report or (lambda line: None)
    first = next(iter(rows.values()))
    counts = {
        "train": f"{len(first.train):,}",
        "test": f"{len(first.test):,}",
        "dci_train": f"{min(DCI_ROWS, len(first.train)):,}",
        "dci_test": f"{min(DCI_ROWS // 2, len(first.test)):,}",
        "all": f"{len(first.means):,}",
    }
    values, seconds = {row: {} for row in rows}, dict.fromkeys(rows, 0.0)
    computed, conventions, absent, pictures = [], {}, {}, {}
    for name, score in SCORES.items():
        if names is not None and name not in names:
            continue
        why = missing(name, first, names is not None, reason)
        if why:
            absent[name] = why
            continue
        for row, codes in rows.items():
            if missing(name, codes, names is not None):
                # A control without a posterior or of a single code.
                continue
            if score.posterior:
                minutes = aggregate_minutes(AGGREGATE_DRAWS, codes.means)
                if minutes > 1.5:
                    report(f"{name} of {row}: about {minutes:.0f} minutes")
            started = time.perf_counter()
            try:
                found, drawn = score.compute(codes)
            except (Absent, ValueError) as error:
                # In the metric's own words: a factor that is constant in few
                # rows, a value that only the test rows have.
                if codes is first:
                    absent[name] = str(error)
                continue
            values[row] |= {n: float(value) for n, value in found.items()}
            for quantity in found:
                conventions[quantity] = score.convention.format(**counts)
            if codes is first:
                computed.append(name)
                pictures |= drawn
            taken = time.perf_counter() - started
            seconds[row] += taken
            if taken > 1:
                report(f"{name} of {row}: {taken:.1f} s")
    return {
        "rows": values,
        "computed": computed,
        "conventions": conventions,
        "absent": absent,
        "seconds": seconds,
        "protocol": {
            "factors": list(first.factor_names),
            "codes": len(first.code_names),
            "representation": "codes"
            if first.stddevs is None
            else "posterior means",
            "train_rows": len(first.train),
            "test_rows": len(first.test),
            "grid": None if first.grid_sizes is None else len(first.means),
            "seed": SEED,
        },
    }, pictures


def aggregate_minutes(samples, means):
    """About how long estimates of so many draws and means `[N, D]` take."""
    return samples * means.size * SECONDS_A_PAIR / 60


def alive_codes(means, stddevs, names):
    """Which codes say anything about the image: KL of each to N(0, 1).

    Args:
      means, stddevs: `[N, D]` of the posterior.
      names: D names.

    Returns:
      {"kl": {name: nats, the mean over rows}, "alive": how many reach
      "threshold"}.
    """
    kl = kl_by_code(means, stddevs)
    return {
        "kl": dict(zip(names, kl.tolist(), strict=True)),
        "alive": int(np.sum(kl >= DEAD)),
        "threshold": DEAD,
    }


# ---- words -------------------------------------------------------------------


def table(scores):
    """Lines for a terminal: a score a line, a column a row of `score_rows`.

    Args:
      scores: as `score_rows` gives them.

    Returns:
      A list of lines; every score has its convention on its right.
    """
    rows, protocol = scores["rows"], scores["protocol"]
    quantities = [q for q in scores["conventions"] if _any_has(rows, q)]
    lines = [
        f"{protocol['codes']} codes ({protocol['representation']}) against "
        f"{', '.join(protocol['factors'])}; rows, votes and draws of seed "
        f"{protocol['seed']}"
    ]
    if constant := protocol.get("constant_factors"):
        lines.append(f"  left out, of one value: {', '.join(constant)}")
    width = max([len(q) for q in quantities], default=0)
    columns = {row: max(len(row), 8) for row in rows}
    if quantities:
        heads = "  ".join(row.rjust(w) for row, w in columns.items())
        lines.append(f"  {'':<{width}}  {heads}")
    for quantity in quantities:
        cells = "  ".join(
            (
                f"{rows[row][quantity]:.4f}" if quantity in rows[row] else "-"
            ).rjust(w)
            for row, w in columns.items()
        )
        words = scores["conventions"][quantity]
        lines.append(f"  {quantity:<{width}}  {cells}   {words}")
    return lines + [f"  {line}" for line in absent_lines(scores["absent"])]


def absent_lines(absent):
    """{score: reason} as lines for a terminal, a reason once."""
    reasons = {}
    for name, reason in absent.items():
        reason = reason.replace(f"--metrics={name}", "--metrics=NAME")
        reasons.setdefault(reason, []).append(name)
    return [f"absent: {', '.join(n)} ({why})" for why, n in reasons.items()]


def absences(scores):
    """{name: reason} of those in a metrics.json that are {"absent": reason}."""
    return {
        name: found["absent"]
        for name, found in scores.items()
        if isinstance(found, dict) and isinstance(found.get("absent"), str)
    }


def _any_has(rows, quantity):
    """Whether any row has this quantity."""
    return any(quantity in values for values in rows.values())


def alive_line(alive):
    """One line on what `alive_codes` found, the most informative first."""
    order = sorted(alive["kl"].items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {nats:.2f}" for name, nats in order[:12])
    more = ", ..." if len(order) > 12 else ""
    return (
        f"alive codes: {alive['alive']} of {len(order)} (KL above "
        f"{alive['threshold']} nats): {shown}{more}"
    )
