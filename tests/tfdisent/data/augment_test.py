import numpy as np

from tfdisent.data import augment


def blob(row, column):
    image = np.zeros((1, 32, 32, 1), np.float32)
    image[0, row - 1 : row + 2, column - 1 : column + 2] = 1
    return image


def test_jitter_follows_its_seed_and_row():
    images = np.repeat(blob(10, 20), 4, axis=0)
    first = augment.jitter(images, [1, 2]).numpy()
    np.testing.assert_array_equal(first, augment.jitter(images, [1, 2]))
    assert np.abs(first - augment.jitter(images, [1, 3]).numpy()).max() > 0.1
    assert np.abs(first[0] - first[1]).max() > 0.1
    assert first.min() >= 0
    assert first.max() <= 1


def test_jitter_is_identity_without_change(monkeypatch):
    for name in ("ROTATION", "SCALE", "SHIFT"):
        monkeypatch.setattr(augment, name, 0.0)
    images = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
    np.testing.assert_allclose(
        augment.jitter(images, [0, 0]), images, atol=1e-5
    )


def test_the_centre_moves_by_the_shift_at_most(monkeypatch):
    monkeypatch.setattr(augment, "ROTATION", 0.0)
    monkeypatch.setattr(augment, "SCALE", 0.0)
    images = np.repeat(blob(16, 16), 200, axis=0)
    moved = augment.jitter(images, [5, 5]).numpy()[..., 0]
    total = moved.sum(axis=(1, 2))
    rows = (moved * np.arange(32)[:, None]).sum(axis=(1, 2)) / total
    shifts = rows - 16
    assert np.abs(shifts).max() <= 2.01
    assert np.abs(shifts).max() > 1.5
    assert abs(shifts.mean()) < 0.3
