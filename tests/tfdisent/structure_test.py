import numpy as np
import pytest
import tensorflow as tf

from tfdisent.structure import CONDITIONALS
from tfdisent.structure import NAMED
from tfdisent.structure import Structure

Z = np.random.default_rng(0).standard_normal((50_000, 5)).astype(np.float32)


def correlations(name, size=5):
    covariance = Structure.named(name, num_latents=size).covariance()
    np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-12)
    return covariance


# Correlations of latents counted from 1, of the linear model with inputs of
# variance 1 and every latent brought back to variance 1.
ORACLES = {
    "a": {(1, 2): 0, (2, 3): 0},
    "b": {(1, 2): 2**-0.5, (1, 3): 2**-0.5, (2, 3): 1 / 2},
    "c": {(1, 2): 2**-0.5, (1, 4): 2**-0.5, (2, 4): 1 / 2, (3, 4): 1 / 2},
    "d": {(1, 3): 3**-0.5, (2, 3): 3**-0.5, (1, 2): 0},
    "e": {(1, 4): 1 / 2, (2, 4): 1 / 2, (3, 4): 1 / 2, (1, 2): 0},
    "f": {
        (1, 3): 3**-0.5,
        (3, 5): 3**-0.5,
        (4, 5): 3**-0.5,
        (1, 5): 1 / 3,
        (3, 4): 0,
    },
}


@pytest.mark.parametrize("name", NAMED)
def test_covariance_of_the_papers_structures(name):
    covariance = correlations(name)
    for (i, j), expected in ORACLES[name].items():
        assert covariance[i - 1, j - 1] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(covariance, covariance.T)


@pytest.mark.parametrize("conditional", CONDITIONALS)
@pytest.mark.parametrize("name", NAMED)
def test_samples_have_the_covariance(name, conditional):
    structure = Structure.named(name, num_latents=5)
    # Parents that are re-encoded exactly are the ancestral ones.
    reencoded = structure.sample(Z)
    samples = structure.sample(Z, conditional, reencoded)
    np.testing.assert_allclose(
        np.cov(samples.T), structure.covariance(conditional), atol=0.025
    )
    np.testing.assert_allclose(samples.mean(axis=0), 0, atol=0.02)


def test_mean_of_the_parents_by_hand():
    z = np.array([[1.0, 2.0, 6.0]], np.float32)
    structure = Structure.named("d", num_latents=3)
    np.testing.assert_allclose(structure.sample(z, "mean"), [[1, 2, 3]])
    np.testing.assert_allclose(
        structure.sample(z), [[1, 2, 9 / 3**0.5]], rtol=1e-6
    )
    # Var = (1 + 1 + 1) / 9.
    assert structure.covariance("mean")[2, 2] == pytest.approx(1 / 3)


def test_mixed_takes_the_parents_from_the_encoder_and_nothing_else():
    z = np.array([[1.0, 2.0, 6.0]], np.float32)
    reencoded = np.array([[10.0, 20.0, 99.0]], np.float32)
    structure = Structure.named("d", num_latents=3)
    np.testing.assert_allclose(
        structure.sample(z, "mixed", reencoded),
        [[1, 2, 36 / 3**0.5]],
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="needs reencoded"):
        structure.sample(z, "mixed")


@pytest.mark.parametrize("found", [1.0, 0.35, 0.0])
def test_mixed_teaches_as_much_as_codes_are_found_again(found):
    z = np.random.default_rng(0).standard_normal((100_000, 3))
    noise = np.random.default_rng(1).standard_normal(z.shape)
    reencoded = found * z + np.sqrt(1 - found**2) * noise
    graph = Structure.named("d", num_latents=3)
    codes = graph.sample(z, "mixed", reencoded)
    correlations = np.corrcoef(codes.T)
    np.testing.assert_allclose(
        correlations[:2, 2], found / np.sqrt(3), atol=0.01
    )


@pytest.mark.parametrize("conditional", CONDITIONALS)
def test_tensors_are_sampled_as_arrays_are(conditional):
    structure = Structure.named("f", num_latents=5)
    few, other = Z[:7], Z[7:14]
    np.testing.assert_allclose(
        structure.sample(tf.constant(few), conditional, tf.constant(other)),
        structure.sample(few, conditional, other),
        rtol=1e-5,
        atol=1e-6,
    )


def test_an_unknown_conditional():
    with pytest.raises(ValueError, match="Received: sum"):
        Structure.named("d", 3).covariance("sum")


# ---- texts -------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["1->3,2->3", " 1 -> 3 , 2->3 ", "3=1+2", "z3=z1+z2", "z1->3,2->3"]
)
def test_texts_of_one_structure(text):
    structure = Structure.parse(text, num_latents=10)
    assert structure == Structure.named("d", num_latents=10)
    assert structure == Structure.read(text, num_latents=10)
    assert str(structure) == "1->3,2->3"
    assert structure.parents(3) == [1, 2]
    assert structure.children() == [3]


def test_names_take_numbers_in_the_order_they_appear():
    # Figure 1 of the paper.
    structure = Structure.parse("gender=hair+skin tone,hair=colour+length", 6)
    assert structure.names == (
        "gender",
        "hair",
        "skin tone",
        "colour",
        "length",
        "z6",
    )
    assert str(structure) == "2->1,3->1,4->2,5->2"
    assert structure.order().index(2) < structure.order().index(1)
    assert structure.depths() == {1: 2, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0}


def test_names_leave_the_numbers_that_are_used():
    structure = Structure.parse("1->hair,3->hair", 4)
    assert structure.names == ("z1", "hair", "z3", "z4")
    assert structure.edges == ((1, 2), (3, 2))


def test_read_knows_names_and_edges():
    assert Structure.read("a", 2).edges == ()
    assert Structure.read("f", 5) == Structure.named("f", 5)
    assert Structure.parse("", 3).edges == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1->4", "1->4 leaves the latents 1 .. 3"),
        ("0->1", "0->1 leaves the latents"),
        ("1->2,1->2", "1->2 is there twice"),
        ("2=1+1", "1->2 is there twice"),
        ("1->1", "1->1 is a cycle"),
        ("1->2,2->3,3->1", "is a cycle; no latent can be made of itself"),
        ("1->2->3", "'1->2->3' is no edge"),
        ("1->", "'1->' is no edge"),
        ("3=1+", "no edge"),
        ("1->-2", "no edge"),
        ("one two=a+b,c=d+e", "no latent is left for 'c'"),
        ("g", "one of a, b, c, d, e, f, or edges such as"),
        ("", "expected one of"),
        ("f", "leaves the latents 1 .. 3"),
    ],
)
def test_what_is_no_structure_is_said_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        Structure.read(text, num_latents=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wholes"),
    [
        ("a", {}),
        ("b", {1: [2, 3]}),
        ("c", {1: [2, 3, 4]}),
        ("d", {3: [1, 2]}),
        ("e", {4: [1, 2, 3]}),
        ("f", {3: [1, 2], 5: [3, 4]}),
        ("1->2", {2: [1]}),
        ("1->3,2->3,3->4", {3: [1, 2], 4: [3]}),
        ("1->2,2->3,2->4", {2: [3, 4]}),
        # 3 and 4 are made of 1 and 2; 1 is not decomposed into them.
        ("3=1+2,4=1+2", {3: [1, 2], 4: [1, 2]}),
    ],
)
def test_composites_and_what_they_consist_of(text, wholes):
    assert Structure.read(text, num_latents=5).wholes() == wholes


def test_permuted_nodes_have_the_permuted_covariance():
    structure = Structure.named("f", num_latents=5)
    numbers = np.array([3, 5, 1, 4, 2])
    other = structure.permuted(numbers)
    assert str(other) == "3->1,5->1,1->2,4->2"
    covariance = other.covariance()
    np.testing.assert_allclose(
        covariance[np.ix_(numbers - 1, numbers - 1)], structure.covariance()
    )
