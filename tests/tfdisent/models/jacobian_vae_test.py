"""Teacher and students: what grows, what is copied, what holds them."""

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses
from tfdisent import noise
from tfdisent import testing

IMAGE = testing.random_images((32, 32, 1), 6)
SEED = tf.constant([0, 5])


@pytest.fixture
def model():
    """Two entries a stage, three stages of 10 steps."""
    model = testing.tiny_model("jacobian_vae", students=2, schedule_steps=30)
    model.compile()
    return model


def test_stages_without_a_step_are_refused():
    """Or the first teacher would stay the random one that it starts as."""
    with pytest.raises(ValueError, match="3 stages.* Received: 2"):
        testing.tiny_model("jacobian_vae", students=2, schedule_steps=2)


def at(model, step):
    model.step.assign(step)
    return model


def far_teacher(model):
    """A teacher that differs from the student."""
    rng = np.random.default_rng(0)
    for variable in (
        *model.teacher_encoder.variables,
        *model.teacher_decoder.variables,
    ):
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    return model


@pytest.mark.parametrize(
    ("step", "mask"),
    [
        (0, [0, 0, 0, 0, 1, 1]),
        (10, [0, 0, 1, 1, 1, 1]),
        (29, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_entries_grow_towards_the_front(model, step, mask):
    at(model, step)
    np.testing.assert_array_equal(model.mask(model.stage()), mask)
    posterior = model.posterior(IMAGE)["z"]
    out = np.array(mask) == 0
    np.testing.assert_array_equal(posterior.mean().numpy()[:, out], 0)
    np.testing.assert_array_equal(posterior.stddev().numpy()[:, out], 1)
    z = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    np.testing.assert_array_equal(
        model.decode(z=z), model.decode(z=z * np.float32(mask))
    )
    kl = model.divergence(model.posterior(IMAGE))["z"].numpy()
    np.testing.assert_array_equal(np.all(kl == 0, axis=0), out)


def test_the_teacher_is_the_student_of_the_stage_before(model):
    model.encoder.variables[0].assign_add(model.encoder.variables[0] * 0 + 1.0)
    first = model.teacher_encoder.variables[0].numpy()
    model.train_step(IMAGE)
    np.testing.assert_array_equal(model.teacher_encoder.variables[0], first)
    at(model, 10)
    student = [
        v.numpy() for v in (*model.encoder.variables, *model.decoder.variables)
    ]
    for _ in range(2):
        # It stays while the student goes on.
        model.train_step(IMAGE)
        teacher = (
            *model.teacher_encoder.variables,
            *model.teacher_decoder.variables,
        )
        for old, new in zip(teacher, student, strict=True):
            np.testing.assert_array_equal(old, new)
    assert np.any(model.encoder.variables[0].numpy() != student[0])
    assert not {id(v) for v in teacher} & {
        id(v) for v in model.trainable_variables
    }


def test_supervision_by_hand(model):
    at(far_teacher(model), 10)
    run, _ = model.run(IMAGE, SEED)
    penalty = model.regularisers[1].penalty(model, run)
    old, new = [4, 5], [2, 3]
    taught = model.teacher_encoder(IMAGE)[:, :6].numpy()
    mean = model.encoder(IMAGE)[:, :6].numpy()
    code = np.mean(np.square(taught - mean)[:, old])

    order = noise.permutation(6, noise.fold(SEED, 3)).numpy()
    kept = np.isin(np.arange(6), old)
    used = np.isin(np.arange(6), old + new)
    swapped = np.where(kept, mean[order], mean) * used
    teacher = tf.sigmoid(model.teacher_decoder(taught * kept))
    teacher -= tf.sigmoid(model.teacher_decoder(taught[order] * kept))
    student = tf.sigmoid(model.decoder(mean * used))
    student -= tf.sigmoid(model.decoder(swapped))
    jacobian = np.mean(np.square(teacher - student))

    centred = mean - mean.mean(axis=0)
    covariance = centred[:, new].T @ centred[:, old] / 6
    size = np.linalg.norm(covariance)
    for name, value in zip(
        ("code_distance", "jacobian_distance", "covariance"),
        (code, jacobian, size),
        strict=True,
    ):
        np.testing.assert_allclose(
            penalty.reports[name], value, rtol=1e-4, atol=2e-6
        )
    np.testing.assert_allclose(
        penalty.value, 0.25 * code + 0.1 * jacobian + 1e-3 * size, rtol=1e-4
    )


def test_the_first_stage_is_a_plain_vae(model):
    at(far_teacher(model), 5)
    terms, _ = model.objective(IMAGE, SEED)
    np.testing.assert_allclose(
        terms["loss"], terms["reconstruction"] + terms["kl"], rtol=1e-5
    )
    assert terms["code_distance"] == terms["jacobian_distance"] == 0
    # Students that wait are dead in the log.
    assert terms["kl_student_1"] == terms["kl_student_2"] == 0
    np.testing.assert_allclose(terms["kl_teacher"], terms["kl"], rtol=1e-6)
    assert terms["kl"] > 0


def test_the_teacher_gets_no_gradient_and_the_student_does(model):
    at(far_teacher(model), 10)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([v.value for v in model.teacher_decoder.variables])
        run, _ = model.run(IMAGE, SEED)
        value = model.regularisers[1].penalty(model, run).value
    own = tape.gradient(value, model.trainable_variables)
    assert all(np.any(g.numpy()) for g in own)
    teacher = [v.value for v in model.teacher_decoder.variables]
    assert all(g is None for g in tape.gradient(value, teacher))


def test_what_waits_stays_as_it_was_initialised(model):
    """Or a stage's new entries would start where nothing has a slope."""
    head = model.encoder.trainable_variables[-2]
    first = model.decoder.trainable_variables[0]
    waiting = np.r_[0:4, 6:10]
    before = head.numpy()[..., waiting], first.numpy()[:4]
    for _ in range(9):
        model.train_step(IMAGE)
    np.testing.assert_array_equal(head.numpy()[..., waiting], before[0])
    np.testing.assert_array_equal(first.numpy()[:4], before[1])
    assert np.any(before[0]) and np.any(before[1])


def test_a_student_that_is_its_teacher_has_nothing_to_pay(model):
    at(model, 10)
    model._promote()
    at(model, 11)
    # Entries that nobody reads yet change nothing: the decoder's rows.
    kernel = model.decoder.blocks[0].kernel
    kernel.assign(tf.concat([0 * kernel[:4], kernel[4:]], axis=0))
    teacher = model.teacher_decoder.blocks[0].kernel
    teacher.assign(tf.concat([0 * teacher[:4], teacher[4:]], axis=0))
    terms, _ = model.objective(IMAGE, SEED)
    assert terms["code_distance"] == 0
    assert terms["jacobian_distance"] < 1e-12


def test_all_stages_run_in_one_trace(model):
    step = tf.function(model.train_step, jit_compile=False)
    at(model, 9)
    for _ in range(12):
        assert np.isfinite(step(tf.constant(IMAGE))["loss"])
    assert int(model.stage()) == 2
    assert step.experimental_get_tracing_count() == 1


def test_reconstruction_is_a_cross_entropy(model):
    model.encoder.blocks[-1].bias.assign([0.0] * 6 + [-40.0] * 6)
    terms, _ = at(model, 25).objective(IMAGE, SEED)
    logits = model.logits(z=model.encode(IMAGE)["z"])
    np.testing.assert_allclose(
        terms["reconstruction"],
        np.mean(losses.cross_entropy_per_image(IMAGE, logits)),
        rtol=1e-3,
    )
