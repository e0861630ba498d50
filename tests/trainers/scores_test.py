"""Scores of codes: what exists for which codes, and what it says there."""

import dataclasses

import numpy as np
import pytest

from tfdisent import InputError
from tfdisent import metrics
from trainers import scores

SIZES = (3, 4, 5)
NAMES = ("shape", "size", "place")


def grid_codes(codes=None, stddevs=None, sizes=SIZES, names=NAMES, repeat=1):
    """`Codes` of every point of a grid, row-major; the factors themselves."""
    factors = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), -1)
    factors = np.repeat(factors, repeat, axis=0)
    codes = factors if codes is None else codes
    train, test = scores.split_rows(len(factors))
    return scores.Codes(
        factors=factors,
        means=codes.astype(np.float32),
        stddevs=stddevs,
        factor_names=tuple(names),
        code_names=tuple(f"z[{i}]" for i in range(codes.shape[1])),
        groups=(codes.shape[1],),
        grid_sizes=tuple(sizes) if repeat == 1 else None,
        train=train,
        test=test,
    )


def without_grid(codes):
    return dataclasses.replace(codes, grid_sizes=None)


def test_perfect_codes_reach_the_top_of_every_score():
    codes = grid_codes()
    found, pictures = scores.score_rows({"model": codes})
    row = found["rows"]["model"]
    # Rows are drawn at random, so factors are not quite balanced there.
    for name in ("mig", "mig_sup", "modularity"):
        assert row[name] > 0.85, name
    for name in ("factor_vae_score", "beta_vae_score", "explicitness"):
        assert row[name] > 0.99, name
    assert row["dci_disentanglement"] > 0.95
    assert row["dci_informativeness"] == 1.0
    assert row["factors_found"] == 3
    assert set(found["computed"]) == {
        name for name, score in scores.SCORES.items() if score.usual
    }
    assert set(row) == set(found["conventions"])
    np.testing.assert_array_equal(
        pictures["information"].argmax(axis=1), [0, 1, 2]
    )
    assert pictures["importance"].shape == (3, 3)
    assert found["protocol"]["grid"] == 60
    assert found["protocol"]["seed"] == 0


def test_every_number_is_that_of_the_metric_itself():
    rng = np.random.default_rng(0)
    codes = grid_codes(rng.normal(size=(60, 4)))
    row = scores.score_rows({"model": codes})[0]["rows"]["model"]
    train, test = codes.train, codes.test
    assert (len(train), len(test)) == (40, 20)
    assert not set(train) & set(test)
    pair = codes.factors[train], codes.means[train]
    both = (*pair, codes.factors[test], codes.means[test])
    assert row["mig"] == metrics.mig(*pair)
    assert row["irs"] == metrics.irs(*pair)
    assert row["sap"] == metrics.sap(*both)
    assert row["dci_completeness"] == metrics.dci(*both).completeness
    assert row["factor_vae_score"] == metrics.factor_vae_score(
        codes.means, SIZES
    )


def test_aggregated_scores_come_on_request_and_need_a_posterior():
    noise = np.full((60, 3), 0.05, np.float32)
    codes = grid_codes(stddevs=noise)
    names = ("mig_aggregate", "mutual_information")
    found, pictures = scores.score_rows({"model": codes}, names)
    row = found["rows"]["model"]
    assert row["mig_aggregate"] == pytest.approx(
        metrics.mig_aggregate(codes.factors, codes.means, noise)
    )
    assert row["mig_sup_aggregate"] == pytest.approx(
        metrics.mig_sup_aggregate(codes.factors, codes.means, noise)
    )
    # Sixty points that do not overlap.
    assert row["i_x_z"] == pytest.approx(np.log(60), abs=1e-3)
    assert "posterior of 60 rows" in found["conventions"]["i_x_z"]
    assert pictures["aggregate_information"].shape == (3, 3)
    bare = dataclasses.replace(codes, stddevs=None)
    found, _ = scores.score_rows(
        {"model": bare}, (*names, "mig"), reason="the model has no posterior"
    )
    assert set(found["absent"]) == set(names)
    assert set(found["absent"].values()) == {"the model has no posterior"}
    assert list(found["rows"]["model"]) == ["mig", "factors_found"]


def test_information_of_several_parts_is_told_apart():
    factors = grid_codes().factors
    twice = np.concatenate([factors, factors[:, :1]], axis=1)
    codes = dataclasses.replace(
        grid_codes(twice, np.full((60, 4), 0.05, np.float32)),
        code_names=("a[0]", "a[1]", "a[2]", "b[0]"),
        groups=(3, 1),
    )
    found, _ = scores.score_rows({"model": codes}, ("mutual_information",))
    row = found["rows"]["model"]
    assert row["i_x_a"] == pytest.approx(np.log(60), abs=1e-3)
    assert row["i_x_b"] == pytest.approx(np.log(3), abs=0.02)
    # All that b tells, a has told.
    assert row["i_overlap"] == pytest.approx(row["i_x_b"], abs=1e-3)


def test_dsprites_shape_is_left_out_beside():
    sizes = (3, 2, 2, 2, 2)
    codes = grid_codes(
        stddevs=np.full((48, 5), 0.05, np.float32),
        sizes=sizes,
        names=scores.DSPRITES,
    )
    # Shape and scale share a code; without the shape nothing is wrong.
    means = codes.means.copy()
    means[:, 1] += 2 * means[:, 0]
    means[:, 0] = 0
    codes = dataclasses.replace(codes, means=means)
    found, _ = scores.score_rows(
        {"model": codes}, ("mig", "mig_sup", "mig_aggregate")
    )
    row = found["rows"]["model"]
    for name in ("mig_aggregate", "mig_sup_aggregate"):
        assert row[f"{name}_without_shape"] == pytest.approx(1, abs=0.02)
    assert row["mig_sup_aggregate"] < 0.9
    factors, rows, _, _ = codes.pairs()
    for metric in (metrics.mig, metrics.mig_sup):
        value = row[f"{metric.__name__}_without_shape"]
        assert value == metric(factors[:, 1:], rows) > 0.9
    assert row["mig_sup"] < 0.9


def test_what_cannot_be_computed_is_absent_with_its_reason():
    codes = without_grid(grid_codes(repeat=4))
    found, _ = scores.score_rows({"model": codes}, scores.CHEAP)
    assert not found["absent"]
    found, _ = scores.score_rows(
        {"model": codes}, ("factor_vae_score", "beta_vae_score")
    )
    assert set(found["absent"]) == {"factor_vae_score", "beta_vae_score"}
    reason = found["absent"]["factor_vae_score"]
    assert reason.endswith("a point; 240 rows hold 60 of 60 points")
    some = dataclasses.replace(codes, factors=codes.factors[:9])
    reason = scores.missing("factor_vae_score", some)
    assert reason.endswith("9 rows hold 3 of 3 points")
    assert not found["conventions"]

    doubled = np.repeat(codes.factors[:, :1], 2, axis=1)
    found, _ = scores.score_rows(
        {"model": dataclasses.replace(codes, means=doubled)},
        ("total_correlation",),
    )
    assert "linear function" in found["absent"]["total_correlation"]

    single = dataclasses.replace(
        codes,
        factors=codes.factors[:, :1],
        factor_names=("shape",),
        means=codes.means[:, :1],
        code_names=("z[0]",),
    )
    found, _ = scores.score_rows({"model": single}, ("dci", "sap", "mig"))
    assert list(found["rows"]["model"]) == ["mig", "factors_found"]
    assert found["absent"] == {
        "sap": "needs at least 2 codes",
        "dci": "needs at least 2 factors",
    }


def test_a_factor_that_is_constant_where_it_is_scored():
    codes = grid_codes(repeat=4)
    train = np.flatnonzero(codes.factors[:, 0] == 1)
    codes = dataclasses.replace(codes, train=train)
    found, _ = scores.score_rows({"model": codes}, ("mig",))
    assert "must vary in every column" in found["absent"]["mig"]


def test_many_codes_leave_the_dear_scores_to_those_who_ask():
    rng = np.random.default_rng(0)
    codes = grid_codes(rng.normal(size=(60, scores.WIDE + 1)))
    codes = without_grid(codes)
    assert "--metrics=dci" in scores.missing("dci", codes)
    assert scores.missing("dci", codes, asked=True) is None
    assert scores.missing("mig", codes) is None
    assert "takes long" in scores.missing("dci_10000", grid_codes())


def test_controls_stand_beside_the_model_without_a_posterior():
    codes = grid_codes(stddevs=np.full((60, 3), 0.1, np.float32))
    control = dataclasses.replace(
        codes, means=codes.means[:, ::-1], stddevs=None
    )
    rows = {"model": codes, "PCA": control}
    found, pictures = scores.score_rows(rows, ("mig", "mutual_information"))
    assert found["rows"]["PCA"] == {
        "mig": pytest.approx(found["rows"]["model"]["mig"]),
        "factors_found": 3,
    }
    # Pictures are the model's.
    np.testing.assert_array_equal(
        pictures["information"].argmax(axis=1), [0, 1, 2]
    )
    text = "\n".join(scores.table(found))
    assert "model" in text and "PCA" in text
    assert "code, shares of H(v), found above 0.5; 40 rows" in text
    assert "posterior means" in text
    assert "seed 0" in text


def test_the_table_gives_reasons_once():
    codes = without_grid(grid_codes())
    found, _ = scores.score_rows(
        {"model": codes}, ("mig", "factor_vae_score", "beta_vae_score")
    )
    lines = scores.table(found)
    assert lines[-1].strip() == (
        "absent: factor_vae_score, beta_vae_score (needs the codes of a "
        "complete factor grid, one row a point; 60 rows hold 60 of 60 points)"
    )


def test_alive_codes_have_the_closed_form():
    means = np.array([[1.0, 0.0], [-1.0, 0.0]])
    stddevs = np.array([[0.5, 1.0], [0.5, 1.0]])
    found = scores.alive_codes(means, stddevs, ("z[0]", "z[1]"))
    expected = (1 + 0.25 - 1) / 2 - np.log(0.5)
    assert found["kl"]["z[0]"] == pytest.approx(expected)
    assert found["kl"]["z[1]"] == 0
    assert found["alive"] == 1
    assert "alive codes: 1 of 2" in scores.alive_line(found)


def test_rows_to_score_are_seeded_and_apart():
    train, test = scores.split_rows(737_280)
    assert (len(train), len(test)) == (10_000, 5_000)
    assert not np.intersect1d(train, test).size
    np.testing.assert_array_equal(train, scores.split_rows(737_280)[0])
    train, test = scores.split_rows(30)
    assert (len(train), len(test)) == (20, 10)


def test_names_of_metrics():
    assert scores.parse_names([]) is None
    assert scores.parse_names(["sap", "mig"]) == ("mig", "sap")
    assert scores.parse_names(["all"]) == tuple(scores.SCORES)
    assert scores.parse_names(["losses"], ("losses",)) == ("losses",)
    with pytest.raises(InputError, match="Did you mean 'mig_sup'"):
        scores.parse_names(["mig-sup"])


def test_only_tables_and_posteriors_want_the_whole_grid():
    assert scores.wants_grid()
    assert not scores.wants_grid(scores.CHEAP)
    assert scores.wants_grid(("mutual_information",))
    assert not scores.wants_grid(("mutual_information",), posterior=False)
