import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent import testing


@pytest.fixture
def model():
    return testing.tiny_model("cvae", beta=3.0, capacity=200.0, ramp_steps=4)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (2, 0.5), (9, 1.0)])
def test_objective_by_hand(model, step, share):
    batch = testing.random_batch(model)
    # Without spread the sample is the mean.
    head = model.encoder.head.blocks[-1]
    head.kernel.assign(0 * head.kernel)
    head.bias.assign([0.5] * 3 + [-30.0] * 3)
    model.step.assign(step)
    scalars = model.objective(batch, model.noise_seed(0))
    kl = 3 * 0.5 * (0.25 + np.exp(-30.0) + 30.0 - 1.0)
    np.testing.assert_allclose(scalars["kl"], kl, rtol=1e-4)
    parts = model.encode(**batch)
    np.testing.assert_allclose(parts["z"], np.full((4, 3), 0.5), atol=1e-6)
    reconstruction = np.mean(
        losses.cross_entropy_per_image(batch["image"], model.logits(**parts))
    )
    np.testing.assert_allclose(
        scalars["loss"],
        reconstruction + 3 * abs(kl - 200 * share),
        rtol=1e-4,
    )


def test_the_label_reaches_code_and_image(model):
    image = testing.random_images((28, 28, 1), 2)
    first = model.encode(image, tf.constant([0, 0]))
    second = model.encode(image, tf.constant([3, 3]))
    assert np.all(np.abs(first["z"] - second["z"]) > 0)
    images = [
        model.decode(z=first["z"], label=x["label"]) for x in (first, second)
    ]
    assert np.mean(np.abs(images[0] - images[1])) > 1e-4
    assert list(model.units) == ["z[0]", "z[1]", "z[2]", "label"]


def test_every_weight_is_trained(model):
    model.compile()
    before = [v.numpy() for v in model.trainable_variables]
    model.update(testing.random_batch(model))
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.path
