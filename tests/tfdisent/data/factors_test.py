import dataclasses

import numpy as np
import pytest
from scipy import stats

from tfdisent import data
from tfdisent.data import factors
from tfdisent.data import pipeline
from tfdisent.data import shapes
from tfdisent.data import sprites

RENDERERS = {"shapes": shapes, "sprites": sprites}
RNG = np.random.default_rng(0)


@pytest.fixture
def toy():
    """A grid whose pixels are its index."""
    grid = data.GridSplit(
        lambda indices: indices.astype(np.uint8)[:, None, None, None],
        (2, 3, 4),
        (1, 1, 1),
    )
    return data.Dataset(
        "toy",
        factors.grid_splits(grid),
        factor_names=("a", "b", "c"),
        factor_sizes=(2, 3, 4),
        grid=grid,
    )


@pytest.mark.parametrize("name", RENDERERS)
def test_rendered_sets_declare_their_grid(name):
    dataset, renderer = data.load(name), RENDERERS[name]
    assert dataset.factor_names == renderer.FACTOR_NAMES
    assert dataset.factor_sizes == renderer.FACTOR_SIZES
    assert dataset.image_shape == renderer.IMAGE_SHAPE
    assert len(dataset.splits["train"]) == np.prod(renderer.FACTOR_SIZES)
    indices = np.array([0, 7, 100_000, 7])
    images = dataset.render(indices)
    np.testing.assert_array_equal(images, renderer.render(indices))
    batch = dataset.splits["train"].take(indices)
    np.testing.assert_array_equal(batch["image"], images)
    np.testing.assert_array_equal(
        factors.indices_of(dataset, batch["factors"]), indices
    )


@pytest.mark.parametrize("name", RENDERERS)
def test_test_split_is_a_seeded_random_part(name):
    test = data.load(name).splits["test"]
    assert len(test) == len(set(test.indices)) == 10_000
    again = data.load(name).splits["test"]
    np.testing.assert_array_equal(again.indices, test.indices)
    batch = test.take(np.array([9_999, 0]))
    np.testing.assert_array_equal(
        batch["image"], data.load(name).render(test.indices[[9_999, 0]])
    )


@pytest.mark.parametrize("name", RENDERERS)
def test_pipeline_from_the_grid(name):
    dataset = data.load(name)
    split = dataset.splits["train"].subset(np.arange(200))
    batch = next(iter(pipeline.batches(split, 8, dataset.image_shape)))
    indices = factors.indices_of(dataset, batch["factors"].numpy())
    np.testing.assert_array_equal(
        batch["image"], dataset.render(indices).astype(np.float32) / 255
    )


def test_factors_and_indices_are_inverse(toy):
    indices = np.arange(24).reshape(4, 6)
    values = factors.factors_of(toy, indices)
    assert values.shape == (4, 6, 3)
    np.testing.assert_array_equal(factors.indices_of(toy, values), indices)
    with pytest.raises(ValueError):
        factors.factors_of(toy, 24)
    with pytest.raises(ValueError):
        factors.indices_of(toy, [0, 3, 0])


def test_samples_are_uniform(toy):
    drawn = factors.sample_factors(toy, 24_000, np.random.default_rng(0))
    counts = np.bincount(factors.indices_of(toy, drawn), minlength=24)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_fixed_factor_is_fixed_and_the_others_vary(toy):
    rng = np.random.default_rng(0)
    values = set()
    for _ in range(50):
        images, drawn = factors.fixed_factor_batch(toy, "b", 100, rng)
        np.testing.assert_array_equal(
            images.ravel(), factors.indices_of(toy, drawn)
        )
        assert [len(set(column)) for column in drawn.T] == [2, 1, 4]
        values.add(int(drawn[0, 1]))
    assert values == {0, 1, 2}


@pytest.mark.parametrize("factor", ["c", 2, -1])
def test_traversal_moves_one_factor(toy, factor):
    images = factors.traversal(toy, 17, factor)
    assert images.ravel().tolist() == [16, 17, 18, 19]


@pytest.mark.parametrize("factor", ["d", 3, -4])
def test_unknown_factor(toy, factor):
    message = rf"one of a, b, c, .* Received {factor!r}"
    with pytest.raises(ValueError, match=message):
        factors.traversal(toy, 0, factor)
    with pytest.raises(ValueError, match=message):
        factors.fixed_factor_batch(toy, factor, 2, RNG)


@pytest.fixture
def part(toy):
    """Half of the toy's grid, as smallnorb and arrays of users are."""
    batch = toy.grid.take(np.arange(0, 24, 2))
    split = data.ArraySplit(batch["image"], factors=batch["factors"])
    splits = {"train": split.subset(np.arange(12))}
    return dataclasses.replace(toy, grid=None, splits=splits)


def test_of_an_incomplete_grid_only_what_there_is_is_drawn(part):
    rng = np.random.default_rng(0)
    drawn = factors.sample_factors(part, 500, rng)
    indices = np.ravel_multi_index(tuple(drawn.T), part.factor_sizes)
    assert set(indices.tolist()) == set(range(0, 24, 2))
    values = set()
    for _ in range(50):
        images, drawn = factors.fixed_factor_batch(part, "b", 60, rng)
        indices = np.ravel_multi_index(tuple(drawn.T), part.factor_sizes)
        np.testing.assert_array_equal(images.ravel(), indices)
        assert [len(set(column)) for column in drawn.T] == [2, 1, 2]
        values.add(int(drawn[0, 1]))
    assert values == {0, 1, 2}
    # Of row 8, grid point 16, the odd neighbours are missing.
    assert factors.traversal(part, 8, "c").ravel().tolist() == [16, 18]
    with pytest.raises(ValueError, match=r"index .* \[0, 12\). Received 12"):
        factors.traversal(part, 12, "c")


def test_without_a_complete_grid_there_are_no_points(toy, part):
    for call in (
        lambda d: factors.indices_of(d, [0, 0, 0]),
        lambda d: factors.factors_of(d, 0),
    ):
        with pytest.raises(ValueError, match="complete grid.*Received"):
            call(part)
    unknown = data.Dataset("unknown", toy.splits)
    for call in (
        lambda d: factors.sample_factors(d, 2, RNG),
        lambda d: factors.fixed_factor_batch(d, 0, 2, RNG),
        lambda d: factors.traversal(d, 0, 0),
    ):
        with pytest.raises(ValueError, match="known factors.*'unknown'"):
            call(unknown)


def test_positions_on_grid():
    points = RNG.permutation(24)
    values = np.stack(np.unravel_index(points, (2, 3, 4)), axis=-1)
    positions = factors.positions_on_grid(values, (2, 3, 4))
    np.testing.assert_array_equal(points[positions], np.arange(24))
    assert factors.positions_on_grid(values[:23], (2, 3, 4)) is None
    values[0] = values[1]
    assert factors.positions_on_grid(values, (2, 3, 4)) is None
