import numpy as np
import pytest
import tensorflow as tf

from tfdisent import testing


def test_found_codes_are_those_of_new_noise():
    model = testing.tiny_model("cascade_infogan", norm=None)
    for number, variable in enumerate(model.trainable_variables):
        variable.assign(
            tf.random.stateless_normal(variable.shape, [1, number], stddev=0.3)
        )
    z, seed = tf.ones([5, 4]), tf.constant([1, 2])
    found = model.reencode(z, seed).numpy()
    drawn = tf.random.stateless_normal([5, model.noise_dim], seed)
    features = model.trunk(2 * model.generate(drawn, z) - 1)
    np.testing.assert_allclose(found, model.finder(features), rtol=1e-4)
    # The same code, other noise.
    assert np.abs(found - found[0]).max() > 1e-4


def test_the_structure_is_declared():
    model = testing.tiny_model("cascade_infogan", structure="both=size+angle")
    assert model.graph.names == ("both", "size", "angle", "z4")
    assert model.parts == {"z": (4,)}
    with pytest.raises(ValueError, match="leaves the latents"):
        testing.tiny_model("cascade_infogan", structure="f")
