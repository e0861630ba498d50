"""Tests of the sprite renderer."""

import os
import pathlib

import numpy as np
import pytest

from tfdisent.data import sprites

SQUARE, ELLIPSE, HEART = range(3)
LARGEST = 5  # the index of scale 1
NUM_IMAGES = 737_280


def render(*factors):
    """Renders factor values, broadcast against each other: `[N, 64, 64]`."""
    factors = np.broadcast_arrays(*factors)
    indices = np.ravel_multi_index(factors, sprites.FACTOR_SIZES)
    return sprites.render(np.ravel(indices))[..., 0]


def areas(images):
    """Counts lit pixels: `[N]`."""
    return (images > 0).sum(axis=(1, 2))


def centroids(images):
    """Returns the mean column and row of the lit pixels: `[N, 2]`."""
    places = np.arange(64)
    lit = images > 0
    x = (lit * places).sum(axis=(1, 2)) / areas(images)
    y = (lit * places[:, None]).sum(axis=(1, 2)) / areas(images)
    return np.stack([x, y], axis=1)


def reference(name):
    """Returns the frames of a picture of `shared/reference`, RGB, or skips."""
    root = pathlib.Path(__file__).parents[3]
    shared = os.environ.get("TFDISENT_SHARED", root.parent / "shared")
    path = pathlib.Path(shared) / "reference" / name
    if not path.exists():
        pytest.skip(f"no reference picture {path}")
    frames = []
    with pytest.importorskip("PIL.Image").open(path) as image:
        for frame in range(image.n_frames):
            image.seek(frame)
            frames.append(np.asarray(image.convert("RGB")))
    return np.stack(frames)


def reference_factors():
    """Returns the factors of the reference's frames, in order: `[320, 5]`."""
    scales, orientations, positions = (np.arange(n) for n in (6, 40, 32))
    factors = []

    def sweep(shape, scale=LARGEST, orientation=0, x=0, y=0):
        values = np.broadcast_arrays(shape, scale, orientation, x, y)
        factors.append(np.stack(values, axis=1))

    for shape in (HEART, ELLIPSE, SQUARE):
        for order in (scales, scales[::-1], scales):
            sweep(shape, scale=order)
        sweep(shape, orientation=orientations)
        if shape == HEART:
            sweep(shape, y=positions)
            sweep(shape, x=positions, y=31)
            sweep(shape, x=31, y=positions[::-1])
            sweep(shape, x=positions[::-1])
        sweep(shape, scale=scales[::-1])
    return np.concatenate(factors)


def test_agrees_with_real_frames():
    frames = reference("dsprites.gif")[..., 0] > 127
    factors = reference_factors()
    assert len(frames) == len(factors) == 320
    wrong = (render(*factors.T) > 0) ^ frames
    error = wrong.sum(axis=(1, 2)) / frames.sum(axis=(1, 2))
    assert error[factors[:, 0] != HEART].max() <= 0.01
    assert error.mean() <= 0.003
    assert error.max() <= 0.03


def test_declares_the_grid():
    assert sprites.FACTOR_NAMES == (
        "shape",
        "scale",
        "orientation",
        "position_x",
        "position_y",
    )
    assert np.prod(sprites.FACTOR_SIZES) == NUM_IMAGES


def test_returns_binary_bytes():
    images = sprites.render(np.array([0, 1000, NUM_IMAGES - 1]))
    assert images.shape == (3, *sprites.IMAGE_SHAPE)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}


def test_renders_nothing_for_no_indices():
    assert sprites.render([]).shape == (0, *sprites.IMAGE_SHAPE)


def test_each_image_depends_on_its_index_only():
    indices = np.random.default_rng(0).integers(NUM_IMAGES, size=200)
    indices[7] = indices[3]
    images = sprites.render(indices)
    np.testing.assert_array_equal(images[7], images[3])
    np.testing.assert_array_equal(sprites.render(indices[::-1]), images[::-1])
    alone = [sprites.render(indices[k : k + 1])[0] for k in range(20)]
    np.testing.assert_array_equal(alone, images[:20])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64])
def test_takes_any_integers(dtype):
    last = sprites.render(np.array([NUM_IMAGES - 1], dtype))
    np.testing.assert_array_equal(
        last[..., 0], render(HEART, LARGEST, 39, 31, 31)
    )


def test_the_last_factor_is_fastest():
    images = sprites.render(np.arange(64))
    x, y = centroids(images[..., 0]).T
    np.testing.assert_allclose(x, np.repeat(sprites.POSITIONS[:2], 32), atol=1)
    np.testing.assert_allclose(y, np.tile(sprites.POSITIONS, 2), atol=0.51)


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE])
def test_centroid_is_the_position(shape):
    positions = np.arange(32)
    for orientation in (0, 5, 17):
        x, y = centroids(
            render(shape, LARGEST, orientation, positions, positions[::-1])
        ).T
        np.testing.assert_allclose(x, sprites.POSITIONS, atol=0.51)
        np.testing.assert_allclose(y, sprites.POSITIONS[::-1], atol=0.51)
        assert (np.diff(x) > 0).all() and (np.diff(y) < 0).all()


def test_heart_turns_around_its_position():
    x, y = centroids(render(HEART, LARGEST, np.arange(39), 0, 0)).T
    np.testing.assert_allclose([x.mean(), y.mean()], 15.5, atol=0.05)
    radius = np.hypot(x - 15.5, y - 15.5)
    np.testing.assert_allclose(radius, radius.mean(), atol=0.15)
    # The notch points up at first; the heart turns counterclockwise.
    assert y[0] < 14 and abs(x[0] - 15.5) < 0.01
    assert x[10] < 14 and abs(y[10] - 15.5) < 0.5


@pytest.mark.parametrize("scale", range(6))
def test_upright_square_fills_whole_pixels(scale):
    side = 20 * sprites.SCALES[scale]
    image = render(SQUARE, scale, 0, 0, 0)
    assert areas(image) == round(side) ** 2


@pytest.mark.parametrize("scale", range(6))
@pytest.mark.parametrize(
    ("shape", "area"), [(SQUARE, 19.2**2), (ELLIPSE, np.pi * 12.77 * 7.21)]
)
def test_mean_area_is_the_closed_form(shape, area, scale):
    orientation, x, y = np.ogrid[0:39:3, 0:32:2, 0:32:2]
    mean = areas(render(shape, scale, orientation, x, y))
    expected = area * sprites.SCALES[scale] ** 2
    np.testing.assert_allclose(mean.mean(), expected, rtol=0.01)


@pytest.mark.parametrize("shape", range(3))
def test_area_grows_with_scale(shape):
    for orientation in (0, 7):
        images = render(shape, np.arange(6), orientation, 16, 16)
        assert (np.diff(areas(images)) > 0).all()


@pytest.mark.parametrize("factor", range(5))
@pytest.mark.parametrize("shape", range(3))
def test_each_factor_changes_the_picture(shape, factor):
    start = np.array([shape, LARGEST, 3, 9, 20])
    values = np.arange(sprites.FACTOR_SIZES[factor])
    factors = np.repeat(start[:, None], len(values), axis=1)
    factors[factor] = values
    images = render(*factors)
    assert (images[1:] != images[:-1]).any(axis=(1, 2)).all()


def test_the_full_turn_is_the_first_orientation():
    shape, scale = np.ogrid[:3, :6]
    np.testing.assert_array_equal(
        render(shape, scale, 39, 3, 4), render(shape, scale, 0, 3, 4)
    )


@pytest.mark.parametrize("shape", range(3))
def test_turning_back_mirrors_the_picture(shape):
    turns = np.arange(39)
    # Position 0 is half-way between the first 32 columns.
    forth = render(shape, LARGEST, turns, 0, 0)[..., :32]
    back = render(shape, LARGEST, 39 - turns, 0, 0)[..., :32]
    different = (forth != back[..., ::-1]).sum(axis=(1, 2))
    assert (different <= 0.01 * areas(forth)).all()


def test_no_sprite_touches_the_border():
    shape, scale, orientation, x, y = np.ogrid[:3, :6, :40, 0:32:31, 0:32:31]
    images = render(shape, scale, orientation, x, y)
    lit = images.any(axis=0)
    assert lit[1:-1, 1:-1].any()
    assert not lit[[0, -1]].any() and not lit[:, [0, -1]].any()


@pytest.mark.parametrize(
    "indices", [[-1], [NUM_IMAGES], [0.5], [True], [[0]], 0, ["a"]]
)
def test_refuses_what_is_no_grid_point(indices):
    with pytest.raises(ValueError, match="indices must .* Received"):
        sprites.render(indices)
