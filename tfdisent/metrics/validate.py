"""Checks shared by the scores: every failure is one `ValueError`.

Its message names the argument, says what it should be, and what came.
"""

import math

import numpy as np


def count(name, value, at_least=1):
    """Returns a whole number, at least `at_least`, as an int."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, np.integer)
    ):
        raise ValueError(f"{name} must be an int. Received: {value!r}")
    if value < at_least:
        raise ValueError(
            f"{name} must be at least {at_least}. Received: {value}"
        )
    return int(value)


def matrix(name, values, *, rows=2):
    """Returns `values` as a finite float array `[N, D]`, N >= `rows`.

    Float32 and float64 arrays are not copied: a table of codes is large.
    """
    array = _numeric(name, values)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(
            f"{name} must have shape [N, D] with D >= 1. "
            f"Received: {name}.shape={array.shape}"
        )
    if len(array) < rows:
        raise ValueError(
            f"{name} must have at least {rows} rows. Received: {len(array)}"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    _check_finite(name, array)
    return array


def codes(name, values):
    """Returns codes as a finite float64 array `[N, D]`, N >= 2."""
    return matrix(name, values).astype(np.float64, copy=False)


def whole(name, values):
    """Returns an array of whole numbers as int64, of whatever shape."""
    array = _numeric(name, values)
    if array.dtype.kind not in "iub":
        _check_finite(name, array)
        fractional = array[array != np.floor(array)]
        if fractional.size:
            raise ValueError(
                f"{name} must hold integers. Received: {name} with the "
                f"value {fractional[0]}"
            )
    return array.astype(np.int64)


def factors(name, values, *, varied=True):
    """Returns factors as int64 `[N, K]`, N >= 2.

    With `varied`, a column that never changes is an error: there is nothing
    in it that a code could tell.
    """
    array = whole(name, values)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(
            f"{name} must have shape [N, K] with K >= 1. "
            f"Received: {name}.shape={array.shape}"
        )
    if len(array) < 2:
        raise ValueError(
            f"{name} must have at least 2 rows. Received: {len(array)}"
        )
    constant = np.flatnonzero(np.ptp(array, axis=0) == 0)
    if varied and constant.size:
        column = constant[0]
        raise ValueError(
            f"{name} must vary in every column; leave constant factors out. "
            f"Received: {name}[:, {column}] is {array[0, column]} in all "
            f"{len(array)} rows"
        )
    return array


def labels(name, values, *, rows=1):
    """Returns class labels as int64 `[N]`, N >= `rows`."""
    array = whole(name, values)
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have shape [N]. Received: {name}.shape={array.shape}"
        )
    if len(array) < rows:
        raise ValueError(
            f"{name} must have at least {rows} entries. Received: {len(array)}"
        )
    return array


def same_length(**arrays):
    """Refuses arrays of different first dimensions."""
    _agree("rows", {name: len(array) for name, array in arrays.items()})


def same_width(**arrays):
    """Refuses matrices of different second dimensions."""
    _agree("columns", {name: a.shape[1] for name, a in arrays.items()})


def factors_and_codes(factors_value, codes_value, suffix=""):
    """Returns checked `factors` `[N, K]` and `codes` `[N, D]` of one split.

    What is held out (`suffix="_test"`) may lack values of a factor.
    """
    checked_factors = factors(
        f"factors{suffix}", factors_value, varied=suffix != "_test"
    )
    checked_codes = codes(f"codes{suffix}", codes_value)
    same_length(
        **{f"factors{suffix}": checked_factors, f"codes{suffix}": checked_codes}
    )
    return checked_factors, checked_codes


def train_and_test(factors_train, codes_train, factors_test, codes_test):
    """Returns the four arrays of a score that learns on one split."""
    factors_train, codes_train = factors_and_codes(
        factors_train, codes_train, "_train"
    )
    factors_test, codes_test = factors_and_codes(
        factors_test, codes_test, "_test"
    )
    same_width(factors_train=factors_train, factors_test=factors_test)
    same_width(codes_train=codes_train, codes_test=codes_test)
    return factors_train, codes_train, factors_test, codes_test


def code_table(table, factor_sizes):
    """Returns the codes `[prod(sizes), D]` of a whole grid, and its sizes."""
    table = matrix("code_table", table)
    sizes = whole("factor_sizes", factor_sizes)
    if sizes.ndim != 1 or not sizes.size or np.any(sizes < 2):
        raise ValueError(
            "factor_sizes must be a sequence of integers, each at least 2. "
            f"Received: {factor_sizes!r}"
        )
    points = math.prod(sizes.tolist())
    if len(table) != points:
        raise ValueError(
            "code_table must have one row for every point of the factor grid, "
            f"prod(factor_sizes) = {points}. Received: {len(table)} rows"
        )
    return table, sizes


def posterior(means, stddevs):
    """Returns means and standard deviations as float64 `[N, D]`."""
    means = codes("means", means)
    stddevs = codes("stddevs", stddevs)
    if means.shape != stddevs.shape:
        raise ValueError(
            "means and stddevs must have the same shape. Received: "
            f"means.shape={means.shape}, stddevs.shape={stddevs.shape}"
        )
    if np.any(stddevs <= 0):
        raise ValueError(
            f"stddevs must be positive. Received: a minimum of {stddevs.min()}"
        )
    return means, stddevs


def _numeric(name, values):
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name} must be an array. Received: rows of different lengths"
        ) from error
    if array.dtype.kind not in "iubf":
        raise ValueError(
            f"{name} must hold real numbers. Received: "
            f"{name}.dtype={array.dtype}"
        )
    return array


def _check_finite(name, array):
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(
            f"{name} must be finite. Received: {np.sum(~finite)} values that "
            "are NaN or infinite"
        )


def _agree(what, sizes):
    if len(set(sizes.values())) > 1:
        received = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(
            f"{' and '.join(sizes)} must have equally many {what}. "
            f"Received: {received}"
        )
