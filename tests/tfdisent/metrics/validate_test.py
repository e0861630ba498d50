"""What every score says of bad input."""

import numpy as np
import pytest

from tfdisent import metrics

FACTORS = np.indices((3, 4)).reshape(2, -1).T
CODES = FACTORS * 1.0
SPOILED = CODES.copy()
SPOILED[5, 1] = np.nan

ONE_SPLIT = [metrics.mig, metrics.mig_sup, metrics.modularity, metrics.irs]
TWO_SPLITS = [metrics.dci, metrics.sap, metrics.explicitness]

BAD_CODES = [
    (SPOILED, "must be finite. Received: 1 value"),
    (CODES[:, 0], r"must have shape \[N, D\].*\(12,\)"),
    (CODES[:11], "equally many rows.* 12, .* 11"),
    (CODES[:1], "must have at least 2 rows. Received: 1"),
    (CODES[:, :0], r"D >= 1.*\(12, 0\)"),
    (CODES.astype(str), "must hold real numbers. Received: .*dtype=<U"),
    ([[1.0], [1.0, 2.0]], "must be an array. Received: rows of different"),
]
BAD_FACTORS = [
    (FACTORS + 0.5, "must hold integers. Received: .* 0.5"),
    (FACTORS * [1, 0], r"\[:, 1\] is 0 in all 12 rows"),
    (FACTORS[:, 0], r"must have shape \[N, K\].*\(12,\)"),
    (FACTORS[:1], "must have at least 2 rows. Received: 1"),
    (FACTORS * np.nan, "must be finite"),
]


@pytest.mark.parametrize("score", ONE_SPLIT)
@pytest.mark.parametrize(("codes", "message"), BAD_CODES)
def test_codes(score, codes, message):
    with pytest.raises(ValueError, match=f"codes.*{message}"):
        score(FACTORS, codes)


@pytest.mark.parametrize("score", ONE_SPLIT)
@pytest.mark.parametrize(("factors", "message"), BAD_FACTORS)
def test_factors(score, factors, message):
    with pytest.raises(ValueError, match=f"factors.*{message}"):
        score(factors, CODES)


@pytest.mark.parametrize("score", TWO_SPLITS)
@pytest.mark.parametrize(("codes", "message"), BAD_CODES)
def test_codes_of_each_split(score, codes, message):
    with pytest.raises(ValueError, match=f"codes_train.*{message}"):
        score(FACTORS, codes, FACTORS, CODES)
    with pytest.raises(ValueError, match=f"codes_test.*{message}"):
        score(FACTORS, CODES, FACTORS, codes)


@pytest.mark.parametrize("score", TWO_SPLITS)
@pytest.mark.parametrize(("factors", "message"), BAD_FACTORS)
def test_factors_of_training(score, factors, message):
    with pytest.raises(ValueError, match=f"factors_train.*{message}"):
        score(factors, CODES, FACTORS, CODES)


@pytest.mark.parametrize("score", TWO_SPLITS)
def test_splits_must_have_the_same_columns(score):
    with pytest.raises(ValueError, match="codes_train 2, codes_test 1"):
        score(FACTORS, CODES, FACTORS, CODES[:, :1])
    with pytest.raises(ValueError, match="factors_train 2, factors_test 1"):
        score(FACTORS, CODES, FACTORS[:, :1], CODES)


def test_whole_floats_and_lists_are_fine():
    expected = metrics.mig(FACTORS, CODES)
    assert metrics.mig(FACTORS.astype(np.float32), CODES) == expected
    assert metrics.mig(FACTORS.tolist(), CODES.tolist()) == expected


def test_inputs_are_left_as_they_were():
    factors, codes = FACTORS.copy(), CODES.copy()
    for score in ONE_SPLIT:
        score(factors, codes)
    metrics.total_correlation(codes)
    metrics.udr([codes, codes])
    metrics.mutual_information(codes, codes + 1, samples=10)
    np.testing.assert_array_equal(factors, FACTORS)
    np.testing.assert_array_equal(codes, CODES)
