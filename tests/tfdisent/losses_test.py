import numpy as np
import pytest
import tensorflow as tf

from tfdisent import losses


def test_cross_entropy_by_hand():
    images = np.array([0.0, 1.0, 0.5, 0.25]).reshape(2, 1, 2, 1)
    logits = np.array([0.0, 2.0, -1.0, 100.0]).reshape(2, 1, 2, 1)
    p = 1 / (1 + np.exp(-logits[..., 0]))[:, 0]
    expected = [
        -np.log(0.5) - np.log(p[0, 1]),
        -0.5 * np.log(p[1, 0]) - 0.5 * np.log(1 - p[1, 0]) + 0.75 * 100,
    ]
    np.testing.assert_allclose(
        losses.cross_entropy_per_image(
            images.astype(np.float32), tf.constant(logits, tf.float32)
        ),
        expected,
        rtol=1e-5,
    )


def test_squared_error_sums_over_an_image():
    images = np.ones((3, 2, 2, 2), np.float32)
    np.testing.assert_allclose(
        losses.squared_error_per_image(images, 0.5 * images), [2.0] * 3
    )


def test_ali_losses_by_hand():
    real, fake = tf.constant([2.0, -1.0]), tf.constant([0.5, 0.0])
    softplus = lambda x: np.log1p(np.exp(x))  # noqa: E731
    np.testing.assert_allclose(
        losses.ali_discriminator_loss(real, fake),
        (softplus(-2) + softplus(1) + softplus(0.5) + softplus(0)) / 2,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        losses.ali_generator_loss(real, fake),
        (softplus(2) + softplus(-1) + softplus(-0.5) + softplus(0)) / 2,
        rtol=1e-6,
    )
    # A critic that cannot tell says 0 and pays log 4.
    chance = losses.ali_discriminator_loss(tf.zeros(3), tf.zeros(3))
    np.testing.assert_allclose(chance, np.log(4), rtol=1e-6)


def test_donsker_varadhan_of_constants():
    for joint, product in ((1.0, 1.0), (3.0, 1.0), (0.0, 2.0)):
        bound = losses.donsker_varadhan(
            tf.fill([5], joint), tf.fill([7], product)
        )
        np.testing.assert_allclose(bound, joint - product, atol=1e-6)
    # exp(1000) is no number in float32, its logarithm is.
    large = losses.donsker_varadhan(tf.fill([5], 999.0), tf.fill([5], 1000.0))
    np.testing.assert_allclose(large, -1.0, atol=1e-3)


def test_donsker_varadhan_of_a_gaussian():
    """With T = the log density ratio the bound is the information itself."""
    correlation, count = 0.8, 200_000
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, count))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    other = rng.permutation(y)

    def ratio(x, y):
        rest = 1 - correlation**2
        form = x**2 - 2 * correlation * x * y + y**2
        return -0.5 * np.log(rest) - form / (2 * rest) + (x**2 + y**2) / 2

    bound = losses.donsker_varadhan(
        tf.constant(ratio(x, y)), tf.constant(ratio(x, other))
    )
    np.testing.assert_allclose(
        bound, -0.5 * np.log(1 - correlation**2), atol=0.02
    )


def test_label_cross_entropy_by_hand():
    label = np.eye(10, dtype=np.float32)[[0, 3]]
    # Uninformed logits: n ln 2, 6.93 nats for ten classes.
    found = losses.label_cross_entropy(label, tf.zeros([2, 10]))
    np.testing.assert_allclose(found, [10 * np.log(2)] * 2, rtol=1e-6)
    logits = np.linspace(-3, 3, 20).reshape(2, 10)
    chance = 1 / (1 + np.exp(-logits))
    # Equation (5) of ClassVAE's paper, with the sign its text asks for.
    printed = label * np.log(chance) + (1 - label) * np.log(1 - chance)
    np.testing.assert_allclose(
        losses.label_cross_entropy(label, tf.constant(logits, tf.float32)),
        -printed.sum(axis=1),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("step", "gap"), [(0, 4.0), (25, 0.25), (50, 4.5), (100, 13.0), (999, 13.0)]
)
def test_capacity_gap_follows_its_ramp(step, gap):
    kl = tf.constant([3.0, 5.0])
    found = losses.capacity_gap(kl, 17.0, tf.constant(step, tf.int64), 100)
    np.testing.assert_allclose(found, gap, rtol=1e-6)


def test_capacity_without_a_ramp_is_there_at_once():
    found = losses.capacity_gap(tf.constant([3.0]), 5.0, 1, 0)
    np.testing.assert_allclose(found, 2.0)


# Two parents with three and two children.
PARENTS = [0, 0, 0, 1, 1]


def test_local_cross_entropy_in_closed_form():
    logits = tf.constant(
        [[1.0, 2.0, 3.0, 50.0, -50.0], [90.0, 80.0, 70.0, 0.0, 2.0]]
    )
    values = losses.local_cross_entropy(logits, [1, 4], PARENTS)
    first = np.log(np.exp([1.0, 2.0, 3.0]).sum()) - 2.0
    second = np.log(1 + np.exp(-2.0))
    np.testing.assert_allclose(values, [first, second], rtol=1e-6)
    # Nobody knows: log of the number of siblings; an only child: nothing.
    flat = losses.local_cross_entropy(tf.zeros([2, 5]), [0, 3], PARENTS)
    np.testing.assert_allclose(flat, np.log([3, 2]), rtol=1e-6)
    alone = losses.local_cross_entropy(tf.zeros([1, 2]), [1], [0, 1])
    np.testing.assert_allclose(alone, [0.0], atol=1e-7)


def test_local_cross_entropy_has_no_gradient_beyond_siblings():
    logits = tf.Variable(tf.random.stateless_normal([2, 5], [1, 2]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            losses.local_cross_entropy(logits, [1, 4], PARENTS)
        )
    gradient = tape.gradient(loss, logits).numpy()
    np.testing.assert_array_equal(gradient[0, 3:], 0)
    np.testing.assert_array_equal(gradient[1, :3], 0)
    # Softmax minus one-hot: within a slice the softmax sums to 1.
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-6)
    assert gradient[0, 1] < 0 < gradient[0, 0]


def test_local_entropy_in_closed_form():
    logits = tf.constant([[0.0, 0.0, 0.0, 9.0, 9.0], [5.0, 5.0, 5.0, 0.0, 1.0]])
    values = losses.local_entropy(logits, [2, 3], PARENTS)
    share = 1 / (1 + np.exp(-1.0))
    second = -share * np.log(share) - (1 - share) * np.log(1 - share)
    np.testing.assert_allclose(values, [np.log(3), second], rtol=1e-6)


def test_errors_by_hand():
    scores = tf.constant([[0.0, 1.0], [3.0, -1.0]])
    np.testing.assert_allclose(losses.least_squares(scores, 1.0), 9 / 4)
    np.testing.assert_allclose(losses.least_squares(scores, 0.0), 11 / 4)
    first, second = tf.constant([1.0, -2.0]), tf.constant([0.0, 2.0])
    np.testing.assert_allclose(losses.mean_absolute_error(first, second), 2.5)
    image = tf.constant([[[[0.0], [1.0]], [[0.5], [0.5]]]])
    # Down .5 and .5, across 1 and 0.
    np.testing.assert_allclose(losses.total_variation(image), 1.0)
