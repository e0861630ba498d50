import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfdisent.data.episodes import EpisodeSampler
from tfdisent.data.episodes import sample_distinct
from tfdisent.errors import InputError

RNG = np.random.default_rng(0)
# 30 classes of 6 to 15 items, in no order, numbered with gaps.
COUNTS = RNG.integers(6, 16, 30)
LABELS = RNG.permutation(np.repeat(3 * np.arange(30), COUNTS))


def test_sample_distinct_is_uniform_over_ordered_choices():
    drawn = sample_distinct(np.random.default_rng(1), np.full(24_000, 5), 3)
    codes = drawn @ [25, 5, 1]
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 5 * 4 * 3  # None repeats.
    assert stats.chisquare(counts).pvalue > 1e-3


def test_sample_distinct_takes_unequal_sizes():
    sizes = np.array([[3, 4], [9, 100]])
    drawn = sample_distinct(np.random.default_rng(1), sizes, 3)
    assert drawn.shape == (2, 2, 3)
    assert (drawn < sizes[..., None]).all() and (drawn >= 0).all()
    assert sorted(drawn[0, 0]) == [0, 1, 2]


def test_sample_distinct_takes_all_where_there_are_fewer():
    drawn = sample_distinct(np.random.default_rng(1), np.tile([2, 5], 600), 4)
    few, many = drawn[::2], drawn[1::2]
    assert (few[:, 2:] == -1).all()
    assert (np.sort(few[:, :2]) == [0, 1]).all()
    assert 200 < few[:, 0].sum() < 400  # In random order.
    assert (many >= 0).all() and (many < 5).all()


def test_episode_is_a_function_of_seed_and_number():
    first, again = (
        EpisodeSampler(LABELS, seed=3),
        EpisodeSampler(LABELS, seed=3),
    )
    first.sample(0, 8)  # What came before does not matter.
    for name, array in first.sample(5, 8).items():
        np.testing.assert_array_equal(array, again.sample(5, 8)[name])
    assert (
        first.sample(5, 8)["support"] != first.sample(6, 8)["support"]
    ).any()
    other = EpisodeSampler(LABELS, seed=4).sample(5, 8)["support"]
    assert (first.sample(5, 8)["support"] != other).any()


@pytest.mark.parametrize(
    "ways, shots, queries", [(5, 1, 1), (20, 5, 1), (3, 2, 4)]
)
def test_episodes_are_what_they_say(ways, shots, queries):
    sampler = EpisodeSampler(LABELS, ways, shots, queries)
    drawn = sampler.sample(0, 300)
    support, query, target = (drawn[k] for k in ("support", "query", "target"))
    assert support.shape == (300, ways, shots)
    assert query.shape == target.shape == (300, queries)
    classes = LABELS[support]
    assert (classes == classes[..., :1]).all()  # One class a row,
    assert (np.diff(np.sort(classes[..., 0])) > 0).all()  # each its own.
    rows = np.arange(300)[:, None]
    np.testing.assert_array_equal(LABELS[query], classes[rows, target, 0])
    for items in np.concatenate([support.reshape(300, -1), query], axis=1):
        assert len(set(items)) == len(items)  # Disjoint; nothing twice.


def test_a_class_that_is_short_repeats_queries_but_no_support():
    drawn = EpisodeSampler(np.repeat([0, 1], 3), 2, 2, 10).sample(0, 50)
    for support, query in zip(drawn["support"], drawn["query"], strict=True):
        assert not set(support.ravel()) & set(query)


def test_one_small_class_does_not_limit_the_others_queries():
    labels = np.repeat([0, 1], [2, 30])
    drawn = EpisodeSampler(labels, 2, 1, 12).sample(0, 200)
    for support, query in zip(drawn["support"], drawn["query"], strict=True):
        assert not set(support.ravel()) & set(query)
        large = query[labels[query] == 1]
        assert len(set(large)) == len(large)
        assert len(set(query) - set(large)) <= 1


def test_classes_items_and_targets_are_uniform():
    labels = np.repeat(np.arange(8), 6)
    drawn = EpisodeSampler(labels, 5, 1, 1, seed=2).sample(0, 20_000)
    items = np.concatenate([drawn["support"][:, 0], drawn["query"]])
    assert stats.chisquare(np.bincount(items.ravel())).pvalue > 1e-3
    assert stats.chisquare(np.bincount(drawn["target"].ravel())).pvalue > 1e-3


def test_too_few_classes_or_items_are_named():
    with pytest.raises(InputError, match="at least 31 classes; there are 30"):
        EpisodeSampler(LABELS, ways=31)
    labels = [0, 0, 0, 1, 2, 2, 2]
    with pytest.raises(InputError, match="2 images a class; class 1 has 1"):
        EpisodeSampler(labels, 2)
    with pytest.raises(InputError, match="class 'cat' has 1"):
        EpisodeSampler(labels, 2, class_names=["ant", "cat", "dog"])
    with pytest.raises(InputError, match="shots must be at least 1"):
        EpisodeSampler(labels, 2, shots=0)


def test_batches_follow_sample():
    sampler = EpisodeSampler(LABELS, 5, 2, 3, seed=1)
    codes = np.random.default_rng(0).random((len(LABELS), 4), np.float32)
    batches = sampler.batches(codes.__getitem__, 6, start=4)
    assert batches.element_spec["support"].shape == (6, 5, 2, 4)
    for step, batch in enumerate(batches.take(3), start=4):
        drawn = sampler.sample(step, 6)
        np.testing.assert_array_equal(batch["support"], codes[drawn["support"]])
        np.testing.assert_array_equal(batch["query"], codes[drawn["query"]])
        np.testing.assert_array_equal(batch["target"], drawn["target"])


def test_images_are_scaled():
    images = np.full((len(LABELS), 2, 2, 1), 255, np.uint8)
    batch = next(iter(EpisodeSampler(LABELS).batches(images.__getitem__, 2)))
    assert batch["query"].dtype == tf.float32
    assert batch["query"].numpy().max() == 1


def test_shares_of_replicas_make_up_the_batch():
    sampler = EpisodeSampler(LABELS)
    take = np.arange(len(LABELS)).__getitem__
    whole = [b["support"].numpy() for b in sampler.batches(take, 4).take(3)]
    context = tf.distribute.InputContext(1, 0, 2)
    shares = sampler.batches(take, 4, context=context).take(6)
    shares = np.reshape([b["support"].numpy() for b in shares], np.shape(whole))
    np.testing.assert_array_equal(shares, whole)
    with pytest.raises(InputError, match="cannot be shared by 2"):
        sampler.batches(take, 3, context=context)
