"""One pass for every encoder, and what counts as one."""

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import InputError
from tfdisent import testing
from tfdisent.data.base import ArraySplit
from tfdisent.data.base import GridSplit
from trainers import config as configuration
from trainers import encoders
from trainers import rundir
from trainers import scores

SHAPE = (32, 32, 1)


class Shapeless(tf.Module):
    """A SavedModel for one image; what it gives may have any shape."""

    @tf.function(input_signature=[tf.TensorSpec([1, 32, 32, 1])])
    def one(self, image):
        return {"z": image[:, 0, :, 0]}

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 1])])
    def unknown(self, image):
        shape = tf.shape(image)
        # How many sides are positive is not known before there are images.
        return {"z": tf.reshape(image, tf.boolean_mask(shape, shape > 0))}


class Halves(tf.Module):
    """A SavedModel of somebody else: means of the upper and lower half."""

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 1])])
    def encode(self, pixels):
        upper = tf.reduce_mean(pixels[:, :16], axis=[1, 2])
        lower = tf.reduce_mean(pixels[:, 16:], axis=[1, 2])
        return {"upper": upper, "lower": lower, "map": pixels}

    @tf.function(input_signature=[tf.TensorSpec([None, 7])])
    def other(self, z):
        return {"z": z}


@pytest.fixture
def images():
    return testing.random_images(SHAPE, 30)


def test_a_models_codes_are_its_encodings_and_posteriors(images):
    model = testing.tiny_model("beta_vae")
    encoder = encoders.of_model(model)
    means, stddevs = encoder.read({"image": tf.constant(images)})
    posterior = model.posterior(images)["z"]
    np.testing.assert_allclose(means, posterior.mean(), atol=1e-6)
    np.testing.assert_allclose(stddevs, posterior.stddev(), rtol=1e-5)
    assert encoder.names == ("z[0]", "z[1]", "z[2]", "z[3]")
    assert encoder.no_posterior == ""


def test_without_a_posterior_there_is_a_reason(images):
    encoder = encoders.of_model(testing.tiny_model("autoencoder"))
    assert encoder.read({"image": tf.constant(images)})[1] is None
    assert encoder.no_posterior == "the model has no posterior"


def test_what_is_given_with_the_image_is_no_code(images):
    model = testing.tiny_model("class_vae")
    assert "label" in model.parts
    encoder = encoders.of_model(model)
    assert list(encoder.parts) == ["generic", "specific"]
    assert encoder.no_posterior == ""
    batch = {
        "image": tf.zeros([2, *model.image_shape]),
        "label": tf.constant([0, 1]),
    }
    means, stddevs = encoder.read(batch)
    q = model.posterior(*batch.values())
    for found, moment in ((means, "mean"), (stddevs, "stddev")):
        expected = [getattr(q[p], moment)() for p in encoder.parts]
        np.testing.assert_allclose(found, tf.concat(expected, 1), rtol=1e-5)


def test_one_pass_reads_every_image_once_for_all(images):
    read = []

    def render(indices):
        read.extend(indices.tolist())
        return images[indices]

    split = GridSplit(render, (5, 6), SHAPE)
    model = testing.tiny_model("beta_vae")
    rows = {
        "model": encoders.of_model(model),
        "other": encoders.of_model(testing.tiny_model("autoencoder")),
        "PCA": encoders.principal_components(ArraySplit(images), SHAPE, 3),
    }
    reported = []
    tables, factors = encoders.encode(
        rows, split, lambda *done: reported.append(done)
    )
    # The pipeline looks at one image to learn their type.
    assert sorted(read) == sorted([0, *range(30)])
    np.testing.assert_array_equal(
        factors, np.stack(np.unravel_index(np.arange(30), (5, 6)), axis=-1)
    )
    np.testing.assert_allclose(
        tables["model"][0], model.encode(images)["z"], atol=1e-5
    )
    assert tables["model"][1].shape == (30, 4)
    assert tables["other"][1] is None and tables["PCA"][1] is None
    assert reported == [(30, 30)]


def test_principal_components_are_uncorrelated_and_in_order(images):
    encoder = encoders.principal_components(ArraySplit(images), SHAPE, 5)
    codes = encoder.read({"image": tf.constant(images)})[0].numpy()
    covariance = np.cov(codes, rowvar=False)
    variances = np.diag(covariance)
    assert np.all(np.diff(variances) <= 0)
    np.testing.assert_allclose(
        covariance, np.diag(variances), atol=1e-3 * variances[0]
    )
    # No 30 images have more than 30 directions.
    many = encoders.principal_components(ArraySplit(images), SHAPE, 100)
    assert many.parts == {"pca": 30}


def test_an_untrained_encoder_is_the_network_of_step_0(tmp_path, images):
    config = configuration.build("beta_vae", "digits", settings=["seed=3"])
    rundir.claim(tmp_path, config, SHAPE)
    fresh = rundir.build_model(config, SHAPE)
    encoder = encoders.untrained(tmp_path, ArraySplit(images), 7)
    means, stddevs = encoder.read({"image": tf.constant(images)})
    np.testing.assert_allclose(means, fresh.encode(images)["z"], atol=1e-6)
    assert stddevs is None


def test_an_untrained_encoder_has_the_codes_of_the_trained_ones_stage(
    tmp_path, images
):
    config = configuration.build(
        "jacobian_vae",
        "digits",
        settings=["schedule_steps=100", "students=1", "network=mlp"],
    )
    rundir.claim(tmp_path, config, SHAPE)
    encoder = encoders.untrained(tmp_path, ArraySplit(images), 100)
    means, _ = encoder.read({"image": tf.constant(images)})
    # At step 0, only the teacher's vary.
    assert np.all(np.std(means, axis=0) > 0)


def test_any_saved_model_with_an_encode_signature(tmp_path, images):
    module = Halves()
    tf.saved_model.save(module, str(tmp_path), {"encode": module.encode})
    encoder = encoders.of_saved_model(tmp_path, (-1.0, 1.0))
    # A part that is no vector is no code; the others come by name.
    assert encoder.parts == {"lower": 1, "upper": 1}
    assert encoder.image_shape == SHAPE
    codes = encoder.read({"image": tf.constant(images)})[0]
    means = images.reshape(30, 2, -1).mean(axis=2)
    np.testing.assert_allclose(codes, 2 * means[:, ::-1] - 1, atol=1e-5)


def test_the_model_card_gives_the_order(tmp_path):
    module = Halves()
    tf.saved_model.save(module, str(tmp_path), {"encode": module.encode})
    card = tmp_path / "assets.extra" / "model_card.json"
    card.parent.mkdir()
    card.write_text('{"parts": {"upper": [1], "lower": [1]}}')
    encoder = encoders.of_saved_model(tmp_path)
    assert list(encoder.parts) == ["upper", "lower"]


def test_saved_models_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no SavedModel"):
        encoders.of_saved_model(tmp_path)
    module = Halves()
    tf.saved_model.save(module, str(tmp_path / "a"), {"other": module.other})
    with pytest.raises(InputError, match="no signature 'encode'.*other"):
        encoders.of_saved_model(tmp_path / "a")
    tf.saved_model.save(module, str(tmp_path / "b"), {"encode": module.other})
    with pytest.raises(InputError, match="must take any number of"):
        encoders.of_saved_model(tmp_path / "b")
    module = Shapeless()
    tf.saved_model.save(module, str(tmp_path / "c"), {"encode": module.one})
    with pytest.raises(InputError, match="any number of float images"):
        encoders.of_saved_model(tmp_path / "c")
    signatures = {"encode": module.unknown}
    tf.saved_model.save(module, str(tmp_path / "d"), signatures)
    with pytest.raises(InputError, match="no part of numbers.*z <unknown>"):
        encoders.of_saved_model(tmp_path / "d")


def test_codes_that_are_not_finite_are_refused(images):
    model = testing.tiny_model("autoencoder")
    last = model.encoder.trainable_variables[-1]
    last.assign(np.full(last.shape, np.nan))
    rows = {"model": encoders.of_model(model)}
    with pytest.raises(InputError, match="codes of model are not finite"):
        encoders.encode(rows, ArraySplit(images))


def certain(stddev):
    """An `Encoder` of one standard deviation, whatever the image."""

    def read(batch):
        means = tf.reduce_mean(batch["image"], [1, 2])
        return means, tf.fill(tf.shape(means), stddev)

    return encoders.Encoder(read, {"z": 1}, SHAPE)


def test_standard_deviations_are_finite_and_positive(images):
    split = ArraySplit(images)
    tables, _ = encoders.encode({"model": certain(0.0)}, split)
    kl = scores.alive_codes(*tables["model"], ("z[0]",))["kl"]["z[0]"]
    assert 80 < kl < 100
    with pytest.raises(InputError, match="codes of model are not finite"):
        encoders.encode({"model": certain(np.inf)}, split)
