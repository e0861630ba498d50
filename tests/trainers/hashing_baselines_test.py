import types

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import networks
from tfdisent.data import ArraySplit
from tfdisent.models import hashing
from trainers import hashing_baselines

PATHS = np.array([[0, 0], [0, 1], [0, 2], [1, 3], [1, 4]])


def test_baselines_are_trained_once_a_level(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "HDN_BLOCKS", 1)  # Quicker to trace.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 40)
    split = ArraySplit(rng.random((40, 16, 16, 1), np.float32), labels)
    model = types.SimpleNamespace(
        image_shape=(16, 16, 1), style_dim=3, filters=2, mirror=True
    )
    config = types.SimpleNamespace(baseline_steps=2)
    halves = split.subset(np.arange(30)), split.subset(np.arange(30, 40))
    arguments = (model, config, split, halves, PATHS, tmp_path)
    learned, trained = [], hashing_baselines.trained

    def noted(method, model, split, nodes, *rest):
        learned.append((method, nodes.tolist()))
        return trained(method, model, split, nodes, *rest)

    monkeypatch.setattr(hashing_baselines, "trained", noted)
    rows = hashing_baselines.rows(*arguments)
    assert sorted(learned) == [
        (method, PATHS[:, level].tolist())
        for method in ("DSH", "HashNet", "SSDH")
        for level in range(2)
    ]
    assert list(rows) == ["DSH", "HashNet", "SSDH"]
    for levels in rows.values():
        for level, (stored, asked) in enumerate(levels):
            assert stored.shape == (30, 3 * (level + 1))
            assert asked.shape == (10, 3 * (level + 1))
            assert np.isfinite(stored).all()
    again = hashing_baselines.rows(*arguments)
    np.testing.assert_array_equal(again["DSH"][1][0], rows["DSH"][1][0])
    assert len(list((tmp_path / "cache").iterdir())) == 6
    # Other data of the same size are not taken for these.
    blind = types.SimpleNamespace(encode=lambda image: 0 * image[:, 0, :3, 0])
    monkeypatch.setattr(hashing_baselines, "trained", lambda *_: blind)
    other = hashing_baselines.rows(*arguments, "-other")
    assert not other["DSH"][1][0].any()
    again = hashing_baselines.rows(*arguments)
    np.testing.assert_array_equal(again["DSH"][1][0], rows["DSH"][1][0])
    config.baseline_steps = 0
    assert hashing_baselines.rows(*arguments) == {}


def test_images_are_mirrored_where_the_models_are(monkeypatch):
    class SeenError(Exception):
        pass

    def seen(batch):
        raise SeenError(batch["image"].numpy(), batch["label"].numpy())

    image = np.random.default_rng(0).random((64, 16, 16, 1), np.float32)
    leaves, nodes = np.arange(64) % 5, np.array([0, 0, 0, 1, 1])
    batch = {"image": tf.constant(image), "label": tf.constant(leaves)}
    network = hashing.DSH((16, 16, 1), bits=2, filters=2)
    monkeypatch.setattr(network, "train_step", seen)
    for mirror, turned in ((True, 32), (False, 0)):
        with pytest.raises(SeenError) as caught:
            hashing_baselines._step(network, nodes, mirror, batch)
        found, labels = caught.value.args
        # A network of a level learns its categories, not the leaves.
        np.testing.assert_array_equal(labels, nodes[leaves])
        again = np.all(found == image[:, :, ::-1], axis=(1, 2, 3))
        same = np.all(found == image, axis=(1, 2, 3))
        assert np.all(again ^ same)
        # 4 standard deviations.
        assert abs(again.sum() - turned) <= 4 * np.sqrt(turned / 2)
