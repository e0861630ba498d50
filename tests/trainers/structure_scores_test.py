import numpy as np
import pytest
import tensorflow as tf

from tfdisent import testing
from tfdisent.data.base import ArraySplit
from tfdisent.data.base import Dataset
from tfdisent.models import base
from tfdisent.structure import Structure
from trainers import structure_scores

D = Structure.named("d", num_latents=4)


def test_codes_of_the_structure_have_no_gap():
    z = np.random.default_rng(0).standard_normal((100_000, 4))
    scores = structure_scores.correlation_scores(D.sample(z), D)
    assert scores["largest_gap"] < 0.015
    assert scores["divergence"] < 1e-3
    np.testing.assert_allclose(
        scores["edges"]["z1->z3"], [3**-0.5] * 2, atol=0.01
    )
    np.testing.assert_allclose(scores["variances"], 1, atol=0.02)


def test_independent_codes_ignore_the_structure():
    z = np.random.default_rng(0).standard_normal((100_000, 4))
    scores = structure_scores.correlation_scores(z, D)
    assert scores["largest_gap"] == pytest.approx(3**-0.5, abs=0.015)
    # Half of tr S^-1 - d + log det S, d latents of which three are linked.
    exact = 0.5 * (8 - 4 - np.log(3))
    assert scores["divergence_ignored"] == pytest.approx(exact)
    assert scores["divergence"] == pytest.approx(exact, abs=0.03)


def test_the_mean_of_parents_has_its_own_covariance():
    z = np.random.default_rng(0).standard_normal((100_000, 5))
    graph = Structure.named("f", num_latents=5)
    codes = graph.sample(z, "mean")
    scores = structure_scores.correlation_scores(codes, graph, "mean")
    assert scores["largest_gap"] < 0.015
    assert scores["divergence"] < 1e-3
    # z3 = (z1 + z2 + z3) / 3, z5 = (z3 + z4 + z5) / 3: 1/9 of Var 1/3 and 7/27.
    assert scores["edges"]["z3->z5"][1] == pytest.approx(7**-0.5)
    other = structure_scores.correlation_scores(codes, graph)
    assert other["largest_gap"] > 0.15 and other["divergence"] > 0.3


def test_divergence_by_hand():
    # Of N(2, 3) from N(0, 5).
    found = structure_scores.normal_divergence(
        np.array([2.0]), np.array([[3.0]]), np.array([[5.0]])
    )
    assert found == pytest.approx(0.5 * ((3 + 4) / 5 - 1 + np.log(5 / 3)))
    constant = np.zeros((1, 1))
    one = np.ones((1, 1))
    assert structure_scores.normal_divergence([0.0], constant, one) == np.inf


def test_a_constant_code_correlates_with_nothing():
    codes = np.random.default_rng(0).standard_normal((1000, 4))
    codes[:, 1] = 7.0
    found = structure_scores.correlation_scores(codes, D)["correlations"]
    np.testing.assert_allclose(np.array(found)[1], 0)


# ---- unions ------------------------------------------------------------------


def test_a_child_that_is_the_union_and_one_that_is_not():
    profiles = np.array(
        [[0.8, 0, 0, 0], [0, 0.6, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1.0, 0]]
    )
    scores = structure_scores.union_scores(profiles, D)
    assert scores["overlap"] == {"z3": 1.0}
    # Of 12 places, parents in any order: only {z1, z2} -> z3 is as high.
    assert scores["control"]["share_as_high"] == pytest.approx(1 / 12, abs=0.03)
    assert scores["control"]["mean"] < 0.5
    other = D.permuted([1, 4, 2, 3])
    wrong = structure_scores.union_scores(profiles, other)
    # z2 under z1 and z4: nothing in common.
    assert wrong["overlap"] == {"z2": 0.0}
    assert wrong["control"]["share_as_high"] == 1.0


def test_what_is_decomposed_is_the_union_of_its_children():
    """Structure c: z1 moves all that z2, z3 and z4 move."""
    profiles = np.vstack([np.ones(3), np.eye(3)])
    graph = Structure.named("c", num_latents=4)
    scores = structure_scores.union_scores(profiles, graph)
    assert scores["overlap"] == {"z1": 1.0}
    # One in four places has z1 at the top.
    assert scores["control"]["share_as_high"] == pytest.approx(0.25, abs=0.05)


def test_part_of_the_union():
    profiles = np.array([[1.0, 0], [0, 1.0], [0.5, 0], [0, 0]])
    scores = structure_scores.union_scores(profiles, D)
    assert scores["overlap"] == {"z3": 0.25}


def test_latents_that_do_nothing_are_no_control():
    profiles = np.zeros((6, 3))
    profiles[:3] = [[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]]
    graph = Structure.named("d", num_latents=6)
    scores = structure_scores.union_scores(profiles, graph)
    # Three busy latents: the child is z3 in a third of the places.
    assert scores["control"]["share_as_high"] == pytest.approx(1 / 3, abs=0.05)


def test_no_edges_no_children():
    graph = Structure.named("a", num_latents=2)
    assert structure_scores.union_scores(np.eye(2), graph) is None


# ---- a model that is known ---------------------------------------------------


class Pixels(base.PartsModel):
    """Four pixels are four codes; re-encoding follows the structure."""

    parts = {"z": (4,)}
    units = base.single_entries("z", 4)
    graph = D
    conditional = "linear_sem"

    def encode(self, image):
        return {"z": 4 * tf.reshape(image, [-1, 4]) - 2}

    def decode(self, z):
        return tf.reshape(tf.clip_by_value((z + 2) / 4, 0, 1), [-1, 2, 2, 1])

    def reencode(self, z, seed):
        return self.graph.sample(z)


class Judge:
    """Sees which of four levels pixels 1 and 2 have, and their larger."""

    name = "exact"
    sizes = {"first": 4, "second": 4}

    def __call__(self, images):
        flat = np.asarray(images).reshape(-1, 4)
        first = np.maximum(flat[:, 0], flat[:, 2])
        second = np.maximum(flat[:, 1], flat[:, 2])
        levels = [np.floor(3.999 * v).astype(int) for v in (first, second)]
        return None, {
            n: 9 * np.eye(4)[v] for n, v in zip(self.sizes, levels, strict=True)
        }


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        # Ten values: one further is the same, two further are not.
        ({3: 0}, {4: 0}, False),
        ({3: 0}, {5: 0}, True),
        # A square: 1, 4 and 7 look the same, and either is right before.
        ({1: 0, 4: -1, 7: -2}, {7: 0}, False),
        ({1: 0, 4: -1, 7: -2}, {9: 0}, True),
        # What the judge hardly believed was not there.
        ({1: 0, 7: -3}, {7: 0}, True),
    ],
)
def test_an_answer_moves_away_from_all_that_was_possible(before, after, moved):
    logits = np.full((2, 1, 10), -20.0)
    for row, known in zip(logits, (before, after), strict=True):
        row[0, list(known)] = list(known.values())
    assert structure_scores._elsewhere(*logits).tolist() == [moved]


def test_classes_are_no_steps_from_each_other():
    logits = 9.0 * np.eye(10)[[3, 4]][:, None]
    assert structure_scores._elsewhere(*logits, ordered=False).tolist() == [
        True
    ]
    assert structure_scores._elsewhere(*logits).tolist() == [False]
    same = logits[:1].repeat(2, axis=0)
    assert structure_scores._elsewhere(*same, ordered=False).tolist() == [False]


def test_one_latent_has_no_gap():
    codes = np.random.default_rng(0).standard_normal((1_000, 1))
    graph = Structure.named("a", num_latents=1)
    scores = structure_scores.correlation_scores(codes, graph)
    assert scores["largest_gap"] == 0
    assert scores["divergence"] < 0.01


@pytest.fixture
def dataset():
    factors = np.random.default_rng(0).integers(0, 2, (400, 5))
    images = 0.3 * factors[:, :4].reshape(-1, 2, 2, 1).astype(np.float32)
    # A factor of one value holds nothing that a code could tell.
    factors[:, 4] = 0
    return Dataset(
        name="pixels",
        splits={"train": ArraySplit(images, factors=factors)},
        factor_names=("a", "b", "c", "d", "constant"),
        factor_sizes=(2, 2, 2, 2, 1),
    )


def test_scores_of_a_known_model(dataset):
    model = Pixels((2, 2, 1))
    scores = structure_scores.of_model(model, dataset, Judge())["structure"]
    assert scores["edges"] == "1->3,2->3"
    assert scores["reencoded"]["largest_gap"] < 0.03
    recovered = scores["reencoded"]["recovered"]
    assert recovered["z1"] == pytest.approx(1)
    assert recovered["z3"] == pytest.approx(3**-0.5, abs=0.02)
    # What decoded samples follow, images need not.
    assert scores["images"]["samples"] == 400
    assert scores["images"]["largest_gap"] > 0.4
    assert scores["images"]["edges"]["z1->z3"] == pytest.approx(
        [0, 3**-0.5], abs=0.15
    )
    shares = scores["information"]["shares"]
    for latent, factor in zip(("z1", "z2", "z3", "z4"), "abcd", strict=True):
        assert shares[latent][factor] == pytest.approx(1)
    assert "constant" not in shares["z1"]
    moved = scores["traversals"]["moved"]
    assert moved["z4"] == {"first": 0, "second": 0}
    assert moved["z1"]["first"] > 0.4 and moved["z1"]["second"] == 0
    assert moved["z3"]["first"] > 0.4 and moved["z3"]["second"] > 0.4
    wholes = scores["traversals"]["wholes"]
    assert wholes["overlap"]["z3"] > 0.7
    assert wholes["control"]["mean"] < wholes["mean"]
    text = "\n".join(structure_scores.table({"structure": scores}))
    assert "z1->z3: correlation 0.5" in text
    assert "of codes of images" in text


def test_codes_of_images_are_draws_of_their_posterior():
    model = testing.tiny_model("cascade_vae")
    images = testing.random_images(model.image_shape, 300)
    split = ArraySplit(np.asarray(images))
    means, codes, factors = structure_scores.codes_of_images(model, split)
    q = model.posterior(images)["z"]
    np.testing.assert_allclose(means, q.mean(), atol=1e-5)
    unit = (codes - means) / q.stddev()
    assert abs(np.mean(unit)) < 0.1 and np.std(unit) == pytest.approx(
        1, abs=0.1
    )
    assert factors is None


def test_models_without_a_structure_have_no_such_scores(dataset):
    model = testing.tiny_model("beta_vae")
    assert structure_scores.of_model(model, dataset) == {}
    assert structure_scores.table({"held_out": {}}) == []


@pytest.mark.parametrize("name", ["cascade_vae", "cascade_infogan"])
def test_our_models_are_scored(name):
    model = testing.tiny_model(name)
    scores = structure_scores.reencoded_scores(model, samples=600)
    assert np.shape(scores["correlations"]) == (4, 4)
    assert np.isfinite(scores["largest_gap"])
    again = structure_scores.reencoded_scores(model, samples=600)
    assert scores == again
