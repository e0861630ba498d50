import io

import numpy as np
import pytest
from PIL import Image

from tfdisent import testing
from tfdisent import visualization


def images(count, channels=1):
    return testing.random_images((32, 32, channels), count, seed=0)


def pixels(image):
    return np.round(255 * np.asarray(image).clip(0, 1)).astype(np.uint8)


def contains(picture, image, zoom):
    """Whether the enlarged image stands somewhere in the picture."""
    cell = visualization.to_pixels(image).repeat(zoom, 0).repeat(zoom, 1)
    windows = np.lib.stride_tricks.sliding_window_view(
        picture[..., 0], cell.shape[:2]
    )
    # The centre row first: a whole comparison everywhere would be large.
    rows = windows[:, :, cell.shape[0] // 2]
    hits = np.argwhere((rows == cell[cell.shape[0] // 2, :, 0]).all(-1))
    return any((windows[y, x] == cell[..., 0]).all() for y, x in hits)


def test_pixels_of_grey_colour_and_numbers_that_are_none():
    grey = np.array([[[0.0], [1.0], [2.0], [np.nan]]], np.float32)
    expected = np.array([0, 255, 255, 0])
    for channel in range(3):
        np.testing.assert_array_equal(
            visualization.to_pixels(grey)[0, :, channel], expected
        )
    with pytest.raises(ValueError, match="1 or 3"):
        visualization.to_pixels(np.zeros((4, 4, 2)))


def test_tile_places_every_pixel():
    three = np.zeros((3, 2, 2, 1), np.float32)
    three[1] = 1.0
    picture = visualization.tile(three, columns=2, padding=1)
    assert picture.shape == (5, 5, 3)
    assert (picture[:2, :2] == 0).all()
    assert (picture[:2, 3:] == 255).all()
    assert (picture[2] == visualization.WHITE).all()
    assert (picture[3:, :2] == 0).all()
    assert (picture[3:, 3:] == visualization.WHITE).all()


def test_the_translation_grid_has_both_ends():
    model = testing.tiny_model("fden")
    shown = images(2)
    picture = visualization.translation_grid(model, shown[:1], shown[1:])
    zoom = visualization.zoom_to_fit(3 * 32, 7 * 32)
    parts = model.encode(shown)
    both = model.decode(**parts)
    for image in (shown[0], shown[1], both[0], both[1]):
        assert contains(picture, np.asarray(image), zoom)
    half = model.swap(shown[:1], shown[1:], np.array([[0.5, 1]], np.float32))
    assert contains(picture, np.asarray(half[0]), zoom)


def test_the_translation_grid_shows_the_backbone_alone():
    model = testing.tiny_model("fden")
    shown = images(2)
    picture = visualization.translation_grid(model, shown[:1], shown[1:])
    plain = model.decode_codes(model.codes(shown))
    zoom = visualization.zoom_to_fit(3 * 32, 7 * 32)
    assert contains(picture, np.asarray(plain[0]), zoom)


def test_the_translation_grid_needs_two_units():
    with pytest.raises(ValueError, match="two units"):
        visualization.translation_grid(
            testing.tiny_model("autoencoder"), images(1), images(1)
        )


def test_a_traversal_passes_through_the_image_itself():
    model = testing.tiny_model("beta_vae")
    start = visualization.encode(model, images(1)[:, :, :, :])
    strips = visualization.traverse(model, start, steps=5, span=2.0)
    middle = visualization.decode(model, start)[0]
    (strip,) = strips
    assert strip.images.shape[:2] == (len(strip.entries), 5)
    value = start["z"][0].copy()
    value[strip.entries[0]] = -2.0
    low = visualization.decode(model, {"z": value[None]})[0]
    np.testing.assert_allclose(strip.images[0, 0], low, atol=1e-6)
    picture = visualization.traversal(model, start, steps=5)
    assert picture.dtype == np.uint8
    assert contains(
        picture, middle, visualization.zoom_to_fit(len(strip.entries) * 32, 160)
    )


def test_the_entries_of_largest_spread_are_shown():
    model = testing.tiny_model("autoencoder", latent_dim=20)
    codes = {"z": np.random.default_rng(0).normal(size=(50, 20))}
    codes["z"][:, 3] *= 10
    codes["z"][:, 7] *= 0.01
    (chosen,) = visualization.widest_entries(model, codes, most=16).values()
    assert 3 in chosen
    assert 7 not in chosen
    assert len(chosen) == 16


def test_maps_are_repeatable_and_need_four_codes():
    codes = np.random.default_rng(0).normal(size=(30, 4))
    labels = np.arange(30) % 3
    first, second = (visualization.tsne(codes, labels) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (480, 480, 3)
    with pytest.raises(ValueError, match="needs 4 codes"):
        visualization.tsne(codes[:3], labels[:3])


def test_an_animation_reads_back():
    frames = [np.full((8, 8, 3), v, np.uint8) for v in (0, 255)]
    content = visualization.animation(frames)
    with Image.open(io.BytesIO(content)) as gif:
        assert gif.n_frames >= 2
        assert gif.size == (8, 8)


def test_samples_need_a_prior():
    with pytest.raises(ValueError, match="no prior"):
        visualization.samples(testing.tiny_model("autoencoder"))
    picture = visualization.samples(testing.tiny_model("beta_vae"), count=4)
    again = visualization.samples(testing.tiny_model("beta_vae"), count=4)
    assert picture.shape == again.shape
