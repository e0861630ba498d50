"""Tests of the room renderer."""

import colorsys
import os
import pathlib

import numpy as np
import pytest

from tfdisent.data import shapes

CUBE, CYLINDER, SPHERE, CAPSULE = range(4)
FRONT = 7  # the orientation of 0 degrees
NUM_IMAGES = 480_000


def render(*factors):
    """Renders factor values, broadcast against each other: `[N, 64, 64, 3]`."""
    factors = np.broadcast_arrays(*factors)
    indices = np.ravel_multi_index(factors, shapes.FACTOR_SIZES)
    return shapes.render(np.ravel(indices))


def region(factor, *geometry):
    """Returns where a hue factor changes a picture: bool `[64, 64]`."""
    hues = [0, 0, 0]
    hues[factor] = np.arange(10)
    images = render(*hues, *geometry)
    return (images != images[:1]).any(axis=(0, 3))


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
    """Returns the factors of the reference's frames, in order: `[53, 6]`."""
    factors = [(0, 6, 3, 0, CUBE, turn) for turn in range(15)]
    factors += [(0, 6, 3, 0, CYLINDER, 14), (0, 6, 3, 0, SPHERE, 14)]
    factors += [(0, 6, 3, scale, CAPSULE, 14) for scale in range(8)]
    hues = [(0, 6, hue % 10) for hue in range(4, 13)]
    hues += [(0, hue, 2) for hue in (7, 8, 9, 0, 1, 5)]
    hues += [(hue, 5, 2) for hue in (1, 2, 3)]
    hues += [(0, hue, 2) for hue in (2, 3, 4, 5)]
    hues += [(hue, 5, 2) for hue in range(4, 10)]
    return np.array(factors + [(*hue, 7, CAPSULE, 14) for hue in hues])


def test_looks_like_the_real_frames():
    frames = reference("3dshapes.gif")
    # Each pixel was enlarged to 3.5; take the one nearest to its middle.
    places = 3.5 * (np.arange(1, 63) + 0.5)
    rows, columns = (places + 0.5).astype(int), (places + 1).astype(int)
    real = frames[:, rows][:, :, columns].astype(int)
    factors = reference_factors()
    assert len(factors) == len(frames)
    ours = render(*factors.T)[:, 1:-1, 1:-1]
    # The real frames have 256 colours, dithered: a few levels are theirs.
    difference = abs(ours - real).mean(axis=(1, 2, 3))
    assert difference.mean() < 5.5
    assert difference.max() < 9


def test_declares_the_grid():
    assert shapes.FACTOR_NAMES == (
        "floor_hue",
        "wall_hue",
        "object_hue",
        "scale",
        "shape",
        "orientation",
    )
    assert np.prod(shapes.FACTOR_SIZES) == NUM_IMAGES


def test_returns_colour_bytes():
    images = shapes.render(np.array([0, 1000, NUM_IMAGES - 1]))
    assert images.shape == (3, *shapes.IMAGE_SHAPE)
    assert images.dtype == np.uint8
    assert images.max() > 250 and images.min() < 5


def test_renders_nothing_for_no_indices():
    assert shapes.render([]).shape == (0, *shapes.IMAGE_SHAPE)


def test_each_image_depends_on_its_index_only():
    rng = np.random.default_rng(0)
    # Few configurations: each is traced at first use.
    indices = 480 * rng.integers(1000, size=200) + rng.integers(20, size=200)
    indices[7] = indices[3]
    images = shapes.render(indices)
    np.testing.assert_array_equal(images[7], images[3])
    np.testing.assert_array_equal(shapes.render(indices[::-1]), images[::-1])
    alone = [shapes.render(indices[k : k + 1])[0] for k in range(20)]
    np.testing.assert_array_equal(alone, images[:20])


def test_tracing_again_gives_the_same_bytes():
    before = render(3, 4, 5, 6, CAPSULE, 2)
    shapes._room.cache_clear()
    shapes._scene.cache_clear()
    np.testing.assert_array_equal(render(3, 4, 5, 6, CAPSULE, 2), before)


def test_hues_are_row_major():
    images = shapes.render(480 * np.arange(1000))
    floor, wall, thing = np.unravel_index(np.arange(1000), (10, 10, 10))
    for (row, column), hue in [
        ((61, 3), floor),
        ((30, 3), wall),
        ((47, 32), thing),
    ]:
        seen = [colorsys.rgb_to_hsv(*rgb)[0] for rgb in images[:, row, column]]
        away = (np.array(seen) - hue / 10 + 0.5) % 1 - 0.5
        # Bright colours are clipped, which bends their hue a little.
        assert abs(away).max() < 0.04


def test_orientation_is_the_last_factor():
    np.testing.assert_array_equal(
        shapes.render(np.arange(15, 30)),
        render(0, 0, 0, 0, CYLINDER, np.arange(15)),
    )


@pytest.mark.parametrize("shape", range(4))
@pytest.mark.parametrize("orientation", [0, FRONT, 14])
def test_a_hue_changes_its_region_only(shape, orientation):
    geometry = (4, shape, orientation)
    floor, wall, thing = (region(factor, *geometry) for factor in range(3))
    assert not floor[:38].any()
    assert not wall[:15].any() and not wall[43:].any()
    assert not thing[:, :16].any() and not thing[:, 48:].any()
    # Regions share no pixels but those on their edges.
    shared = (floor & wall) | (floor & thing) | (wall & thing)
    assert 0 < shared.mean() < 0.05
    sky = ~(floor | wall | thing)
    colours = np.unique(render(1, 2, 3, *geometry)[0][sky], axis=0)
    np.testing.assert_allclose(colours, [[153, 226, 249]], atol=1)


def test_layers_add_up_without_overflow():
    floor, wall, thing = np.ogrid[0:10:3, 0:10:3, 0:10:3]
    images = render(floor, wall, thing, 7, CAPSULE, 3)
    images = images.reshape(4, 4, 4, -1).astype(int)
    # What a hue adds is the same whatever the others are.
    for axis in range(3):
        change = np.moveaxis(np.diff(images, axis=axis), axis, 0)
        change = change.reshape(3, 16, -1)
        np.testing.assert_array_equal(change, change[:, :1].repeat(16, axis=1))


@pytest.mark.parametrize("shape", range(4))
def test_the_object_grows_with_scale(shape):
    areas = [region(2, scale, shape, FRONT).sum() for scale in range(8)]
    assert (np.diff(areas) > 0).all()
    # A little more than the square of the sizes: it also comes nearer.
    assert 2.4 < areas[-1] / areas[0] < 3.3


def test_the_cube_from_the_front_is_square():
    thing = region(2, 0, CUBE, FRONT)
    height, width = thing.any(axis=1).sum(), thing.any(axis=0).sum()
    assert abs(height - width) <= 2
    assert thing.sum() > 0.95 * height * width


@pytest.mark.parametrize("scale", [0, 7])
def test_the_sphere_is_round(scale):
    thing = region(2, scale, SPHERE, 0)
    height, width = thing.any(axis=1).sum(), thing.any(axis=0).sum()
    assert abs(height - width) <= 2
    assert abs(thing.sum() / (np.pi / 4 * height * width) - 1) < 0.08


def test_the_capsule_is_the_tallest():
    tall = [region(2, 3, shape, 5).any(axis=1).sum() for shape in range(4)]
    assert np.argmax(tall) == CAPSULE
    assert tall[CAPSULE] > 1.4 * max(tall[:CAPSULE])


@pytest.mark.parametrize("shape", range(4))
def test_opposite_orientations_mirror_the_outline(shape):
    for orientation in (0, 4, FRONT):
        there = region(2, 5, shape, orientation)
        back = region(2, 5, shape, 14 - orientation)
        # An edge through a pixel's border may fall on either side.
        assert (there != back[:, ::-1]).sum() <= 0.02 * there.sum()


def test_orientation_moves_the_corner_of_the_room():
    walls = render(0, 6, 3, 0, SPHERE, np.arange(15))[:, 25, :, 2].astype(int)
    # From the left the right corner is in view, from the right the left one.
    assert walls[0, :20].mean() > walls[0, -10:].mean() + 30
    assert walls[14, -20:].mean() > walls[14, :10].mean() + 30
    assert np.ptp(walls[FRONT, 5:-15]) < 30
    assert (walls[1:] != walls[:-1]).any(axis=1).all()


@pytest.mark.parametrize("shape", range(4))
def test_the_object_casts_a_shadow_to_its_right(shape):
    image = render(0, 6, 3, 7, shape, 14)[0].astype(int)
    is_floor = (image[..., 1] < 5) & (image[..., 2] < 5)
    is_floor[:48] = False
    dark = is_floor & (image[..., 0] < 110)
    assert dark.sum() > 40
    assert np.nonzero(dark)[1].mean() > 34
    # Its edge is soft: some pixels are between dark and lit.
    between = is_floor & (image[..., 0] > 110) & (image[..., 0] < 190)
    assert between.sum() > 5


@pytest.mark.parametrize("factor", range(6))
def test_each_factor_changes_the_picture(factor):
    values = np.arange(shapes.FACTOR_SIZES[factor])
    factors = [2, 5, 8, 3, 1, 6]
    factors[factor] = values
    images = render(*factors)
    assert (images[1:] != images[:-1]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    "indices", [[-1], [NUM_IMAGES], [0.5], [True], [[0]], 0, ["a"]]
)
def test_refuses_what_is_no_grid_point(indices):
    with pytest.raises(ValueError, match="indices must .* Received"):
        shapes.render(indices)
