"""The schedule: who is in the image, who is in the loss, and when."""

import numpy as np
import pytest
import tensorflow as tf

from tfdisent import testing

IMAGE = testing.random_images((32, 32, 1))
SEED = tf.constant([0, 5])


def make(**arguments):
    """Stages of 10 steps, a fade of 4."""
    given = {"schedule_steps": 30, "fade_steps": 4, "beta": 3.0} | arguments
    return testing.tiny_model("pro_vlae", **given)


@pytest.fixture
def model():
    return make()


def at(model, step):
    model.step.assign(step)
    return model


def shaken(model):
    """Biases that are not 0: at first, z1 = 0 would look like no z1."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if len(variable.shape) == 1:
            variable.assign(rng.normal(size=variable.shape))
    return model


@pytest.mark.parametrize(
    ("step", "waiting", "alpha"),
    [
        (0, [True, True, False], [1, 1, 1]),
        (9, [True, True, False], [1, 1, 1]),
        (10, [True, False, False], [1, 0, 1]),
        (11, [True, False, False], [1, 0.25, 1]),
        (14, [True, False, False], [1, 1, 1]),
        (20, [False, False, False], [0, 1, 1]),
        (23, [False, False, False], [0.75, 1, 1]),
        (24, [False, False, False], [1, 1, 1]),
        (99, [False, False, False], [1, 1, 1]),
    ],
)
def test_deep_levels_come_first_and_each_fades_in(model, step, waiting, alpha):
    at(model, step)
    np.testing.assert_array_equal(model.waiting(), waiting)
    np.testing.assert_allclose(model.alpha(), alpha)
    expected = np.where(waiting, 0, alpha)
    np.testing.assert_allclose(tf.stack(model.map_gains()), expected)


def test_the_fade_is_a_share_of_the_stage_and_at_most_5000_steps():
    assert make(schedule_steps=3000, fade_steps=None)._fade_steps() == 70
    assert make(schedule_steps=10**6, fade_steps=None)._fade_steps() == 5000
    without = at(make(fade_steps=0), 10)
    np.testing.assert_array_equal(without.alpha(), [1, 1, 1])


def test_a_fade_ends_with_its_stage_at_the_latest():
    """5,000 steps, as the paper's, of a shorter run."""
    model = make(fade_steps=5000)
    np.testing.assert_allclose(at(model, 15).alpha(), [1, 0.5, 1])
    np.testing.assert_allclose(at(model, 20).alpha(), [0, 1, 1])
    np.testing.assert_allclose(at(model, 30).alpha(), [1, 1, 1])


def test_fewer_steps_than_levels_are_refused():
    """Without a step a stage, all levels would train at once: a VLAE."""
    with pytest.raises(ValueError, match="3 stages .* Received: 2"):
        testing.tiny_model("pro_vlae", schedule_steps=2)


def test_without_a_schedule_every_level_is_in_use():
    model = make(schedule_steps=0)
    assert not np.any(model.waiting())
    np.testing.assert_array_equal(model.alpha(), [1, 1, 1])


@pytest.mark.parametrize(("before", "start"), [(9, 10), (19, 20)])
def test_a_stage_starts_where_the_last_one_ended(model, before, start):
    """Bit for bit: at alpha 0 the new level is not in the image."""
    shaken(model)
    rng = np.random.default_rng(1)
    codes = {p: rng.normal(size=(4, 2)).astype(np.float32) for p in model.parts}
    last = at(model, before).decode(**codes).numpy()
    level = 3 - start // 10
    deeper = [f"z{n}" for n in range(level + 1, 4)]
    known = {n: model.posterior(IMAGE)[n].mean().numpy() for n in deeper}
    np.testing.assert_array_equal(at(model, start).decode(**codes), last)
    # The trunk is never faded: what deeper levels read stays as it was.
    for name, mean in known.items():
        assert np.any(mean != mean[:1])
        np.testing.assert_array_equal(model.posterior(IMAGE)[name].mean(), mean)
    new = f"z{level}"
    # Nor does its posterior depend on the image.
    q = model.posterior(IMAGE)[new]
    for values in (q.mean().numpy(), q.stddev().numpy()):
        np.testing.assert_array_equal(values, values[:1].repeat(4, 0))
    # A step later both do.
    at(model, start + 1)
    assert np.any(model.decode(**codes).numpy() != last)
    mean = model.posterior(IMAGE)[new].mean().numpy()
    assert np.any(mean != mean[:1])


@pytest.mark.parametrize(("step", "waits"), [(0, "z1 z2"), (15, "z1")])
def test_waiting_levels_do_not_touch_the_image(model, step, waits):
    at(shaken(model), step)
    codes = {p: np.zeros((2, 2), np.float32) for p in model.parts}
    plain = model.decode(**codes).numpy()
    for part in model.parts:
        moved = model.decode(**codes | {part: np.ones((2, 2), np.float32)})
        assert np.array_equal(moved, plain) == (part in waits)


@pytest.mark.parametrize(
    ("step", "weights"), [(5, [0.5, 0.5, 3]), (15, [0.5, 3, 3]), (25, [3] * 3)]
)
def test_loss_of_a_stage_by_hand(model, step, weights):
    terms, _ = at(shaken(model), step).objective(IMAGE, SEED)
    kl = [float(terms[f"kl_z{n}"]) for n in (1, 2, 3)]
    assert min(kl) > 0
    np.testing.assert_allclose(
        terms["loss"], terms["reconstruction"] + np.dot(weights, kl), rtol=1e-5
    )


def test_weights_may_be_whole_numbers():
    terms, _ = at(shaken(make(beta=4, gamma=0)), 5).objective(IMAGE, SEED)
    np.testing.assert_allclose(
        terms["loss"], terms["reconstruction"] + 4 * terms["kl_z3"], rtol=1e-5
    )


def gradients(model, step, of="loss"):
    """Which layers a term reaches, {list: [bool a level]}."""
    at(model, step)
    with tf.GradientTape(persistent=True) as tape:
        goal = model.objective(IMAGE, SEED)[0][of]
    names = ("trunk", "heads", "maps", "ups")

    def reached(stack):
        found = tape.gradient(goal, stack.trainable_variables)
        return any(g is not None and np.any(g.numpy()) for g in found)

    return {n: [reached(s) for s in getattr(model.ladder, n)] for n in names}


def test_gradients_reach_what_is_in_use():
    model = shaken(make())
    assert gradients(model, 5, "reconstruction") == {
        "trunk": [True] * 3,
        "heads": [False, False, True],
        "maps": [False, False, True],
        "ups": [True] * 3,
    }
    # The KL of levels that wait trains their ladders.
    assert gradients(model, 5)["heads"] == [True] * 3
    assert gradients(model, 5, "kl_z1") == {
        "trunk": [True, False, False],
        "heads": [True, False, False],
        "maps": [False] * 3,
        "ups": [False] * 3,
    }
    # At alpha 0, the new level's map has no slope but its gain's.
    assert gradients(model, 10)["maps"] == [False, False, True]
    assert gradients(model, 11)["maps"] == [False, True, True]
    assert gradients(model, 25)["maps"] == [True] * 3


def test_gamma_0_leaves_waiting_ladders_alone():
    model = shaken(make(gamma=0.0))
    assert gradients(model, 5)["heads"] == [False, False, True]


def test_real_batch_norm_is_never_faded_on_the_ladder():
    model = make(norm="batch")
    assert model.head_gains() is None
    at(model, 11)
    np.testing.assert_allclose(tf.stack(model.map_gains()), [0, 0.25, 1])
    model.compile()
    before = model.non_trainable_variables[1].numpy()
    model.train_step(IMAGE)
    assert np.any(model.non_trainable_variables[1].numpy() != before)


def test_all_stages_run_in_one_trace(model):
    model.compile()
    traces = []

    @tf.function(jit_compile=False)
    def step(image):
        traces.append(1)
        return model.train_step(image)

    model.step.assign(8)
    seen = set()
    for _ in range(14):
        seen.add(int(model.stages.at(model.step.value)))
        assert np.isfinite(step(tf.constant(IMAGE))["loss"])
    assert seen == {0, 1, 2}
    assert len(traces) == step.experimental_get_tracing_count() == 1


def test_levels_of_a_single_code_train():
    model = make(z_dim=1)
    model.compile()
    any_batch = tf.TensorSpec([None, *IMAGE.shape[1:]])
    step = tf.function(model.train_step, [any_batch], jit_compile=False)
    assert np.isfinite(step(IMAGE)["total_correlation"])


def test_learned_levels_carry_information_and_waiting_ones_none():
    # Two kinds of images: the deepest level can tell them apart at once.
    model = testing.tiny_model(
        "pro_vlae", schedule_steps=3000, learning_rate=3e-3
    )
    model.compile()
    image = np.zeros((8, 32, 32, 1), np.float32)
    image[:4, :16] = image[4:, 16:] = 1.0
    step = tf.function(model.train_step, jit_compile=False)
    for _ in range(60):
        step(tf.constant(image))
    terms = model.evaluate_batch({"image": tf.constant(image)})
    assert terms["reconstruction"] < 300
    assert terms["kl_z3"] > 0.5
    assert terms["kl_z1"] + terms["kl_z2"] < 0.1
