"""Pictures of what the parts of a model do: uint8 `[H, W, 3]` arrays.

Everything follows from the contract of `tfdisent.models.base`, nothing is
written anywhere. Images given are float `[B, H, W, C]` in [0, 1] or uint8,
grey or RGB; small ones are enlarged by whole factors, so that a pixel of the
model stays a sharp square.

```python
parts = visualization.encode(model, image[None])
picture = visualization.traversal(model, parts)
```
"""

import functools
import io
import math
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from tfdisent.data import pipeline
from tfdisent.metrics.aggregated_posterior import DEAD
from tfdisent.metrics.aggregated_posterior import kl_by_code

# Pictures are enlarged while they stay within this; larger images are not cut.
WIDTH, HEIGHT = 960, 1300
PADDING = 2
# Between groups of cells, and between cells and what is written beside them.
GAP = 8
WHITE, INK = 255, 70
FONT_SIZE = 13
# Right and wrong, reconstruction and original (ClassVAE's figures).
GREEN, RED = (0, 150, 60), (215, 40, 40)
# Pixels of a box around an image, and of a frame that says right or wrong.
BOX, FRAME = 2, 3
# Rows of a traversal after which its parts go into another column.
ROWS = 20
# Codes or images that go through a model at once.
BATCH = 128
# Share of the codes left out at either end of a data-driven traversal.
TAIL = 0.02
# Fewer codes have no neighbourhoods to map.
TSNE_LEAST = 4
# A bar of mutual information at its longest.
BAR = 120
# Pictures under titles in one row.
ABREAST = 3
# Codes of a matrix; more would be a blur.
MATRIX_ROWS = 40

# ---- arrays ------------------------------------------------------------------


def to_pixels(images):
    """Images as uint8 RGB; what is not a number becomes black.

    Args:
      images: uint8, or float in [0, 1] (clipped), `[..., H, W, 1 or 3]`.

    Returns:
      uint8 `[..., H, W, 3]`.

    Raises:
      ValueError: another number of channels.
    """
    images = np.asarray(images)
    if images.ndim < 3 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "images must be [..., height, width, 1 or 3]. Received shape "
            f"{images.shape}."
        )
    if images.dtype != np.uint8:
        images = np.nan_to_num(images.astype(np.float32)).clip(0, 1)
        images = np.round(255 * images).astype(np.uint8)
    return np.repeat(images, 3 // images.shape[-1], axis=-1)


def tile(images, columns, padding=PADDING, zoom=1):
    """Images side by side, row by row, white between them, none around.

    Args:
      images: `[N, H, W, 1 or 3]`, N at least 1, as `to_pixels` takes them.
      columns: images a row; what is left of the last row is white.
      padding: pixels between images, of the picture.
      zoom: factor by which every image is enlarged, at least 1.

    Returns:
      uint8 `[rows (zoom H + padding) - padding, columns (zoom W + padding) -
      padding, 3]`.

    Raises:
      ValueError: no images, fewer than one column, or a zoom below 1.
    """
    images = to_pixels(images)
    if images.ndim != 4 or not len(images) or columns < 1 or zoom < 1:
        raise ValueError(
            "tile needs images [N >= 1, H, W, C], columns >= 1 and zoom >= 1. "
            f"Received: shape {images.shape}, columns={columns}, zoom={zoom}."
        )
    images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    cells = np.full(
        (rows * columns, height + padding, width + padding, 3), WHITE, np.uint8
    )
    cells[:count, :height, :width] = images
    height, width = cells.shape[1:3]
    sheet = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, 3)
    return sheet[: rows * height - padding, : columns * width - padding]


def zoom_to_fit(height, width):
    """The largest whole factor that keeps a picture of this size in view."""
    return max(1, min(HEIGHT // height, WIDTH // width))


def place(picture, height, width, down=0.5, across=0.5):
    """A picture on white canvas; what does not fit is cut off.

    Args:
      picture: uint8 `[h, w, 3]`.
      height, width: of the canvas.
      down, across: where the white goes; 0 puts the picture at the top and
        left, 1 at the bottom and right.

    Returns:
      uint8 `[height, width, 3]`.
    """
    picture = picture[:height, :width]
    canvas = np.full((height, width, 3), WHITE, np.uint8)
    top = round(down * (height - picture.shape[0]))
    left = round(across * (width - picture.shape[1]))
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = (
        picture
    )
    return canvas


def stack(pictures, gap=GAP, across=0.0):
    """Pictures below each other, `gap` white pixels between them."""
    width = max(p.shape[1] for p in pictures)
    rows = []
    for picture in pictures:
        rows.append(np.full((gap, width, 3), WHITE, np.uint8))
        rows.append(place(picture, len(picture), width, across=across))
    return np.concatenate(rows[1:])


def beside(pictures, gap=GAP, down=0.0):
    """Pictures next to each other, `gap` white pixels between them."""
    turned = [p.swapaxes(0, 1) for p in pictures]
    return stack(turned, gap, across=down).swapaxes(0, 1)


def titled(pictures):
    """Pictures next to each other, each under its title.

    Args:
      pictures: {title: uint8 `[h, w, 3]`}; more than `ABREAST` take several
        rows, as even as can be.

    Returns:
      uint8 `[H', W', 3]`.
    """
    panels = [stack([text(title), p]) for title, p in pictures.items()]
    rows = math.ceil(len(panels) / ABREAST)
    columns = math.ceil(len(panels) / rows)
    return stack(
        [
            beside(panels[first : first + columns], 2 * GAP)
            for first in range(0, len(panels), columns)
        ],
        2 * GAP,
    )


def framed(picture):
    """A picture with `GAP` white pixels around it."""
    around = ((GAP, GAP), (GAP, GAP), (0, 0))
    return np.pad(picture, around, constant_values=WHITE)


# ---- text --------------------------------------------------------------------


@functools.cache
def _font():
    return ImageFont.load_default(FONT_SIZE)


def text(string):
    """A line of text, uint8 `[line height, w, 3]`; every line equally high."""
    font = _font()
    width = max(1, int(np.ceil(font.getlength(string))))
    canvas = Image.new("L", (width, sum(font.getmetrics())), WHITE)
    ImageDraw.Draw(canvas).text((0, 0), string, fill=INK, font=font)
    return to_pixels(np.asarray(canvas)[..., None])


def _headings(strings, width, padding=PADDING):
    """Texts centred over columns of this width."""
    lines = [text(s) for s in strings]
    return beside([place(t, len(t), width) for t in lines], padding)


def _row_names(strings, height, padding=PADDING, least=0):
    """Texts to the left of rows of this height, `least` pixels wide or more."""
    lines = [text(s) for s in strings]
    width = max(least, *(t.shape[1] for t in lines))
    return stack([place(t, height, width, across=1) for t in lines], padding)


def _bracket(height):
    """A bracket open to the right, uint8 `[height, 6, 3]`."""
    bracket = np.full((height, 6, 3), WHITE, np.uint8)
    bracket[:, 0] = bracket[0] = bracket[-1] = INK
    return bracket


def _bracketed(name, rows, width):
    """Rows with a bracket and a name `width` pixels wide on their left."""
    height = len(rows)
    name = place(text(name), height, width, across=1)
    return beside([name, _bracket(height), rows], GAP // 2)


# ---- models ------------------------------------------------------------------


def encode(model, images, labels=None):
    """Parts of images, encoded in small batches.

    Args:
      model: a `PartsModel`.
      images: `[B, H, W, C]`, float in [0, 1] or uint8.
      labels: int `[B]`, used where the model `takes_label`.

    Returns:
      {part: float32 `[B, *shape]`} as NumPy arrays.
    """
    images = pipeline.to_float(images)
    batches = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        given = (np.asarray(labels)[rows],) if model.takes_label else ()
        batches.append(model.encode(images[rows], *given))
    return {
        part: np.concatenate([np.asarray(b[part], np.float32) for b in batches])
        for part in model.parts
    }


def decode(model, parts):
    """Images `[B, H, W, C]` of {part: `[B, *shape]`}, in small batches."""
    count = len(next(iter(parts.values())))
    batches = [
        model.decode(**{n: p[s : s + BATCH] for n, p in parts.items()})
        for s in range(0, count, BATCH)
    ]
    return np.concatenate([np.asarray(b, np.float32) for b in batches])


def whole_units(model):
    """Names of the units that are parts, not single entries of one."""
    return [
        name
        for name, references in model.units.items()
        if all(reference in model.parts for reference in references)
    ]


def _mixed(model, source, target, weights):
    """Images of mixed parts; `weights` is `[B, len(units)]`."""
    mixed = model.mix(source, target, np.asarray(weights, np.float32))
    return decode(model, {n: np.asarray(p) for n, p in mixed.items()})


def _repeat(parts, count):
    return {n: np.repeat(part, count, axis=0) for n, part in parts.items()}


# ---- reconstructions and samples ---------------------------------------------


def reconstructions(model, images, labels=None, columns=10):
    """Images above, what the model makes of them below.

    Args:
      model: a `PartsModel`.
      images: `[N, H, W, C]`.
      labels: int `[N]`, where the model `takes_label`.
      columns: images a row.

    Returns:
      uint8 `[H', W', 3]`.
    """
    restored = decode(model, encode(model, images, labels))
    columns = min(columns, len(images))
    height, width = images.shape[1:3]
    blocks = -(-len(images) // columns)
    zoom = zoom_to_fit(2 * blocks * height, columns * width)
    names = _row_names(["input", "decoded"], zoom * height)
    pairs = []
    for start in range(0, len(images), columns):
        rows = slice(start, start + columns)
        pair = [tile(i[rows], columns, zoom=zoom) for i in (images, restored)]
        pairs.append(beside([names, stack(pair, PADDING)]))
    return framed(stack(pairs))


def samples(model, seed=0, count=64, columns=8):
    """Images from the prior.

    Args:
      model: a `PartsModel` with `sample`.
      seed: int; image i follows (seed, i) alone.
      count, columns: how many images, in all and a row.

    Returns:
      uint8 `[H', W', 3]`.

    Raises:
      ValueError: the model has no prior.
    """
    if model.sample is None:
        raise ValueError(f"{type(model).__name__} has no prior to sample.")
    seeds = np.stack([np.full(count, seed), np.arange(count)], axis=1)
    seeds = seeds.astype(np.int32)
    images = np.concatenate(
        [
            np.asarray(model.sample(seeds[s : s + BATCH]), np.float32)
            for s in range(0, count, BATCH)
        ]
    )
    columns = min(columns, count)
    height, width = images.shape[1:3]
    zoom = zoom_to_fit(-(-count // columns) * height, columns * width)
    return tile(images, columns, zoom=zoom)


# ---- traversals --------------------------------------------------------------


class Strip(NamedTuple):
    """Traversed entries of one group of codes.

    Attributes:
      part: the name of their part.
      entries: their numbers in the part, `[n]`.
      images: float32 `[n, steps, H, W, C]`.
      name: of the group, the part's where empty.
      labels: what stands beside the rows, the entries' numbers where empty.
      folded: how many entries of the group are dead and not shown.
    """

    part: str
    entries: list
    images: np.ndarray
    name: str = ""
    labels: tuple = ()
    folded: int = 0


def posterior_moments(model, images, labels=None):
    """Means and standard deviations of every part's posterior.

    Args:
      model: a `PartsModel` with `posterior`.
      images: `[N, H, W, C]`, float in [0, 1] or uint8.
      labels: int `[N]`, where the model `takes_label`.

    Returns:
      {part: (means `[N, d]`, stddevs `[N, d]`)}, float32.

    Raises:
      ValueError: the model has no posterior.
    """
    if model.posterior is None:
        raise ValueError(f"{type(model).__name__} has no posterior.")
    images, moments = pipeline.to_float(images), {}
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        given = (np.asarray(labels)[rows],) if model.takes_label else ()
        for part, q in model.posterior(images[rows], *given).items():
            pair = np.asarray(q.mean()), np.asarray(q.stddev())
            moments.setdefault(part, []).append(pair)
    return {
        part: tuple(np.concatenate(side) for side in zip(*pairs, strict=True))
        for part, pairs in moments.items()
    }


def kl_by_entry(moments):
    """{part: float `[d]`}: mean KL from N(0, 1) of every entry, nats.

    Args:
      moments: as `posterior_moments` gives them.
    """
    return {part: kl_by_code(*pair) for part, pair in moments.items()}


def prior_code(model):
    """The mean of a standard normal prior, {part: float32 `[1, d]`}."""
    return {
        part: np.zeros((1, *shape), np.float32)
        for part, shape in model.parts.items()
    }


def widest_entries(model, codes=None, most=16):
    """The entries to traverse, of every part of rank 1.

    Args:
      model: a `PartsModel`.
      codes: {part: `[N, n]`}; the entries that vary most are taken. None
        takes the first ones.
      most: entries a part.

    Returns:
      {part: int `[n]`}, in ascending order.
    """
    chosen = {}
    for part, shape in model.parts.items():
        if len(shape) != 1 or part in model.categorical:
            continue
        spread = np.zeros(shape) if codes is None else np.std(codes[part], 0)
        order = np.argsort(-spread, kind="stable")
        chosen[part] = np.sort(order[:most])
    return chosen


def traverse(
    model,
    start,
    codes=None,
    steps=7,
    span=None,
    most=16,
    dimensions=None,
    kl=None,
):
    """Moves one entry of the code at a time, everything else held.

    The way leads from the low end over the entry as it is to the high end,
    so with an odd number of steps the middle is the unchanged reconstruction.

    Args:
      model: a `PartsModel`.
      start: parts of one image, {part: `[1, *shape]`}.
      codes: parts of many images, {part: `[N, *shape]`}: they say which
        entries vary, and how far.
      steps: images an entry, at least 2.
      span: the ends are -span and span, for an entry beyond them, too; None
        takes nearly the range of `codes`, or 2.5 standard deviations of a
        normal prior without them.
      most: entries a part, or all when None.
      dimensions: {part: entries}, in place of the widest ones.
      kl: {part: `[n]`}, as `kl_by_entry` gives it: it says which entries there
        are to see, and they come in its order, the largest first; those below
        `DEAD` are folded.

    Returns:
      A list of `Strip`, one a group of the model's `groups`.

    Raises:
      ValueError: fewer than 2 steps, or no part of rank 1.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2. Received: {steps}")
    chosen = dimensions or widest_entries(model, codes, most)
    if kl is not None and not dimensions:
        live = {p: n for p, n in kl.items() if p in chosen and max(n) >= DEAD}
        chosen |= {part: _told(nats, most) for part, nats in live.items()}
    if not chosen:
        raise ValueError(f"No part of {model.parts} is a code of numbers.")
    strips = []
    for name, part, entries, folded in _shown_entries(model, chosen, kl):
        names = entry_names(model, part)
        labels = [names[entry] for entry in entries]
        if kl is not None and part in kl:
            labels = [f"{names[e]}  {kl[part][e]:.2f}" for e in entries]
        images = np.zeros((0, steps, *model.image_shape), np.float32)
        if entries:
            way = _way(
                start[part][0, entries],
                None if codes is None else codes[part][:, entries],
                steps,
                span,
            )
            moved = _repeat(start, len(entries) * steps)
            rows = np.arange(len(entries) * steps)
            moved[part][rows, np.repeat(entries, steps)] = way.ravel()
            images = decode(model, moved)
            images = images.reshape(len(entries), steps, *images.shape[1:])
        strips.append(Strip(part, entries, images, name, labels, folded))
    return strips


def _told(nats, most):
    """The entries that tell most, and all that are dead, ascending."""
    order = np.argsort(-nats, kind="stable")
    live = order[nats[order] >= DEAD]
    return np.sort(np.concatenate([live[:most], np.flatnonzero(nats < DEAD)]))


def entry_names(model, part):
    """What the entries of a part are called: numbers, or a graph's names."""
    if model.graph is not None and part == "z":
        return list(model.graph.names)
    return [str(entry) for entry in range(model.parts[part][0])]


def _shown_entries(model, chosen, kl):
    """`(group, part, entries, how many are folded)`, in the model's order."""
    rows = []
    for name, (part, members) in model.groups.items():
        if part not in chosen:
            continue
        entries = [int(e) for e in chosen[part] if e in members]
        live = entries
        if kl is not None and part in kl:
            live = [e for e in entries if kl[part][e] >= DEAD]
            live.sort(key=lambda e: -kl[part][e])  # noqa: B023
        rows.append((name, part, live, len(entries) - len(live)))
    if any(live for _, _, live, _ in rows):
        return rows
    # Where all are dead, there is nothing better to look at.
    return _shown_entries(model, chosen, None)


def _way(value, codes, steps, span):
    """Values of entries on their way, `[n, steps]`; see `traverse`."""
    if span is None and codes is not None:
        low, high = np.quantile(codes, (TAIL, 1 - TAIL), axis=0)
    else:
        reach = 2.5 if span is None else span
        low, high = np.full_like(value, -reach), np.full_like(value, reach)
    if span is None:
        # Beyond the range, the entry itself is the end.
        low, high = np.minimum(low, value), np.maximum(high, value)
    position = np.linspace(-1, 1, steps)
    ends = np.where(position < 0, low[:, None], high[:, None])
    return value[:, None] + np.abs(position) * (ends - value[:, None])


def traversal(model, start, codes=None, steps=7, span=None, **options):
    """The picture of a traversal: a row an entry, a bracket a group.

    Args:
      model: a `PartsModel`.
      start, codes, steps, span, **options: as `traverse` takes them.

    Returns:
      uint8 `[H', W', 3]`.
    """
    strips = traverse(model, start, codes, steps, span, **options)
    ends = ("low", "high") if span is None else (f"{-span:g}", f"{span:g}")
    heads = [""] * steps
    heads[0], heads[-1] = ends
    if steps % 2:
        heads[steps // 2] = "as is"
    columns = _columns_of(strips)
    rows = max(_rows_of(column) for column in columns)
    height, width = strips[0].images.shape[2:4]
    zoom = zoom_to_fit(rows * height, len(columns) * steps * width)
    top = _headings(heads, zoom * width)
    panels = [
        stack([top, *_groups(column, zoom, steps)], across=1)
        for column in columns
    ]
    return framed(beside(panels, 4 * GAP))


def _rows_of(strips):
    return sum(max(1, len(strip.entries)) for strip in strips)


def _columns_of(strips):
    """Strips spread over as many columns as a picture of `ROWS` rows needs."""
    lengths = np.array([_rows_of([strip]) for strip in strips])
    count = min(len(strips), -(-int(lengths.sum()) // ROWS))
    middles = np.cumsum(lengths) - lengths / 2
    owner = (middles * count / lengths.sum()).astype(int)
    columns = [
        [strips[i] for i in np.flatnonzero(owner == c)] for c in range(count)
    ]
    return [column for column in columns if column]


def _groups(strips, zoom, columns):
    """Named and bracketed rows of every strip."""
    names = [strip.name or strip.part for strip in strips]
    width = max(text(name).shape[1] for name in names)
    labels = [s.labels or [str(entry) for entry in s.entries] for s in strips]
    widths = [text(line).shape[1] for lines in labels for line in lines]
    least = max(widths, default=0)
    groups = []
    for name, strip, lines in zip(names, strips, labels, strict=True):
        rows = []
        if strip.entries:
            images = strip.images.reshape(-1, *strip.images.shape[2:])
            numbers = _row_names(lines, zoom * images.shape[1], least=least)
            sheet = tile(images, columns, zoom=zoom)
            rows.append(beside([numbers, sheet], GAP // 2))
        if strip.folded:
            rows.append(text(f"{strip.folded} with a KL below {DEAD:g} nats"))
        # As wide as the groups with images, so that all brackets align.
        across = columns * (zoom * strip.images.shape[3] + PADDING) - PADDING
        across += least + GAP // 2
        rows = [place(row, len(row), across, across=0) for row in rows]
        groups.append(_bracketed(name, stack(rows), width))
    return groups


def traversal_frames(model, start, codes=None, steps=13, span=None, **options):
    """A traversal as moving pictures: every entry a cell, there and back.

    Args:
      model: a `PartsModel`.
      start, codes, steps, span, **options: as `traverse` takes them.

    Returns:
      uint8 `[2 steps - 2, H', W', 3]`, for `animation`.
    """
    strips = traverse(model, start, codes, steps, span, **options)
    strips = [strip for strip in strips if strip.entries]
    height, width = strips[0].images.shape[2:4]
    columns = min(8, max(len(s.entries) for s in strips))
    rows = sum(-(-len(s.entries) // columns) for s in strips)
    zoom = zoom_to_fit(rows * height, columns * width)
    names = [strip.name or strip.part for strip in strips]
    name_width = max(text(name).shape[1] for name in names)
    frames = []
    for step in range(steps):
        groups = [
            _bracketed(name, _cells(strip, step, columns, zoom), name_width)
            for name, strip in zip(names, strips, strict=True)
        ]
        frames.append(framed(stack(groups)))
    return np.stack(frames + frames[-2:0:-1])


def _cells(strip, step, columns, zoom):
    """One step of all entries of a strip, each under its name."""
    labels = strip.labels or [str(entry) for entry in strip.entries]
    width = zoom * strip.images.shape[3]
    rows = []
    for first in range(0, len(labels), columns):
        cells = slice(first, first + columns)
        sheet = tile(strip.images[cells, step], columns, zoom=zoom)
        heads = _headings(labels[cells], width)
        rows.append(stack([heads, sheet], 0))
    return stack(rows, PADDING)


def explained_traversal(
    model, images, steps=9, span=2.5, start=None, draw=traversal
):
    """A traversal of every entry, by KL, the dead ones folded.

    Args:
      model: a `PartsModel`; without `posterior`, entries come as they are.
      images: `[N, H, W, C]`: all tell every entry's KL, the first is
        traversed.
      steps, span: see `traverse`.
      start: `model -> parts` to traverse instead, such as `prior_code`.
      draw: `traversal` or `traversal_frames`.

    Returns:
      What `draw` gives.
    """
    images = pipeline.fit_images(images, model.image_shape).numpy()
    parts = start(model) if start else encode(model, images[:1])
    kl = None
    if model.posterior is not None:
        kl = kl_by_entry(posterior_moments(model, images))
    return draw(model, parts, steps=steps, span=span, kl=kl, most=None)


def compared_traversals(models, images, **options):
    """pro-VLAE's figure 4: the traversals of several models side by side.

    Args:
      models: {title: a `PartsModel`}.
      images, **options: as `explained_traversal` takes them.

    Returns:
      uint8 `[H', W', 3]`.
    """
    pictures = {
        title: explained_traversal(model, images, **options)
        for title, model in models.items()
    }
    return framed(titled(pictures))


def categories(model, parts, part):
    """Codes with every category in turn: a row a category, a column a code.

    Args:
      model: a `PartsModel`.
      parts: {part: `[N, *shape]`}, codes of N images.
      part: one of the model's `categorical` parts, whose entries are held at
        one and zero.

    Returns:
      uint8 `[H', W', 3]`.
    """
    (count,) = model.parts[part]
    columns = len(parts[part])
    every = {
        n: np.tile(p, (count, *[1] * (p.ndim - 1))) for n, p in parts.items()
    }
    every[part] = np.repeat(np.eye(count, dtype=np.float32), columns, axis=0)
    images = decode(model, every)
    height, width = images.shape[1:3]
    zoom = zoom_to_fit(count * height, columns * width)
    numbers = _row_names([str(n) for n in range(count)], zoom * height)
    sheet = beside([numbers, tile(images, columns, zoom=zoom)], GAP // 2)
    return framed(_bracketed(part, sheet, text(part).shape[1]))


# ---- levels ------------------------------------------------------------------


def level_draws(model, start, count, seed=0):
    """Images of one group's codes drawn from the prior, the others held.

    Args:
      model: a `PartsModel` whose prior is standard normal.
      start: parts of one image, {part: `[1, *shape]`}.
      count: images a group.
      seed: int.

    Returns:
      {group: float32 `[count, H, W, C]`}.
    """
    rng = np.random.default_rng(seed)
    images = {}
    for name, (part, entries) in model.groups.items():
        codes = _repeat(start, count)
        codes[part][:, entries] = rng.standard_normal((count, len(entries)))
        images[name] = decode(model, codes)
    return images


def level_grids(model, start, side=8, seed=0):
    """pro-VLAE's figure 6: a grid of draws a level, the deepest first.

    Args:
      model, start, seed: as `level_draws` takes them.
      side: images along a grid.

    Returns:
      uint8 `[H', W', 3]`.
    """
    draws = level_draws(model, start, side * side, seed)
    height, width = model.image_shape[:2]
    zoom = zoom_to_fit(side * height, len(draws) * side * width)
    panels = [
        stack([text(f"{name} drawn, the rest held"), tile(i, side, zoom=zoom)])
        for name, i in reversed(draws.items())
    ]
    return framed(beside(panels, 2 * GAP))


def information_rows(model, start, information, columns=10, seed=0):
    """pro-VLAE's figure 5: draws of every level and what it tells of x.

    In the paper bars are of I(x; z_l) alone; here I_over has one, too.

    Args:
      model, start, seed: as `level_draws` takes them.
      information: {"groups": {group: I(x; z_l)}, "total": I(x; z),
        "overlap": I_over, "images": N}, nats; log N bounds each.
      columns: images a level.

    Returns:
      uint8 `[H', W', 3]`: a row a level, the deepest first, its information
      as a bar whose full length is log N; below, a bar of I_over.
    """
    draws = level_draws(model, start, columns, seed)
    height, width = model.image_shape[:2]
    zoom = zoom_to_fit(len(draws) * height, columns * width)
    limit = np.log(information["images"])
    rows = []
    for name, images in reversed(draws.items()):
        nats = information["groups"][name]
        row = tile(images, columns, zoom=zoom)
        bar = _bar(f"I(x; {name})", nats, limit, len(row))
        rows.append(beside([bar, row]))
    rows.append(_bar("I_over", information["overlap"], limit))
    title = text(
        f"I(x; z) = {information['total']:.2f} nats; at most {limit:.2f} from "
        f"{information['images']:,} images"
    )
    return framed(stack([title, *rows]))


def _bar(quantity, nats, limit, height=0):
    """Nats as a number and a bar, on a canvas of at least this height."""
    # Estimates of nothing may be a little below 0: no "-0.00".
    line = text(f"{quantity} = {round(nats, 2) + 0.0:.2f}")
    bar = np.full((GAP, BAR, 3), WHITE, np.uint8)
    bar[0] = bar[-1] = bar[:, 0] = bar[:, -1] = INK
    bar[:, : round(BAR * min(1.0, max(0.0, nats / limit)))] = GREEN
    beneath = stack([line, bar], GAP // 2)
    width = max(beneath.shape[1], text("I(x; student 9) = 99.99").shape[1])
    return place(beneath, max(height, len(beneath)), width, across=1)


def png(picture):
    """A picture as a PNG file: uint8 `[H, W, 3]` -> bytes."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def animation(frames, milliseconds=90):
    """Frames as an endless GIF.

    Args:
      frames: uint8 `[T, H, W, 3]`.
      milliseconds: how long each is shown.

    Returns:
      bytes of the file.
    """
    images = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    images[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=milliseconds,
        loop=0,
    )
    return file.getvalue()


# ---- traversals of several classes ------------------------------------------


def class_traversal(
    model,
    images,
    labels,
    part,
    entries=None,
    by="entry",
    steps=11,
    span=5.0,
):
    """ClassVAE's figures 2 to 7: what entries of a code do to every class.

    Every entry takes `steps` values from -span to span, everything else stays
    at the posterior mean. Before each row stand the image, boxed red, and its
    reconstruction, boxed green.

    Args:
      model: a `PartsModel` that `takes_label`.
      images: `[N, H, W, C]`, one a class.
      labels: int `[N]`.
      part: the code's name.
      entries: their numbers; all when None.
      by: `"entry"`, a panel an entry with a row a class (figures 3, 6, 7), or
        `"class"`, a panel a class with a row an entry (figures 2, 4, 5).
      steps: images a row.
      span: the ends are -span and span.

    Returns:
      uint8 `[H', W', 3]`.

    Raises:
      ValueError: another `by`.
    """
    if by not in ("entry", "class"):
        raise ValueError(f"by must be 'entry' or 'class'. Received: {by!r}")
    if entries is None:
        entries = np.arange(model.parts[part][0])
    start = encode(model, images, labels)
    restored = decode(model, start)
    # Image, then entry, then step: the last moves fastest.
    moved = _repeat(start, len(entries) * steps)
    entry = np.tile(np.repeat(entries, steps), len(images))
    values = np.tile(
        np.linspace(-span, span, steps), len(images) * len(entries)
    )
    moved[part][np.arange(len(entry)), entry] = values
    cells = decode(model, moved)
    cells = cells.reshape(len(images), len(entries), steps, *cells.shape[1:])
    classes = [f"class {label}" for label in labels]
    numbers = [f"{part} {number}" for number in entries]
    heads, names = (numbers, classes) if by == "entry" else (classes, numbers)
    rows = len(names)
    height, width = images.shape[1] + 2 * BOX, images.shape[2] + 2 * BOX
    across = max(1, min(len(heads), WIDTH // ((steps + 2) * width)))
    down = -(-len(heads) // across)
    zoom = zoom_to_fit(down * (rows + 1) * height, across * (steps + 2) * width)
    panels = []
    for number, head in enumerate(heads):
        shown = slice(None) if by == "entry" else [number] * rows
        strips = cells[:, number] if by == "entry" else cells[number]
        panel = [
            _row_names(names, zoom * images.shape[1] + 2 * BOX, 0),
            _boxes(images[shown], RED, zoom),
            _boxes(restored[shown], GREEN, zoom),
            np.pad(
                tile(
                    strips.reshape(-1, *strips.shape[2:]), steps, 2 * BOX, zoom
                ),
                ((BOX, BOX), (0, 0), (0, 0)),
                constant_values=WHITE,
            ),
        ]
        panels.append(stack([text(head), beside(panel)]))
    return framed(
        stack(
            [
                beside(panels[first : first + across], 2 * GAP)
                for first in range(0, len(panels), across)
            ],
            2 * GAP,
        )
    )


def _boxes(images, colour, zoom):
    """Images below each other, each in a box of this colour."""
    cells = to_pixels(images).repeat(zoom, axis=1).repeat(zoom, axis=2)
    count, height, width, _ = cells.shape
    boxes = np.empty((count, height + 2 * BOX, width + 2 * BOX, 3), np.uint8)
    boxes[:] = colour
    boxes[:, BOX:-BOX, BOX:-BOX] = cells
    return boxes.reshape(-1, *boxes.shape[2:])


# ---- mixing two images -------------------------------------------------------


def swap_grid(
    model, sources, targets, units=None, source_labels=None, target_labels=None
):
    """Every source with a unit of every target, a grid a unit.

    Args:
      model: a `PartsModel`.
      sources: `[S, H, W, C]`, the rows.
      targets: `[T, H, W, C]`, the columns.
      units: names; None takes those that are whole parts, or the first 8
        where there are none.
      source_labels, target_labels: where the model `takes_label`.

    Returns:
      uint8 `[H', W', 3]`.
    """
    names = list(model.units)
    units = units or whole_units(model) or names[:8]
    rows, columns = len(sources), len(targets)
    # Cell i, j at row i T + j: source i, target j.
    first = _repeat(encode(model, sources, source_labels), columns)
    second = encode(model, targets, target_labels)
    second = {n: np.concatenate([p] * rows) for n, p in second.items()}
    height, width = sources.shape[1:3]
    across = int(np.ceil(np.sqrt(len(units))))
    down = -(-len(units) // across)
    zoom = zoom_to_fit(
        down * (rows + 1) * height, across * (columns + 1) * width
    )
    top = tile(targets, columns, zoom=zoom)
    left = tile(sources, 1, zoom=zoom)
    corner = place(top[:0], zoom * height, zoom * width)
    panels = []
    for unit in units:
        mix = np.zeros((rows * columns, len(names)))
        mix[:, names.index(unit)] = 1
        cells = _mixed(model, first, second, mix)
        body = tile(cells, columns, zoom=zoom)
        panels.append(
            stack(
                [
                    text(f"{unit} from the top, the rest from the left"),
                    beside([corner, top]),
                    beside([left, body]),
                ]
            )
        )
    lines = [
        beside(panels[start : start + across], 4 * GAP)
        for start in range(0, len(panels), across)
    ]
    return framed(stack(lines, 3 * GAP))


def interpolation(
    model,
    first,
    second,
    steps=9,
    units=None,
    first_label=None,
    second_label=None,
):
    """From one image to another, all units together and each alone.

    Args:
      model: a `PartsModel`.
      first, second: one image each, `[H, W, C]`.
      steps: decoded images a row, ends included.
      units: names of units that get a row of their own; None takes those that
        are whole parts, where there are several.
      first_label, second_label: ints, where the model `takes_label`.

    Returns:
      uint8 `[H', W', 3]`: `first`, the way, `second` in every row.
    """
    names = list(model.units)
    whole = whole_units(model)
    units = units or (whole if len(whole) > 1 else [])
    moving = [np.ones(len(names))]
    moving += [np.eye(len(names))[names.index(unit)] for unit in units]
    weights = np.linspace(0, 1, steps)[:, None]
    mix = np.concatenate([weights * direction for direction in moving])
    source = encode(model, first[None], [first_label])
    target = encode(model, second[None], [second_label])
    count = len(mix)
    cells = _mixed(model, _repeat(source, count), _repeat(target, count), mix)
    height, width = first.shape[:2]
    rows = len(moving)
    zoom = zoom_to_fit(rows * height, (steps + 2) * width)
    row = [
        _row_names(["all", *units], zoom * height),
        tile(np.stack([first] * rows), 1, zoom=zoom),
        tile(cells, steps, zoom=zoom),
        tile(np.stack([second] * rows), 1, zoom=zoom),
    ]
    return framed(beside(row))


def translation_grid(
    model,
    first,
    second,
    weights=(0, 0.5, 1),
    first_labels=None,
    second_labels=None,
):
    """FDEN's figures 4-8: both factors interpolated between two images.

    For a pair A, B: A and its reconstruction at the top left, the grid of
    mixtures with the first unit going from A to B downwards and the second to
    the right, B and its reconstruction at the bottom right. The
    reconstructions are the backbone's own where the model has one.

    Args:
      model: a `PartsModel` of two units.
      first, second: `[N, H, W, C]`, A and B of every pair.
      weights: what B contributes, along either side of the grid.
      first_labels, second_labels: where the model `takes_label`.

    Returns:
      uint8 `[H', W', 3]`, the pairs below each other.

    Raises:
      ValueError: the model has not exactly two units.
    """
    if len(model.units) != 2:
        raise ValueError(
            "A translation grid needs a model of two units. Received: "
            f"{list(model.units)}"
        )
    side = len(weights)
    source = encode(model, first, first_labels)
    target = encode(model, second, second_labels)
    mix = [(down, right) for down in weights for right in weights]
    cells = _mixed(
        model,
        _repeat(source, side**2),
        _repeat(target, side**2),
        mix * len(first),
    )
    cells = cells.reshape(len(first), side, side, *cells.shape[1:])
    plain_first = _plain(model, first, source)
    plain_second = _plain(model, second, target)
    height, width = cells.shape[3:5]
    zoom = zoom_to_fit(len(first) * side * height, (side + 4) * width)
    numbers = [f"{weight:g}" for weight in weights]
    names = _row_names(numbers, zoom * height)
    pictures = []
    for pair, grid in enumerate(cells):
        blank = np.full_like(grid[:, :1], 1.0)
        left, right = np.repeat(blank, 2, 1), np.repeat(blank, 2, 1)
        left[0] = pipeline.to_float(first[pair]), plain_first[pair]
        right[-1] = plain_second[pair], pipeline.to_float(second[pair])
        sheet = np.concatenate([left, grid, right], axis=1)
        sheet = sheet.reshape(-1, *sheet.shape[2:])
        sheet = tile(sheet, side + 4, zoom=zoom)
        pictures.append(beside([names, sheet]))
    down, across = model.units
    plain = "backbone" if _has_backbone(model) else "decoded"
    heads = ["A", plain, *numbers, plain, "B"]
    top = _headings(heads, zoom * width)
    title = text(f"share of B: {down} down, {across} to the right")
    title = place(title, len(title), top.shape[1])
    return framed(stack([title, top, *pictures], across=1))


def _has_backbone(model):
    return getattr(model, "backbone", None) is not None


def _plain(model, images, parts):
    """Reconstructions by the backbone alone, where there is one."""
    if not _has_backbone(model):
        return decode(model, parts)
    return np.concatenate(
        [
            np.asarray(model.decode_codes(model.codes(batch)), np.float32)
            for batch in np.split(
                pipeline.to_float(images), range(BATCH, len(images), BATCH)
            )
        ]
    )


# ---- structures --------------------------------------------------------------


def structure(graph, side=480):
    """A graph over latents: what they are made of above, they below.

    Args:
      graph: a `tfdisent.structure.Structure`.
      side: of the picture, in pixels.

    Returns:
      uint8 `[side, side, 3]`; latents without edges are named below.
    """
    linked = {number for edge in graph.edges for number in edge}
    alone = [
        name
        for number, name in enumerate(graph.names, 1)
        if number not in linked
    ]
    figure = Figure(figsize=(side / 100, side / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0.1, 1, 0.9))
    places = _places(graph, linked)
    depths = graph.depths()
    for parent, child in graph.edges:
        # Around what stands between.
        bend = 0.3 * (depths[child] - depths[parent] > 1)
        axes.annotate(
            "",
            xy=places[child],
            xytext=places[parent],
            arrowprops={
                "arrowstyle": "-|>",
                "connectionstyle": f"arc3,rad={bend}",
                "color": "0.3",
                "lw": 1.5,
                "shrinkA": 18,
                "shrinkB": 18,
            },
        )
    # Names of one row stand side by side.
    heights = [y for _, y in places.values()]
    most = max([1, *(heights.count(y) for y in heights)])
    longest = max([1, *(len(graph.names[n - 1]) for n in places)])
    room = 72 * side / 100 / (most + 1) - 14
    size = min(12, max(5, room / (0.65 * longest)))
    for number, place in places.items():
        axes.annotate(
            graph.names[number - 1],
            xy=place,
            ha="center",
            va="center",
            fontsize=size,
            bbox={
                "boxstyle": "round,pad=0.5,rounding_size=0.9",
                "facecolor": "white",
                "edgecolor": "tab:blue",
                "lw": 1.5,
            },
        )
    axes.set(xlim=(0, 1), ylim=(-0.1, 1.1))
    axes.axis("off")
    if alone:
        words = "independent: " if linked else "all independent: "
        figure.text(0.5, 0.05, words + ", ".join(alone), ha="center", wrap=True)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _places(graph, linked):
    """{number: (x, y)} in [0, 1]: a row a depth, in the order of parents.

    A latent alone in its row stands under the mean of its parents.
    """
    depths = {n: d for n, d in graph.depths().items() if n in linked}
    deepest = max(depths.values(), default=0)
    places = {}
    for depth in range(deepest + 1):
        row = sorted(n for n, d in depths.items() if d == depth)

        def wish(number):
            above = [places[p][0] for p in graph.parents(number)]
            return np.mean(above) if above else 0.5

        row.sort(key=wish)
        for position, number in enumerate(row):
            x = (position + 1) / (len(row) + 1)
            if len(row) == 1:
                x = wish(number)
            places[number] = (x, 1 - depth / max(1, deepest))
    return places


# ---- maps of codes -----------------------------------------------------------


def tsne(codes, labels, title="", side=480):
    """Codes in the plane (van der Maaten and Hinton, JMLR 2008).

    Args:
      codes: `[N, n]`, N at least 4.
      labels: int or str `[N]`, one colour a class; a legend up to 10.
      title: written above.
      side: of the picture, in pixels.

    Returns:
      uint8 `[side, side, 3]`; the same codes give the same picture.

    Raises:
      ValueError: fewer than 4 codes.
    """
    codes = np.asarray(codes, np.float32).reshape(len(codes), -1)
    if len(codes) < TSNE_LEAST:
        raise ValueError(
            f"t-SNE needs {TSNE_LEAST} codes. Received: {len(codes)}"
        )
    embedding = TSNE(
        perplexity=min(30, (len(codes) - 1) / 3),
        # A single number has no second principal component.
        init="pca" if min(codes.shape) > 1 else "random",
        random_state=0,
    )
    # Beside TensorFlow's threads, more than one takes a hundred times longer.
    with threadpool_limits(1):
        plane = embedding.fit_transform(codes)
    figure = Figure(figsize=(side / 100, side / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
    classes = np.unique(labels)
    few = len(classes) <= 10
    colours = colormaps["tab10" if few else "nipy_spectral"]
    for number, label in enumerate(classes):
        rows = np.asarray(labels) == label
        axes.scatter(
            *plane[rows].T,
            s=30,
            color=colours(number if few else number / len(classes)),
            edgecolors="white",
            linewidths=0.5,
            label=str(label),
        )
    if few and len(classes) > 1:
        axes.legend(fontsize=8, loc="best", handletextpad=0.1)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_color("0.8")
    axes.margins(0.06)
    return _drawn(canvas)


def tsne_of_parts(codes, labels):
    """`tsne` of several parts side by side.

    Args:
      codes: {name: `[N, n]`}.
      labels: int or str `[N]`.

    Returns:
      uint8 `[H', W', 3]`.
    """
    return beside([tsne(c, labels, title=n) for n, c in codes.items()], GAP)


# ---- hierarchies of categories -----------------------------------------------

# Leaves that one picture of a tree shows at most.
LEAVES = 48


def category_tree(names, paths, images):
    """A tree of categories, a row of images a leaf, a bracket a parent.

    Args:
      names: for every level from the root's children on, the path (`"a/b"`)
        of every node.
      paths: int `[leaves, levels]`, the nodes on the way to every leaf.
      images: for every leaf `[N, H, W, C]`, N at least 1 and equal; a mapping
        from leaf to its images, some leaves left out.

    Returns:
      uint8 `[H', W', 3]`; of more than 48 leaves, as many evenly spread ones.
    """
    chosen = sorted(images)
    if len(chosen) > LEAVES:
        spread = np.linspace(0, len(chosen) - 1, LEAVES).astype(int)
        chosen = [chosen[i] for i in np.unique(spread)]
    count, height, width = images[chosen[0]].shape[:3]
    zoom = zoom_to_fit(len(chosen) * height, (count + 2) * width)
    shorts = [[path.rpartition("/")[2] for path in level] for level in names]
    widths = [
        max(text(shorts[level][paths[leaf, level]]).shape[1] for leaf in chosen)
        for level in range(paths.shape[1])
    ]

    def rows(leaves, level):
        """The rows of leaves that share their path above a level."""
        if level == paths.shape[1] - 1:
            sheet = tile(
                np.concatenate([images[leaf] for leaf in leaves]),
                count,
                zoom=zoom,
            )
            lines = [
                place(
                    text(shorts[level][leaf]),
                    zoom * height,
                    widths[level],
                    across=1,
                )
                for leaf in leaves
            ]
            return beside([stack(lines, PADDING), sheet], GAP // 2)
        groups = []
        for node in np.unique(paths[leaves, level]):
            own = [leaf for leaf in leaves if paths[leaf, level] == node]
            inner = rows(own, level + 1)
            groups.append(_bracketed(shorts[level][node], inner, widths[level]))
        return stack(groups)

    return framed(rows(chosen, 0))


def subset_grid(model, sources, targets):
    """HDN's figures 3, 11, 12: every subset of units from the target.

    Args:
      model: a `PartsModel` of few units.
      sources, targets: `[N, H, W, C]`.

    Returns:
      uint8 `[H', W', 3]`: a row a pair; the source, what it becomes with each
      non-empty subset of the target's units, small subsets first, the target.
    """
    units = list(model.units)
    masks = np.array(list(np.ndindex(*[2] * len(units)))[1:])
    masks = masks[np.lexsort((*-masks.T[::-1], masks.sum(axis=1)))]
    first = _repeat(encode(model, sources), len(masks))
    second = _repeat(encode(model, targets), len(masks))
    cells = _mixed(model, first, second, np.tile(masks, (len(sources), 1)))
    height, width = sources.shape[1:3]
    zoom = zoom_to_fit(len(sources) * height, (len(masks) + 2) * width)
    heads = ["+".join(str(n + 1) for n in np.flatnonzero(m)) for m in masks]
    columns = [
        (["source"], sources, 1),
        (heads, cells, len(masks)),
        (["target"], targets, 1),
    ]
    legend = ", ".join(f"{n} {unit}" for n, unit in enumerate(units, 1))
    panels = [
        stack(
            [_headings(head, zoom * width), tile(images, across, zoom=zoom)],
            across=0,
        )
        for head, images, across in columns
    ]
    title = text(f"from the target: {legend}")
    return framed(stack([title, beside(panels)]))


def exchanged(model, first, second, units, names=("first", "second")):
    """Two rows of images and what they become with each other's units.

    Args:
      model: a `PartsModel`.
      first, second: `[N, H, W, C]`.
      units: names of the units that are exchanged.
      names: of the two rows.

    Returns:
      uint8 `[H', W', 3]`, four rows.
    """
    mix = np.isin(list(model.units), units).astype(np.float32)
    mix = np.tile(mix, (len(first), 1))
    parts = encode(model, first), encode(model, second)
    rows = [
        np.asarray(pipeline.to_float(first)),
        np.asarray(pipeline.to_float(second)),
        _mixed(model, *parts, mix),
        _mixed(model, *parts[::-1], mix),
    ]
    height, width = first.shape[1:3]
    zoom = zoom_to_fit(4 * height, (len(first) + 3) * width)
    heads = [*names]
    heads += [f"{a} with codes of {b}" for a, b in (names, names[::-1])]
    lines = _row_names(heads, zoom * height)
    sheet = tile(np.concatenate(rows), len(first), zoom=zoom)
    return framed(beside([lines, sheet]))


def coloured_frame(picture, right):
    """A picture inside a green frame where it is right, else a red one."""
    height, width, _ = picture.shape
    canvas = np.empty((height + 2 * FRAME, width + 2 * FRAME, 3), np.uint8)
    canvas[:] = GREEN if right else RED
    canvas[FRAME:-FRAME, FRAME:-FRAME] = picture
    return canvas


def retrieved(queries, found):
    """HDN's figure 6: what each query brings up, framed by its truth.

    Args:
      queries: `[Q, H, W, C]`.
      found: {name: `(images [Q, K, H, W, C], right)`}; right is bool `[Q, K]`,
        or None where nobody knows, which leaves the frames out.

    Returns:
      uint8 `[H', W', 3]`: a row a query; the query, then K images a name.
    """
    height, width = queries.shape[1:3]
    most = sum(images.shape[1] for images, _ in found.values()) + 1
    zoom = zoom_to_fit(len(queries) * (height + 2), most * (width + 2))

    edge = 2 * FRAME

    def cell(image, right):
        picture = tile(image[None], 1, zoom=zoom)
        if right is not None:
            picture = coloured_frame(picture, right)
        return place(picture, zoom * height + edge, zoom * width + edge)

    columns = [stack([text("query"), *(cell(q, None) for q in queries)])]
    for name, (images, right) in found.items():
        rows = []
        for number, row in enumerate(images):
            truth = [None] * len(row) if right is None else right[number]
            cells = [cell(i, own) for i, own in zip(row, truth, strict=True)]
            rows.append(beside(cells, PADDING))
        columns.append(stack([text(name), *rows]))
    return framed(beside(columns, 2 * GAP))


# ---- scores ------------------------------------------------------------------


def matrix(values, rows, columns, title="", least=0):
    """A matrix of shares as a table of coloured cells with their numbers.

    Args:
      values: float `[D, K]`, `least` to 1 for the whole range of colours.
      rows, columns: D and K names.
      title: written above.
      least: 0, or -1 for correlations, whose negative ones are red.

    Returns:
      uint8 `[H', W', 3]`; of more than 40 rows the 40 with the largest entries.
    """
    values = np.asarray(values, np.float64)
    rows = np.asarray(rows)
    if len(values) > MATRIX_ROWS:
        widest = np.argsort(-values.max(axis=1), kind="stable")[:MATRIX_ROWS]
        widest = np.sort(widest)
        title = f"{title}, {MATRIX_ROWS} of {len(values)} codes"
        values, rows = values[widest], rows[widest]
    size = 2.2 + 0.9 * len(columns), 1.5 + 0.3 * len(values)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = "RdBu" if least < 0 else "Blues"
    axes.imshow(values, cmap=colours, vmin=least, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=25, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    # Over the names of the rows, too: titles are wider than few columns.
    figure.suptitle(title, fontsize=10)
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if abs(value) > 0.5 else "0.25",
        )
    return _drawn(canvas)


def scatter(groups, across, up, title="", side=420):
    """Points with a word beside each, a colour and a line a group.

    Args:
      groups: {group: list of (x, y, word)}, in the order of the line.
      across, up: names of the axes.
      title: written above.
      side: of the picture, in pixels.

    Returns:
      uint8 `[side, side, 3]`.
    """
    canvas, axes = _axes(across, up, title, side)
    colours, marks = colormaps["tab10"], "osD^vP*X<>"
    words = []
    for number, (group, points) in enumerate(groups.items()):
        colour = colours(number % 10)
        axes.plot(
            *([p[axis] for p in points] for axis in (0, 1)),
            label=group,
            color=colour,
            marker=marks[number % 10],
            linewidth=0.8,
            markersize=6,
        )
        words += [(word, (x, y), colour) for x, y, word in points]
    axes.margins(0.12)
    axes.locator_params(axis="x", nbins=5)
    axes.legend(fontsize=7, frameon=False)
    _write_beside(canvas, axes, words)
    return _drawn(canvas)


def _write_beside(canvas, axes, words):
    """Words beside their points, where neither points nor words are yet.

    Args:
      canvas: whose layout is settled by what it has.
      axes: that has the points.
      words: list of (word, (x, y), colour).
    """
    canvas.draw()
    room = axes.bbox
    taken = [axes.get_legend().get_window_extent()]
    for _, point, _ in words:
        x, y = axes.transData.transform(point)
        taken.append(Bbox.from_bounds(x - 4, y - 4, 8, 8))
    # Points of a figure's 72 an inch; the nearest places first.
    offsets = [
        (across, up)
        for far in (1, 2, 3)
        for up in (5 * far, -5 * far)
        for across in (6, -6)
    ]
    for word, point, colour in words:
        note = axes.annotate(
            word,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7,
            color=colour,
        )
        # Never at the cost of the points' room.
        note.set_in_layout(False)

        def box_at(offset, note=note):
            across, up = note.xyann = offset
            note.set_horizontalalignment("left" if across > 0 else "right")
            note.set_verticalalignment("bottom" if up > 0 else "top")
            return note.get_window_extent()

        def cost(offset, box_at=box_at):
            box = box_at(offset)
            outside = Bbox.union([room, box]).width > room.width
            outside |= Bbox.union([room, box]).height > room.height
            return sum(box.overlaps(other) for other in taken) + 9 * outside

        taken.append(box_at(min(offsets, key=cost)))


def curves(lines, across, up, title="", side=420):
    """Values that change with another one, a colour a line.

    Args:
      lines: {name: list of (x, y), x rising}.
      across, up, title, side: see `scatter`.

    Returns:
      uint8 `[side, side, 3]`.
    """
    canvas, axes = _axes(across, up, title, side)
    for name, points in lines.items():
        # A lone point is a line of no length.
        marker = "o" if len(points) == 1 else ""
        axes.plot(*zip(*points, strict=True), label=name, marker=marker)
    axes.legend(fontsize=7, frameon=False)
    return _drawn(canvas)


def _axes(across, up, title, side):
    """A square canvas and its empty axes."""
    figure = Figure(figsize=(side / 100,) * 2, dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlabel=across, ylabel=up)
    axes.set_title(title, fontsize=10)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return canvas, axes


def _drawn(canvas):
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
