import numpy as np
import pytest
import tensorflow as tf

from tfdisent import testing
from tfdisent.models import stages


@pytest.mark.parametrize(
    ("step", "stage"),
    [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (31, 2), (32, 2), (500, 2)],
)
def test_equal_stages_and_a_remainder(step, stage):
    schedule = stages.Stages(3, 32)
    assert int(schedule.at(tf.constant(step, tf.int64))) == stage
    assert schedule.ends == [10, 20, 32]


def test_without_a_schedule_all_stages_are_over():
    assert int(stages.Stages(3, 0).at(tf.constant(0, tf.int64))) == 2


@pytest.mark.parametrize("name", ["pro_vlae", "jacobian_vae"])
def test_without_a_schedule_nothing_is_trained(name):
    """All levels at once would be another model, and no word of it."""
    model = testing.tiny_model(name, schedule_steps=0)
    assert model.stage_ends == []
    model.compile()
    batch = testing.random_batch(model)
    before = [v.numpy() for v in model.variables]
    step = tf.function(model.train_step, jit_compile=False)
    for train in (model.train_step, step):
        with pytest.raises(ValueError, match=r"in \d stages; schedule_steps"):
            train(batch)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(model.test_step(batch)["loss"])
