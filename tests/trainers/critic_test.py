import numpy as np

from trainers import critic


def test_the_bound_tells_dependent_from_independent_pairs():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(2000, 2)).astype(np.float32)
    # Correlation .9 in each of two entries: I = -log(1 - .81) = 1.66 nats.
    second = 0.9 * first + np.sqrt(1 - 0.81) * rng.normal(size=(2000, 2))
    bounds = critic.held_out_bound(first, second.astype(np.float32), steps=400)
    assert 1.2 < bounds["joint"] < 1.66 + 0.15
    assert bounds["shuffled"] < 0.05
    assert bounds["pairs"] == 1000


def test_a_dead_entry_does_no_harm():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 2)).astype(np.float32)
    first[:, 1] = 3.0
    bounds = critic.held_out_bound(first, first.copy(), steps=20)
    assert np.isfinite(bounds["joint"])
