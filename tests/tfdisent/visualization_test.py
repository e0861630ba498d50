"""Pictures hold the pixels that the models gave."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdisent import distributions
from tfdisent import testing
from tfdisent import visualization
from tfdisent.models import base
from tfdisent.structure import Structure

GAP, PADDING = visualization.GAP, visualization.PADDING


class Palette(base.PartsModel):
    """Images of one colour; the parts are its channels, exactly."""

    def __init__(self, side=4):
        super().__init__((side, side, 3))
        self.built = True

    @property
    def parts(self):
        return {"warm": (2,), "blue": (1,)}

    @property
    def units(self):
        return base.whole_parts(self.parts)

    def encode(self, image):
        colour = np.asarray(image)[:, 0, 0]
        return {"warm": colour[:, :2], "blue": colour[:, 2:]}

    def decode(self, warm, blue):
        colour = np.concatenate([warm, blue], axis=-1)[:, None, None]
        side = self.image_shape[0]
        return np.broadcast_to(colour, (len(colour), side, side, 3))


class Plugged(Palette):
    """A backbone whose own reconstruction is a negative."""

    backbone = "any"

    def codes(self, image):
        return image

    def decode_codes(self, z):
        return 1 - z


@pytest.fixture
def palette():
    return Palette()


def plain(*colours, side=4):
    """Images of one colour each, float32 `[N, side, side, 3]`."""
    colours = np.asarray(colours, np.float32)[:, None, None]
    return np.broadcast_to(colours, (len(colours), side, side, 3)).copy()


def cells(picture, rows, columns, side):
    """Pixels of a grid in the lower right corner, `[rows, columns, 3]`.

    Every cell must have one colour.
    """
    picture = picture[:-GAP, :-GAP]
    pitch = side + PADDING
    grid = np.zeros((rows, columns, 3), int)
    for row in range(rows):
        for column in range(columns):
            bottom = len(picture) - (rows - 1 - row) * pitch
            right = picture.shape[1] - (columns - 1 - column) * pitch
            cell = picture[bottom - side : bottom, right - side : right]
            assert (cell == cell[0, 0]).all()
            grid[row, column] = cell[0, 0]
    return grid


# ---- arrays ----------------------------------------------------------------


def test_to_pixels_rounds_clips_and_repeats_grey():
    grey = np.array([-1, 0, 0.5, 1, 2, np.nan]).reshape(1, 6, 1)
    pixels = visualization.to_pixels(grey)
    assert pixels.dtype == np.uint8
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]
    assert (pixels == pixels[..., :1]).all()


def test_to_pixels_keeps_uint8():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(visualization.to_pixels(image), image)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (4, 4, 4)])
def test_to_pixels_refuses_other_channels(shape):
    with pytest.raises(ValueError, match="Received shape"):
        visualization.to_pixels(np.zeros(shape))


def test_tile_places_every_pixel():
    images = np.array([10, 20, 30], np.uint8).reshape(3, 1, 1, 1)
    sheet = visualization.tile(images, columns=2, padding=1, zoom=2)
    expected = [
        [10, 10, 255, 20, 20],
        [10, 10, 255, 20, 20],
        [255, 255, 255, 255, 255],
        [30, 30, 255, 255, 255],
        [30, 30, 255, 255, 255],
    ]
    assert sheet.dtype == np.uint8
    for channel in range(3):
        assert sheet[..., channel].tolist() == expected


def test_tile_without_padding_is_the_images():
    images = testing.random_images((3, 5, 3), count=4)
    sheet = visualization.tile(images, columns=4, padding=0)
    expected = np.concatenate(list(visualization.to_pixels(images)), axis=1)
    np.testing.assert_array_equal(sheet, expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"images": np.zeros((0, 2, 2, 1))},
        {"images": np.zeros((2, 2, 1))},
        {"columns": 0},
        {"zoom": 0},
    ],
)
def test_tile_refuses(arguments):
    given = {"images": np.zeros((1, 2, 2, 1)), "columns": 1} | arguments
    with pytest.raises(ValueError, match="tile needs"):
        visualization.tile(**given)


def test_zoom_is_whole_and_stays_in_view():
    assert visualization.zoom_to_fit(10, 100) == 9
    assert visualization.zoom_to_fit(650, 100) == 2
    assert visualization.zoom_to_fit(5000, 5000) == 1


def test_stack_and_beside_align():
    black = np.zeros((1, 1, 3), np.uint8)
    wide = np.zeros((1, 3, 3), np.uint8)
    stacked = visualization.stack([black, wide], gap=1, across=1)
    assert stacked[..., 0].tolist() == [[255, 255, 0], [255] * 3, [0, 0, 0]]
    joined = visualization.beside([black, wide.swapaxes(0, 1)], gap=1, down=1)
    assert joined[..., 0].tolist() == [
        [255, 255, 0],
        [255, 255, 0],
        [0, 255, 0],
    ]


def test_text_is_of_equal_height_and_dark_on_white():
    short, tall = visualization.text("a"), visualization.text("Agj[0]")
    assert short.shape[0] == tall.shape[0]
    assert short.shape[1] < tall.shape[1]
    assert tall.max() == 255 and tall.min() < 128


# ---- models ----------------------------------------------------------------


def test_encode_and_decode_do_not_depend_on_batches(palette, monkeypatch):
    images = plain(*np.random.default_rng(0).random((7, 3)))
    monkeypatch.setattr(visualization, "BATCH", 3)
    parts = visualization.encode(palette, images)
    assert parts["warm"].shape == (7, 2)
    np.testing.assert_array_equal(visualization.decode(palette, parts), images)


def test_whole_units_are_those_that_are_parts(palette):
    assert visualization.whole_units(testing.tiny_model("beta_vae")) == []
    assert visualization.whole_units(palette) == ["warm", "blue"]


def test_reconstructions_stand_below_their_images(palette):
    images = plain((1, 0, 0), (0, 1, 0), (0, 0, 1))
    picture = visualization.reconstructions(palette, images)
    side = 4 * visualization.zoom_to_fit(2 * 4, 3 * 4)
    colours = (255 * np.eye(3)).astype(int)
    np.testing.assert_array_equal(cells(picture, 2, 3, side), [colours] * 2)


def test_samples_follow_seed_and_number():
    model = testing.tiny_model("beta_vae")
    four = visualization.samples(model, seed=1, count=4, columns=2)
    six = visualization.samples(model, seed=1, count=6, columns=2)
    zoom = [visualization.zoom_to_fit(rows * 32, 64) for rows in (2, 3)]
    for picture, rows, factor in zip((four, six), (2, 3), zoom, strict=True):
        size = 32 * factor + PADDING
        assert picture.shape == (rows * size - 2, 2 * size - 2, 3)
    first = [
        picture[::factor, ::factor][:32, :32].astype(int)
        for picture, factor in zip((four, six), zoom, strict=True)
    ]
    # float32 sums of another batch may round to the next of 256 values.
    assert np.abs(first[0] - first[1]).max() <= 1


def test_samples_need_a_prior(palette):
    with pytest.raises(ValueError, match="Palette has no prior"):
        visualization.samples(palette)


# ---- traversals ------------------------------------------------------------


def test_traversal_passes_through_the_reconstruction(palette):
    start = visualization.encode(palette, plain((0.2, 0.4, 0.6)))
    for steps in (3, 7):
        for strip in visualization.traverse(palette, start, steps=steps):
            for images in strip.images:
                np.testing.assert_array_equal(
                    images[steps // 2], plain((0.2, 0.4, 0.6))[0]
                )


def test_traversal_moves_one_entry_to_its_ends(palette):
    start = visualization.encode(palette, plain((0.2, 0.4, 0.6)))
    warm, blue = visualization.traverse(palette, start, steps=5, span=1)
    assert (warm.part, warm.entries) == ("warm", [0, 1])
    colours = warm.images[1, :, 0, 0]
    np.testing.assert_allclose(colours[:, 1], [-1, -0.3, 0.4, 0.7, 1], 1e-6)
    np.testing.assert_array_equal(colours[:, 0], np.float32([0.2] * 5))
    np.testing.assert_array_equal(colours[:, 2], np.float32([0.6] * 5))
    np.testing.assert_allclose(
        blue.images[0, :, 0, 0, 2], [-1, -0.2, 0.6, 0.8, 1], 1e-6
    )


def test_a_given_span_is_where_every_entry_ends(palette):
    """The picture's headings say so, of an entry beyond it, too."""
    start = visualization.encode(palette, plain((0.5, 0.5, 2.0)))
    _, blue = visualization.traverse(palette, start, steps=5, span=1)
    np.testing.assert_allclose(
        blue.images[0, :, 0, 0, 2], [-1, 0.5, 2, 1.5, 1], 1e-6
    )


def test_traversal_takes_its_range_from_codes(palette):
    start = visualization.encode(palette, plain((0.5, 0.5, 2.0)))
    line = np.linspace(0, 1, 101)[:, None]
    codes = {"warm": np.hstack([line, line / 2]), "blue": line}
    warm, blue = visualization.traverse(palette, start, codes, most=1)
    assert warm.entries == [0]
    ends = warm.images[0, [0, -1], 0, 0, 0]
    np.testing.assert_allclose(ends, [0.02, 0.98], 1e-5)
    # An image outside the range of the codes is its own end.
    assert blue.images[0, -1, 0, 0, 2] == 2


def test_traversal_takes_the_widest_or_the_given_entries(palette):
    codes = {"warm": np.array([[0, 1], [0, 2]]), "blue": np.zeros((2, 1))}
    widest = visualization.widest_entries(palette, codes, most=1)
    assert {n: e.tolist() for n, e in widest.items()} == {
        "warm": [1],
        "blue": [0],
    }
    start = visualization.encode(palette, plain((0, 0, 0)))
    given = {"warm": [1, 0]}
    (strip,) = visualization.traverse(palette, start, dimensions=given)
    assert strip.entries == [1, 0]


def test_traversal_draws_what_it_traversed(palette):
    start = visualization.encode(palette, plain((0.2, 0.4, 0.6)))
    picture = visualization.traversal(palette, start, steps=3, span=1)
    side = 4 * visualization.zoom_to_fit(3 * 4, 3 * 4)
    (blue,) = cells(picture, 1, 3, side)
    assert blue.tolist() == [[51, 102, 0], [51, 102, 153], [51, 102, 255]]
    # Parts stand a gap apart, with a bracket each, open to the right.
    column = (picture[:, :, 0] == visualization.INK).sum(axis=0).argmax()
    dark = np.flatnonzero(picture[:, column, 0] == visualization.INK)
    assert len(dark) == 3 * side + PADDING
    assert np.diff(dark).max() == GAP + 1


def test_many_rows_go_into_columns():
    def strip(name, count):
        return visualization.Strip(name, list(range(count)), None)

    def names(*lengths):
        strips = [strip(str(n), n) for n in lengths]
        columns = visualization._columns_of(strips)
        return [[len(s.entries) for s in column] for column in columns]

    assert names(10) == [[10]]
    assert names(3, 3, 3) == [[3, 3, 3]]
    assert names(16, 16) == [[16], [16]]
    assert names(10, 10, 10, 10) == [[10, 10], [10, 10]]


def test_traversal_refuses(palette):
    start = visualization.encode(palette, plain((0, 0, 0)))
    with pytest.raises(ValueError, match="at least 2"):
        visualization.traverse(palette, start, steps=1)


def test_frames_go_there_and_back_and_make_a_gif(palette):
    start = visualization.encode(palette, plain((0.2, 0.4, 0.6)))
    frames = visualization.traversal_frames(palette, start, steps=4, span=1)
    assert len(frames) == 6
    np.testing.assert_array_equal(frames[1], frames[5])
    assert (frames[0] != frames[3]).any()
    gif = Image.open(io.BytesIO(visualization.animation(frames)))
    assert gif.n_frames == 6
    assert gif.size == frames.shape[2:0:-1]


def test_cells_of_frames_have_their_names(palette):
    start = visualization.encode(palette, plain((0.2, 0.4, 0.6)))
    strips = visualization.traverse(palette, start, steps=3)
    plain_cells = visualization._cells(strips[0], 0, 2, zoom=10)
    assert strips[0].labels == ["0", "1"]
    named = strips[0]._replace(labels=["hair", "1"])
    changed = np.any(visualization._cells(named, 0, 2, 10) != plain_cells, -1)
    rows, columns = np.nonzero(changed)
    line = len(visualization.text("hair"))
    assert rows.max() < line and columns.max() < 10 * 4


def test_categories_are_one_hot_whatever_the_code(palette):
    palette.categorical = frozenset({"warm"})
    parts = visualization.encode(palette, plain((0.2, 0.4, 0.6)))
    assert set(visualization.widest_entries(palette)) == {"blue"}
    picture = visualization.categories(palette, parts, "warm")
    # One row a category: red, then green, both with the blue of the code.
    colours = {tuple(c) for c in picture.reshape(-1, 3)}
    assert {(255, 0, 153), (0, 255, 153)} <= colours
    assert (51, 102, 153) not in colours


class Grey(base.PartsModel):
    """Images of one grey; three codes in two groups, known posteriors."""

    parts = {"z": (3,)}
    units = base.single_entries("z", 3)
    groups = {"late": ("z", [0]), "early": ("z", [1, 2])}

    def __init__(self):
        super().__init__((4, 4, 1))
        self.built = True

    def encode(self, image):
        level = np.asarray(image)[:, 0, 0]
        return {"z": np.concatenate([level, 2 * level, 0 * level], axis=-1)}

    def decode(self, z):
        level = np.sum(np.asarray(z) * [0.1, 0.2, 0.4], axis=-1)
        return np.broadcast_to(
            level[:, None, None, None], (len(level), 4, 4, 1)
        )

    def posterior(self, image):
        mean = self.encode(image)["z"]
        spread = np.float32([0.5, 0.1, 1.0])
        return {"z": distributions.diagonal_normal(mean, np.log(spread))}


@pytest.fixture
def grey():
    return Grey()


def greys(*levels):
    return np.float32(levels)[:, None, None, None] * np.ones((4, 4, 1))


def test_kl_of_every_entry_is_the_closed_form(grey):
    images = greys(0.0, 1.0)
    moments = visualization.posterior_moments(grey, images)
    np.testing.assert_allclose(moments["z"][0], [[0, 0, 0], [1, 2, 0]])
    np.testing.assert_allclose(moments["z"][1], [[0.5, 0.1, 1]] * 2, 1e-6)
    kl = visualization.kl_by_entry(moments)["z"]
    np.testing.assert_allclose(
        kl,
        [
            0.25 + (0.25 - 1) / 2 - np.log(0.5),
            1 + (0.01 - 1) / 2 - np.log(0.1),
            0,
        ],
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="Palette has no posterior"):
        visualization.posterior_moments(Palette(), plain((0, 0, 0)))


def test_entries_stand_in_groups_by_kl_and_dead_ones_are_folded(grey):
    start, kl = grey.encode(greys(0.5)), {"z": np.array([0.001, 0.2, 3.0])}
    late, early = visualization.traverse(grey, start, span=1, kl=kl)
    assert (late.name, late.entries, late.folded) == ("late", [], 1)
    assert (early.name, early.entries, early.folded) == ("early", [2, 1], 0)
    assert early.labels == ["2  3.00", "1  0.20"]
    # Entry 2 has twice the weight of entry 1.
    way = early.images[..., 0, 0, 0]
    np.testing.assert_allclose(way[0, -1] - way[0, 3], 0.4, atol=1e-6)
    np.testing.assert_allclose(way[1, -1] - way[1, 3], 0.0, atol=1e-6)
    picture = visualization.traversal(grey, start, span=1, kl=kl)
    assert picture.dtype == np.uint8
    frames = visualization.traversal_frames(grey, start, steps=3, kl=kl)
    assert len(frames) == 4
    # Nothing is folded where nothing lives.
    dead = visualization.traverse(grey, start, kl={"z": np.zeros(3)})
    assert [s.entries for s in dead] == [[0], [1, 2]]


def test_every_entry_that_lives_is_shown_however_many_there_are():
    model = testing.tiny_model("beta_vae", latent_dim=20)
    kl = np.full(20, 0.001)
    kl[[0, 18, 19]] = 1, 3, 2
    start = visualization.prior_code(model)
    # Without codes the first 16 would be the widest.
    (strip,) = visualization.traverse(model, start, steps=2, kl={"z": kl})
    assert strip.entries == [18, 19, 0] and strip.folded == 17
    (strip,) = visualization.traverse(
        model, start, steps=2, most=2, kl={"z": kl}
    )
    assert strip.entries == [18, 19] and strip.folded == 17
    # 20 alive: a run's pictures have 16, the command all.
    kl += 1
    for most, count in ((16, 16), (None, 20)):
        (strip,) = visualization.traverse(
            model, start, steps=2, most=most, kl={"z": kl}
        )
        assert len(strip.entries) == count


def test_prior_code():
    vae = testing.tiny_model("vlae")
    mean = visualization.prior_code(vae)
    assert {n: c.shape for n, c in mean.items()} == {
        n: (1, 2) for n in ("z1", "z2", "z3")
    }
    assert not any(np.any(code) for code in mean.values())


def test_models_stand_side_by_side(grey):
    images = greys(0.5, 0.0, 1.0)
    alone = visualization.compared_traversals({"a": grey}, images, steps=3)
    both = visualization.compared_traversals(
        {"a": grey, "b": grey}, images, steps=3
    )
    width = alone.shape[1] - 2 * GAP
    assert both.shape[1] == 2 * width + 4 * GAP
    np.testing.assert_array_equal(
        both[:, GAP : GAP + width], alone[:, GAP:-GAP]
    )
    # Four are two rows of two.
    four = visualization.compared_traversals(
        dict.fromkeys("abcd", grey), images, steps=3
    )
    assert four.shape[1] == both.shape[1]
    height = both.shape[0] - 2 * GAP
    assert four.shape[0] == 2 * height + 4 * GAP
    from_prior = visualization.compared_traversals(
        {"a": grey}, images, steps=3, start=visualization.prior_code
    )
    assert np.any(from_prior != alone)


# ---- levels ----------------------------------------------------------------


def test_draws_of_a_level_hold_the_others(grey):
    start = grey.encode(greys(0.5))
    draws = visualization.level_draws(grey, start, 2000, seed=1)
    late, early = (draws[n][:, 0, 0, 0] for n in ("late", "early"))
    # z = (0.5, 1, 0): what is held, and the spread of what is drawn.
    np.testing.assert_allclose(late.mean(), 0.2, atol=0.01)
    np.testing.assert_allclose(late.std(), 0.1, atol=0.01)
    np.testing.assert_allclose(early.mean(), 0.05, atol=0.05)
    np.testing.assert_allclose(early.std(), np.hypot(0.2, 0.4), atol=0.03)
    grids = visualization.level_grids(grey, start, side=2)
    assert grids.dtype == np.uint8 and grids.shape[2] == 3


def test_bars_are_as_long_as_the_information(grey):
    information = {
        "groups": {"late": np.log(100), "early": np.log(100) / 4},
        "total": 4.0,
        "overlap": 1.756,
        "images": 100,
    }
    picture = visualization.information_rows(
        grey, grey.encode(greys(0.5)), information, columns=3
    )
    green = (picture == visualization.GREEN).all(-1)
    lengths = green.sum(axis=1)
    lengths = lengths[lengths > 0]
    # The level learned first, here the last group, stands above.
    half = visualization.GAP
    # I_over is the last.
    full = visualization.BAR
    assert lengths.tolist() == [30] * half + [full] * half + [46] * half
    # No "-0.00", which an estimate a little below nothing would give.
    none, less = (visualization._bar("I", n, 1.0) for n in (0.0, -0.001))
    np.testing.assert_array_equal(less, none)


# ---- mixing ----------------------------------------------------------------


def test_swap_grid_takes_one_unit_from_the_column(palette):
    sources, targets = plain((0, 0, 0), (1, 1, 1)), plain((0.2, 0.4, 0.6))
    picture = visualization.swap_grid(palette, sources, targets, ["blue"])
    side = 4 * visualization.zoom_to_fit(3 * 4, 2 * 4)
    assert cells(picture, 2, 1, side)[:, 0].tolist() == [
        [0, 0, 153],
        [255, 255, 153],
    ]


def test_swap_grid_draws_every_whole_unit(palette):
    sources = plain((0, 0, 0), (1, 1, 1))
    one = visualization.swap_grid(palette, sources, sources, ["blue"])
    both = visualization.swap_grid(palette, sources, sources)
    assert both.shape[1] > one.shape[1] // 2
    side = 4 * visualization.zoom_to_fit(3 * 4, 2 * 3 * 4)
    assert cells(both, 2, 2, side)[0].tolist() == [[0, 0, 0], [0, 0, 255]]


def test_interpolation_ends_at_both_images(palette):
    first, second = plain((0, 0, 0), (1, 1, 1))
    picture = visualization.interpolation(palette, first, second, steps=3)
    side = 4 * visualization.zoom_to_fit(3 * 4, 5 * 4)
    # The second image stands a gap to the right of the way.
    way = cells(picture[:, : -GAP - side], 3, 3, side)
    assert way[:, 0].tolist() == [[0, 0, 0]] * 3
    assert way[:, 2].tolist() == [[255] * 3, [255, 255, 0], [0, 0, 255]]
    assert way[0, 1].tolist() == [128] * 3


def test_translation_grid_has_the_papers_places(palette):
    first, second = plain((0, 0, 0), (1, 0, 0)), plain((1, 1, 1), (0, 1, 0))
    picture = visualization.translation_grid(palette, first, second)
    side = 4 * visualization.zoom_to_fit(2 * 3 * 4, 7 * 4)
    pair_height = 3 * side + 2 * PADDING + GAP
    above = cells(picture[:-pair_height], 3, 7, side)
    below = cells(picture, 3, 7, side)
    white = [255] * 3
    assert above[0].tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 128],
        [0, 0, 255],
        white,
        white,
    ]
    assert above[1, 3].tolist() == [128] * 3
    assert above[:, 2].tolist() == [[0, 0, 0], [128, 128, 0], [255, 255, 0]]
    assert (above[1:, :2] == 255).all() and (above[:2, 5:] == 255).all()
    assert below[0, :3].tolist() == [[255, 0, 0]] * 3
    assert below[2, 4:].tolist() == [[0, 255, 0]] * 3


def test_translation_grid_shows_the_backbones_reconstruction():
    first, second = plain((1, 0, 0)), plain((0, 0, 1))
    picture = visualization.translation_grid(Plugged(), first, second)
    side = 4 * visualization.zoom_to_fit(3 * 4, 7 * 4)
    grid = cells(picture, 3, 7, side)
    assert grid[0, :3].tolist() == [[255, 0, 0], [0, 255, 255], [255, 0, 0]]
    assert grid[2, 4:].tolist() == [[0, 0, 255], [255, 255, 0], [0, 0, 255]]


def test_translation_grid_of_fden_ends_at_its_reconstructions():
    model = testing.tiny_model("fden")
    first = testing.random_images((32, 32, 1), count=1, seed=1)
    second = testing.random_images((32, 32, 1), count=1, seed=2)
    picture = visualization.translation_grid(model, first, second)
    zoom = visualization.zoom_to_fit(3 * 32, 7 * 32)
    pitch = 32 * zoom + PADDING
    grid = picture[-(3 * pitch) + PADDING - GAP : -GAP]
    grid = grid[:, -(7 * pitch) + PADDING - GAP : -GAP]
    for image, place in ((first, (0, 2)), (second, (2, 4))):
        top, left = (number * pitch for number in place)
        cell = grid[top : top + pitch - PADDING, left : left + pitch - PADDING]
        decoded = model.decode(**model.encode(image))
        expected = visualization.to_pixels(decoded)[0].astype(int)
        assert np.abs(cell[::zoom, ::zoom] - expected).max() <= 1


def test_translation_grid_needs_two_units():
    model = testing.tiny_model("autoencoder")
    images = testing.random_images((32, 32, 1), count=1)
    with pytest.raises(ValueError, match="two units"):
        visualization.translation_grid(model, images, images)


# ---- maps ------------------------------------------------------------------


def test_tsne_is_a_function_of_codes_and_separates_classes():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 10)
    codes = rng.normal(size=(20, 5)) + 20 * labels[:, None]
    picture = visualization.tsne(codes, labels, "identity", side=300)
    assert picture.shape == (300, 300, 3) and picture.dtype == np.uint8
    again = visualization.tsne(codes, labels, "identity", side=300)
    np.testing.assert_array_equal(picture, again)
    blue = (picture == (31, 119, 180)).all(-1)
    orange = (picture == (255, 127, 14)).all(-1)
    assert blue.sum() > 100 and orange.sum() > 100


def test_tsne_of_parts_stand_side_by_side():
    codes = {"a": np.eye(6), "b": np.arange(6)[:, None]}
    picture = visualization.tsne_of_parts(codes, np.arange(6))
    assert picture.shape == (480, 2 * 480 + GAP, 3)


def test_tsne_refuses_too_few():
    with pytest.raises(ValueError, match="needs 4 codes"):
        visualization.tsne(np.eye(3), np.arange(3))


# ---- traversals of several classes ------------------------------------------


class Labelled(Palette):
    """Colours that a label may be given for; it changes nothing."""

    takes_label = True

    def encode(self, image, label):
        assert len(label) == len(image)
        return super().encode(image)


@pytest.mark.parametrize("by", ["entry", "class"])
def test_class_traversal_holds_every_value(by):
    model = Labelled(side=40)
    images = plain([0.2, 0.4, 0.6], [0.8, 0.0, 1.0], side=40)
    picture = visualization.class_traversal(
        model, images, [3, 7], "warm", by=by, steps=3, span=1.0
    )
    red = np.argwhere(np.all(picture == visualization.RED, axis=-1))
    green = np.argwhere(np.all(picture == visualization.GREEN, axis=-1))
    assert len(red) == len(green) > 0
    top, left = red.min(axis=0)
    # Cells and their boxes, and the gap between original and reconstruction.
    pitch = green[:, 1].min() - left - GAP
    assert (pitch - 2 * visualization.BOX) % 40 == 0

    def colour(row, column):
        gaps = GAP * min(column, 2)
        across = left + pitch // 2 + column * pitch + gaps
        return picture[top + pitch // 2 + row * pitch, across]

    def pixel(red, green, blue):
        return visualization.to_pixels(
            np.full((1, 1, 3), [red, green, blue], np.float32)
        )[0, 0]

    np.testing.assert_array_equal(colour(0, 0), pixel(0.2, 0.4, 0.6))
    np.testing.assert_array_equal(colour(0, 1), pixel(0.2, 0.4, 0.6))
    # The first entry goes from -span (clipped) over 0 to span.
    for column, value in ((2, 0.0), (3, 0.0), (4, 1.0)):
        np.testing.assert_array_equal(colour(0, column), pixel(value, 0.4, 0.6))
    if by == "entry":
        np.testing.assert_array_equal(colour(1, 0), pixel(0.8, 0.0, 1.0))
        np.testing.assert_array_equal(colour(1, 4), pixel(1.0, 0.0, 1.0))
    else:
        np.testing.assert_array_equal(colour(1, 0), pixel(0.2, 0.4, 0.6))
        np.testing.assert_array_equal(colour(1, 4), pixel(0.2, 1.0, 0.6))


def test_class_traversal_refuses_another_layout():
    with pytest.raises(ValueError, match="'rows'"):
        visualization.class_traversal(
            Labelled(), plain([0, 0, 0]), [0], "warm", by="rows"
        )


# ---- hierarchies -------------------------------------------------------------


def levels_model():
    """Two units: the left and the right half of a grey 4x4 image."""
    return Halves((4, 4, 1))


class Halves(base.PartsModel):
    @property
    def parts(self):
        return {"root": (4, 2, 1), "level2": (8,)}

    @property
    def units(self):
        return base.whole_parts(self.parts)

    def encode(self, image):
        right = tf.reshape(image[:, :, 2:], [-1, 8])
        return {"root": image[:, :, :2], "level2": right}

    def decode(self, root, level2):
        return tf.concat([root, tf.reshape(level2, [-1, 4, 2, 1])], axis=2)


def test_subset_grid_takes_every_subset_from_the_target():
    model = levels_model()
    black, white = np.zeros((1, 4, 4, 1)), np.ones((1, 4, 4, 1))
    grid = visualization.subset_grid(
        model, black.astype(np.float32), white.astype(np.float32)
    )
    zoom = visualization.zoom_to_fit(4, 5 * 4)
    # The last row of cells, from the bottom: frame, then 4 zoom pixels.
    row = grid[-visualization.GAP - 2 * zoom]
    cells = row[visualization.GAP :]
    side = 4 * zoom
    starts = [0, side + 8, 2 * side + 10, 3 * side + 12, 4 * side + 20]
    seen = [
        (cells[start + zoom, 0], cells[start + 3 * zoom, 0]) for start in starts
    ]
    # Source, root, level2, both, target; left and right half.
    assert seen == [(0, 0), (255, 0), (0, 255), (255, 255), (255, 255)]


def test_exchanged_rows():
    model = levels_model()
    first = np.zeros((3, 4, 4, 1), np.float32)
    second = np.ones((3, 4, 4, 1), np.float32)
    picture = visualization.exchanged(model, first, second, ["level2"])
    zoom = visualization.zoom_to_fit(16, 24)
    bottom = len(picture) - visualization.GAP
    right = picture.shape[1] - visualization.GAP
    height = 4 * zoom + visualization.PADDING
    seen = [
        (
            picture[bottom - row * height - zoom, right - 3 * zoom, 0],
            picture[bottom - row * height - zoom, right - zoom, 0],
        )
        for row in (3, 2, 1, 0)
    ]
    assert seen == [(0, 0), (255, 255), (0, 255), (255, 0)]


def test_retrieved_images_are_framed_by_their_truth():
    grey = np.full((2, 3, 4, 4, 1), 0.5, np.float32)
    right = np.array([[True, False, True], [False, False, True]])
    picture = visualization.retrieved(
        grey[:, 0], {"level2": (grey, right), "all": (grey, None)}
    )
    green = np.all(picture == visualization.GREEN, axis=-1).sum()
    red = np.all(picture == visualization.RED, axis=-1).sum()
    assert green == red > 0
    plain = visualization.retrieved(grey[:, 0], {"all": (grey, None)})
    assert not np.any(np.all(plain == visualization.RED, axis=-1))


def test_category_tree_shows_every_leaf_once():
    names = (("a", "b"), ("a/1", "a/2", "b/1"))
    paths = np.array([[0, 0], [0, 1], [1, 2]])
    shades = {
        leaf: np.full((2, 4, 4, 1), 60 * (leaf + 1), np.uint8)
        for leaf in range(3)
    }
    picture = visualization.category_tree(names, paths, shades)
    zoom = visualization.zoom_to_fit(12, 16)
    for leaf in range(3):
        area = np.all(picture == 60 * (leaf + 1), axis=-1).sum()
        # Ink of the letters has other greys, or few pixels of these.
        assert area == pytest.approx(2 * (4 * zoom) ** 2, rel=0.01)
    many = {leaf: shades[0] for leaf in range(60)}
    paths = np.stack([np.arange(60) // 30, np.arange(60)], axis=1)
    names = (("a", "b"), tuple(f"{n}" for n in range(60)))
    fewer = visualization.category_tree(names, paths, many)
    assert fewer.shape[0] <= visualization.HEIGHT + 200


def test_titled_pictures_stand_side_by_side():
    one, two = np.zeros((5, 40, 3), np.uint8), np.ones((9, 60, 3), np.uint8)
    picture = visualization.titled({"a": one, "b": two})
    line = visualization.text("a").shape[0]
    assert picture.shape == (line + GAP + 9, 40 + 2 * GAP + 60, 3)
    np.testing.assert_array_equal(
        picture[line + GAP : line + GAP + 5, :40], one
    )
    np.testing.assert_array_equal(picture[line + GAP :, 40 + 2 * GAP :], two)


# ---- structures --------------------------------------------------------------


def test_places_follow_the_depth_and_stand_under_their_parents():
    graph = Structure.named("f", num_latents=6)
    places = visualization._places(graph, {1, 2, 3, 4, 5})
    assert {n: y for n, (_, y) in places.items()} == {
        1: 1,
        2: 1,
        4: 1,
        3: 0.5,
        5: 0,
    }
    assert len(set(places.values())) == 5
    hair = Structure.parse("hair=colour+length", 3)
    assert visualization._places(hair, {1, 2, 3})[1] == (0.5, 0)


def ink(picture, start, end):
    """Dark pixels near the middle of a line between two places in [0, 1]."""
    side = len(picture)
    middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
    # The axes begin a tenth above the bottom and reach .1 beyond [0, 1].
    column = round(side * middle[0])
    row = round(side * 0.9 * (1 - (middle[1] + 0.1) / 1.2))
    return np.sum(picture[row - 4 : row + 5, column - 4 : column + 5] < 128)


def test_every_edge_of_a_structure_is_drawn_and_ends_in_an_arrow():
    size = {"num_latents": 4}
    both = Structure.parse("1->3,2->4", **size)
    places = visualization._places(both, {1, 2, 3, 4})
    picture = visualization.structure(both)
    for parent, child in both.edges:
        assert ink(picture, places[parent], places[child]) > 10
    # 1 is not its parent.
    assert ink(picture, places[1], places[4]) == 0
    # The same two places; the head is at the other end.
    for edge in ("1->2", "2->1"):
        one = visualization.structure(Structure.parse(edge, **size))
        dark = np.argwhere((one < 128).all(axis=-1))
        # Between the boxes, of which the child's is below.
        rows = dark[abs(dark[:, 1] - 240) < 12][:, 0]
        rows, counts = np.unique(
            rows[(rows > 45) & (rows < 380)], return_counts=True
        )
        # The widest rows of an arrow are those of its head.
        assert rows[np.argmax(counts)] > 340


def test_an_edge_goes_around_what_stands_between():
    chain = visualization.structure(Structure.parse("1->2,2->3", 3))
    around = visualization.structure(Structure.parse("1->2,2->3,1->3", 3))
    beside = np.argwhere(np.any(chain != around, axis=-1))
    # At the height of the middle one, well beside its box.
    level = beside[abs(beside[:, 0] - 216) < 20]
    assert len(level) and np.all(abs(level[:, 1] - 240) > 40)


def test_long_names_do_not_overlap():
    names = [f"quality{n}" for n in "abcde"]
    graph = Structure.parse(f"all={'+'.join(names)}", 6)
    picture = visualization.structure(graph)
    # White between the boxes of the first row.
    row = picture[30:50].min(axis=(0, 2))
    assert np.sum(np.diff((row > 250).astype(int)) == 1) >= 5


def test_the_picture_of_a_structure():
    graph = Structure.named("d", num_latents=4)
    picture = visualization.structure(graph, side=200)
    assert picture.shape == (200, 200, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(
        picture, visualization.structure(graph, side=200)
    )
    # The arrows of another structure are elsewhere, names are names.
    others = [
        Structure.parse("3->1,3->2", 4),
        Structure.parse("hair=colour+length", 4),
        Structure.parse("", 4),
    ]
    for other in others:
        drawn = visualization.structure(other, side=200)
        assert np.any(drawn != picture)


def test_rows_of_a_traversal_have_the_structures_names():
    class Named(Palette):
        parts = {"z": (3,)}
        units = base.single_entries("z", 3)
        graph = Structure.parse("hair=colour+length", 3)

        def encode(self, image):
            return {"z": np.asarray(image)[:, 0, 0]}

        def decode(self, z):
            colour = np.asarray(z)[:, None, None]
            return np.broadcast_to(colour, (len(z), 4, 4, 3))

    model = Named()
    start = model.encode(plain((0.1, 0.2, 0.3)))
    (strip,) = visualization.traverse(model, start, dimensions={"z": [0, 2]})
    assert strip.labels == ["hair", "length"]
    assert visualization.entry_names(Palette(), "warm") == ["0", "1"]


def shades(picture):
    """Colours of a matrix's cells, as they come: uint8 `[n, 3]`."""
    colours, counts = np.unique(
        picture.reshape(-1, 3), axis=0, return_counts=True
    )
    # Cells are larger than anything else but the white around them.
    large = (counts > 800) & (colours.sum(axis=1) < 3 * 255)
    return colours[large]


def test_a_matrix_is_darker_where_it_is_larger():
    values = np.array([[0.2, 0.9], [0.5, 0.7]])
    picture = visualization.matrix(values, ["z[0]", "z[1]"], ["a", "b"])
    found = shades(picture)
    assert len(found) == 4
    light = np.sort(found.astype(int).sum(axis=1))
    assert np.all(np.diff(light) > 50)
    # The darkest is where the largest is: on the right, above.
    dark = np.argmin(found.astype(int).sum(axis=1))
    rows, columns = np.nonzero((picture == found[dark]).all(axis=-1))
    assert columns.min() > picture.shape[1] / 2
    assert rows.mean() < picture.shape[0] / 2
    again = visualization.matrix(values, ["z[0]", "z[1]"], ["a", "b"])
    np.testing.assert_array_equal(picture, again)


def test_of_many_codes_the_largest_are_drawn():
    rng = np.random.default_rng(0)
    values = 0.1 * rng.random((60, 2))
    shown = rng.permutation(60)[: visualization.MATRIX_ROWS]
    values[shown] += 0.5
    names = np.array([f"z[{i}]" for i in range(60)])
    title = "share"
    order = np.sort(shown)
    np.testing.assert_array_equal(
        visualization.matrix(values, names, ["a", "b"], title),
        visualization.matrix(
            values[order], names[order], ["a", "b"], "share, 40 of 60 codes"
        ),
    )


def test_scatter_has_a_colour_a_group():
    points = {
        "first": [(1.0, 0.2, "beta=1"), (2.0, 0.3, "beta=4")],
        "second": [(1.5, 0.5, "")],
    }
    picture = visualization.scatter(points, "error", "score", side=300)
    assert picture.shape == (300, 300, 3)
    blue, orange = (31, 119, 180), (255, 127, 14)
    for colour, least in ((blue, 60), (orange, 30)):
        assert np.sum((picture == colour).all(axis=-1)) > least
    # The second group's point is the highest.
    (high, _), (low, _) = (
        np.argwhere((picture[:, 60:] == c).all(axis=-1)).mean(axis=0)
        for c in (orange, blue)
    )
    assert high < low


def test_words_of_a_scatter_take_no_room_and_stay_inside():
    def drawn(word):
        points = {"only": [(0.0, 0.0, ""), (1.0, 1.0, word)]}
        return visualization.scatter(points, "error", "score", side=300)

    bare, short, long = (drawn(word) for word in ("", "ab", "ab" * 9))
    blue = [np.argwhere((p == (31, 119, 180)).all(-1)) for p in (bare, long)]
    # Where the points are; what a word covers is covered.
    assert len(blue[1]) > 0.8 * len(blue[0])
    assert {*map(tuple, blue[1])} <= {*map(tuple, blue[0])}
    # Of a point to the right it is written to the left.
    ink = [np.argwhere((p != bare).any(axis=-1))[:, 1] for p in (short, long)]
    assert ink[1].max() <= ink[0].max() + 1
    assert ink[1].min() < ink[0].min() - 40


def test_words_of_a_scatter_have_their_groups_colour_and_keep_apart():
    """Of two points side by side, the words do not overlap."""

    def ink(**words):
        points = {
            name: [(0.0, 0.0, ""), (x, 1.0, words.get(name, ""))]
            for name, x in (("left", 0.5), ("right", 0.52))
        }
        return visualization.scatter(points, "error", "score", side=300)

    bare, left, both = (
        ink(),
        ink(left="beta=4"),
        ink(left="beta=4", right="beta=8"),
    )
    first = np.argwhere((left != bare).any(axis=-1))
    second = np.argwhere((both != left).any(axis=-1))
    assert len(first) > 20
    assert len(second) > 20
    apart = [
        first[:, axis].max() < second[:, axis].min()
        or second[:, axis].max() < first[:, axis].min()
        for axis in (0, 1)
    ]
    assert any(apart)
    # Orange letters have more red than blue, blue ones less.
    for places, colour in ((first, -1), (second, 1)):
        letters = both[places[:, 0], places[:, 1]].astype(int).mean(axis=0)
        assert np.sign(letters[0] - letters[2]) == colour


def test_curves_rise_from_left_to_right():
    lines = {"up": [(0, 0.0), (10, 1.0)], "level": [(0, 0.5), (10, 0.5)]}
    picture = visualization.curves(lines, "step", "score", side=300)
    assert picture.shape == (300, 300, 3)
    blue = np.argwhere((picture == (31, 119, 180)).all(axis=-1))
    blue = blue[blue[:, 0] > 40]  # Below the legend.
    left, right = (blue[blue[:, 1] < 90], blue[blue[:, 1] > 220])
    assert right[:, 0].mean() < left[:, 0].mean() - 50
    orange = np.argwhere((picture == (255, 127, 14)).all(axis=-1))
    assert np.ptp(orange[orange[:, 0] > 40][:, 0]) < 5
    # One value so far is a point, not nothing.
    point = visualization.curves({"a": [(1, 0.5)]}, "step", "score", side=300)
    assert np.sum((point == (31, 119, 180)).all(axis=-1)) > 8


def test_png_is_lossless():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Image.open(io.BytesIO(visualization.png(picture))) as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
