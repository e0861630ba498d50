"""A room with one object, on the factor grid of 3D Shapes, rendered by us.

The grid has 10 x 10 x 10 x 8 x 4 x 15 = 480,000 points. The geometry of a
picture depends only on scale, shape and orientation (480 configurations); the
hues only paint it. So a picture is a sum of layers, each in one of its ten
hues: floor and wall (with the sky) of the empty room, replaced in a window
around the object and its shadow by the floor, the wall and the object seen
there. Layers are ray traced at first use of a configuration and kept: about
10 ms and 0.1 MB for each of the 480.

The measures below were fitted to frames of the original data set (C. Burgess
and H. Kim, "3D Shapes Dataset", 2018), whose look the pictures follow. Lengths
are in tenths of the distance from the camera to the axis it turns around.
"""

import colorsys
import functools
from typing import NamedTuple

import numpy as np

from tfdisent.data.base import checked_indices

FACTOR_NAMES = (
    "floor_hue",
    "wall_hue",
    "object_hue",
    "scale",
    "shape",
    "orientation",
)
FACTOR_SIZES = (10, 10, 10, 8, 4, 15)
IMAGE_SHAPE = (64, 64, 3)

SHAPES = ("cube", "cylinder", "sphere", "capsule")
HUES = np.arange(10) / 10
SCALES = np.linspace(0.75, 1.25, num=8)
ORIENTATIONS = np.linspace(-30.0, 30.0, num=15)  # degrees

_NUM_CONFIGURATIONS = int(np.prod(FACTOR_SIZES[3:]))
_SIZE = 64
_SAMPLES = 4  # rays per pixel and axis

# The pinhole camera looks level at the axis through the object, y is up.
_CAMERA_DISTANCE = 10.0
_CAMERA_HEIGHT = 3.0135
_FOCAL_LENGTH = 69.6  # pixels: a field of view of 49.4 degrees
_HORIZON = 32.2  # pixel row

_ROOM = 14.5  # half the side of the square floor
_WALL_HEIGHT = 8.14

# Objects at scale 1: how far they reach from their centre, and its height. They
# hover a little, as the originals do.
_CUBE_HALF = 1.37
_CUBE_CENTRE = 1.46
_CYLINDER_RADIUS = 1.40
_CYLINDER_HALF = 1.47
_CYLINDER_CENTRE = 1.557
_SPHERE_RADIUS = 1.64
_SPHERE_CENTRE = 1.80
_CAPSULE_RADIUS = 1.24
_CAPSULE_HALF = 1.33  # of the straight part
_CAPSULE_CENTRE = 2.66

# One spotlight, high up, and a head light that moves with the camera.
_LIGHT = np.array([-13.0, 55.0, -3.0], np.float32)
_LIGHT_TARGET = np.array([-12.2, 0.0, -5.0], np.float32)
_LIGHT_EXPONENT = 21.0
_LIGHT_RADIUS = 1.2  # blurs the shadow's edge


class _Material(NamedTuple):
    """How a surface answers the ambient, the head and the spot light."""

    ambient: float
    head: float
    spot: float
    specular: float


_FLOOR_MATERIAL = _Material(0.17, 0.74, 1.28, 0.0)
_WALL_MATERIAL = _Material(0.01, 0.95, 1.0, 0.0)
_OBJECT_MATERIAL = _Material(0.55, 0.40, 1.69, 0.12)
_UP = np.array([[0], [1], [0]], np.float32)
_LEVEL = 1 - _UP  # keeps the level part of a vector

_SKY = np.array([153, 226, 249], np.float32) / 255
_PALETTE = np.array(
    [colorsys.hsv_to_rgb(hue, 1.0, 1.0) for hue in HUES], np.float32
)


class _Window(NamedTuple):
    """A rectangle of pixels."""

    rows: slice
    columns: slice

    @property
    def size(self):
        """Height and width, pixels."""
        return tuple(side.stop - side.start for side in self)


_WHOLE = _Window(slice(0, _SIZE), slice(0, _SIZE))


def render(indices):
    """Renders grid points as pictures.

    Args:
        indices: int array `[N]`, row-major over `FACTOR_SIZES` (the last factor
            fastest, as `numpy.ravel_multi_index`), in any order, repeats
            allowed.

    Returns:
        uint8 array `[N, 64, 64, 3]`, RGB.

    Raises:
        ValueError: `indices` is not a vector of integers or leaves the grid.
    """
    indices = checked_indices(indices, int(np.prod(FACTOR_SIZES)))
    hues, configurations = np.divmod(indices, _NUM_CONFIGURATIONS)
    hues = np.stack(np.unravel_index(hues, FACTOR_SIZES[:3]), axis=1)
    images = np.empty((len(indices), *IMAGE_SHAPE), np.uint8)
    for image, (floor_hue, wall_hue, object_hue), configuration in zip(
        images, hues.tolist(), configurations.tolist(), strict=True
    ):
        floor, wall = _room(configuration % len(ORIENTATIONS))
        np.add(floor[floor_hue], wall[wall_hue], out=image)
        window, (floor, wall, thing) = _scene(configuration)
        part = image[window]
        np.add(floor[floor_hue], wall[wall_hue], out=part)
        np.add(part, thing[object_hue], out=part)
    return images


@functools.cache
def _room(orientation):
    """Returns the floor and the wall layer of the empty room."""
    return _trace(_hit_nothing, orientation, _WHOLE)[:2]


@functools.cache
def _scene(configuration):
    """Returns the window of an object and its floor, wall and object layers."""
    scale, shape, orientation = np.unravel_index(
        configuration, FACTOR_SIZES[3:]
    )
    hit = functools.partial(_HITS[SHAPES[shape]], np.float32(SCALES[scale]))
    window = _find_window(hit, orientation)
    return window, _trace(hit, orientation, window)


def _trace(hit, orientation, window):
    """Ray traces a window: its floor, wall and object layers.

    `hit` is a function of origin and rays, as those of `_HITS` at one scale.
    """
    origin, rays = _camera(orientation, window, _SAMPLES)
    distance, normal = hit(origin, rays)
    is_object = np.isfinite(distance)
    floor, wall, sky = (
        surface & ~is_object for surface in _room_surfaces(origin, rays)
    )
    on_floor = _hit_floor(origin, rays[:, floor])
    light = _light_samples(window)[:, floor]
    shadow = _in_shadow(hit, on_floor, light)
    floor_shade, _ = _shade(
        _FLOOR_MATERIAL, on_floor, _UP, rays[:, floor], spot_visible=~shadow
    )
    on_wall, wall_normal = _hit_walls(origin, rays[:, wall])
    wall_shade, _ = _shade(_WALL_MATERIAL, on_wall, wall_normal, rays[:, wall])
    on_object = origin + distance[is_object] * rays[:, is_object]
    object_shade, object_gloss = _shade(
        _OBJECT_MATERIAL, on_object, normal[:, is_object], rays[:, is_object]
    )
    mean = functools.partial(_pixel_mean, window.size)
    sky_light = mean(sky, 1.0)[..., None] * _SKY
    return (
        _layer(mean, floor, floor_shade),
        _layer(mean, wall, wall_shade, extra=sky_light),
        _layer(mean, is_object, object_shade, object_gloss),
    )


def _find_window(hit, orientation):
    """Returns a window that holds the object and its shadow.

    One ray a pixel finds them; the margin is for what lies between the rays and
    for the soft edge of the shadow.
    """
    margin = 2
    origin, rays = _camera(orientation, _WHOLE, samples=1)
    seen = np.isfinite(hit(origin, rays)[0])
    floor, _, _ = _room_surfaces(origin, rays)
    on_floor = _hit_floor(origin, rays[:, floor])
    seen[floor] |= _in_shadow(hit, on_floor, _LIGHT[:, None])
    seen = seen.reshape(_SIZE, _SIZE)
    sides = []
    for used in (seen.any(axis=1), seen.any(axis=0)):
        places = np.flatnonzero(used)
        start = max(int(places[0]) - margin, 0)
        sides.append(slice(start, min(int(places[-1]) + 1 + margin, _SIZE)))
    return _Window(*sides)


def _camera(orientation, window, samples):
    """Returns the camera's place `[3, 1]` and its rays `[3, M]`.

    Each pixel of the window has `samples` x `samples` rays, in the order of the
    pixels of a picture that many times as large.
    """
    angle = np.radians(ORIENTATIONS[orientation])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    row, column = (
        (np.arange(side.start * samples, side.stop * samples) + 0.5) / samples
        for side in window
    )
    up, right = np.meshgrid(_HORIZON - row, column - _SIZE / 2, indexing="ij")
    up, right = (
        (offset.ravel() / _FOCAL_LENGTH).astype(np.float32)
        for offset in (up, right)
    )
    rays = np.stack([cosine * right - sine, up, -sine * right - cosine])
    origin = [
        _CAMERA_DISTANCE * sine,
        _CAMERA_HEIGHT,
        _CAMERA_DISTANCE * cosine,
    ]
    return np.array(origin, np.float32)[:, None], rays


def _wall_distances(origin, rays):
    """Returns the distance to the back wall and to a side wall, `[M]` each."""
    back = (-_ROOM - origin[2]) / rays[2]  # no ray looks away from that wall
    across = _nonzero(rays[0])
    side = (np.copysign(_ROOM, across) - origin[0]) / across
    return back, side


def _room_surfaces(origin, rays):
    """Tells which rays meet the floor, a wall or the sky: bool `[M]` each."""
    wall_distance = np.minimum(*_wall_distances(origin, rays))
    height = origin[1] + wall_distance * rays[1]
    floor = height < 0
    sky = height > _WALL_HEIGHT
    return floor, ~floor & ~sky, sky


def _hit_floor(origin, rays):
    """Returns where rays that go down meet the floor, `[3, M]`."""
    return origin - origin[1] / rays[1] * rays


def _hit_walls(origin, rays):
    """Returns where rays meet the walls and the walls' normals, `[3, M]`."""
    back, side = _wall_distances(origin, rays)
    is_back = back < side
    zero = np.zeros_like(back)
    normals = np.stack(
        [np.where(is_back, 0, -np.sign(rays[0])), zero, np.where(is_back, 1, 0)]
    )
    return origin + np.minimum(back, side) * rays, normals


def _in_shadow(hit, points, light):
    """Tells whether the object hides the light from points: bool `[M]`."""
    return np.isfinite(hit(points, light - points)[0])


def _hit_nothing(_, rays):
    """Returns what the functions of `_HITS` do, when all rays miss."""
    return np.full(rays.shape[1], np.inf, np.float32), np.zeros_like(rays)


def _hit_cube(scale, origin, rays):
    """Returns distance `[M]` (inf: missed) and normal `[3, M]` on a cube."""
    half = scale * _CUBE_HALF
    centre = np.array([[0], [scale * _CUBE_CENTRE], [0]], np.float32)
    rays = _nonzero(rays)
    enter = (centre - origin - np.copysign(half, rays)) / rays
    leave = (centre - origin + np.copysign(half, rays)) / rays
    distance = enter.max(axis=0)
    missed = (distance > leave.min(axis=0)) | (distance < 0)
    normal = np.where(enter == distance, -np.sign(rays), 0)
    return np.where(missed, np.inf, distance), normal


def _hit_cylinder(scale, origin, rays):
    """Returns distance `[M]` (inf: missed) and normal `[3, M]`, upright."""
    radius = scale * _CYLINDER_RADIUS
    half = scale * _CYLINDER_HALF
    centre = scale * _CYLINDER_CENTRE
    enter, leave = _quadric(origin[[0, 2]], rays[[0, 2]], radius)
    climb = _nonzero(rays[1])
    lid_enter = (centre - origin[1] - np.copysign(half, climb)) / climb
    lid_leave = (centre - origin[1] + np.copysign(half, climb)) / climb
    distance = np.maximum(enter, lid_enter)
    missed = distance > np.minimum(leave, lid_leave)
    missed |= ~np.isfinite(enter) | (distance < 0)
    point = origin + np.where(missed, 0, distance) * rays
    normal = point * _LEVEL / radius
    lid = np.stack([0 * climb, -np.sign(climb), 0 * climb])
    normal = np.where(lid_enter > enter, lid, normal)
    return np.where(missed, np.inf, distance), normal


def _hit_sphere(scale, origin, rays):
    """Returns distance `[M]` (inf: missed) and normal `[3, M]` on a sphere."""
    centre, radius = scale * _SPHERE_CENTRE, scale * _SPHERE_RADIUS
    return _hit_ball(centre, radius, origin, rays)


def _hit_capsule(scale, origin, rays):
    """Returns distance `[M]` (inf: missed) and normal `[3, M]`, upright."""
    radius, half = scale * _CAPSULE_RADIUS, scale * _CAPSULE_HALF
    centre = scale * _CAPSULE_CENTRE
    distance, _ = _quadric(origin[[0, 2]], rays[[0, 2]], radius)
    point = origin + np.where(np.isfinite(distance), distance, 0) * rays
    missed = (abs(point[1] - centre) > half) | (distance < 0)
    distance = np.where(missed, np.inf, distance)
    normal = point * _LEVEL / radius
    for height in (centre - half, centre + half):
        cap_distance, cap_normal = _hit_ball(height, radius, origin, rays)
        normal = np.where(cap_distance < distance, cap_normal, normal)
        distance = np.minimum(cap_distance, distance)
    return distance, normal


def _hit_ball(height, radius, origin, rays):
    """Returns distance and normal on a ball whose centre is on the axis."""
    centre = np.array([[0], [height], [0]], np.float32)
    distance, _ = _quadric(origin - centre, rays, radius)
    distance = np.where(distance < 0, np.inf, distance)
    reach = np.where(np.isfinite(distance), distance, 0)
    return distance, (origin - centre + reach * rays) / radius


def _quadric(offset, rays, radius):
    """Returns where `|offset + t * ray| = radius`: both t `[M]`, inf if none.

    With two coordinates this is an upright cylinder, with three a sphere.
    """
    square = (rays * rays).sum(axis=0)
    half_slope = (offset * rays).sum(axis=0)
    excess = (offset * offset).sum(axis=0) - radius * radius
    discriminant = half_slope * half_slope - square * excess
    missed = discriminant < 0
    root = np.sqrt(np.where(missed, 0, discriminant))
    enter = np.where(missed, np.inf, (-half_slope - root) / square)
    leave = np.where(missed, np.inf, (-half_slope + root) / square)
    return enter, leave


_HITS = {
    "cube": _hit_cube,
    "cylinder": _hit_cylinder,
    "sphere": _hit_sphere,
    "capsule": _hit_capsule,
}


def _light_samples(window):
    """Returns a point of the light for each ray of a window, `[3, M]`.

    Each ray of a pixel sees another point of a small disc, so that their mean
    has a soft shadow; the pattern is the same in every pixel.
    """
    # Steps of 7 scatter the numbers, so that no side of a pixel is favoured.
    number = np.arange(_SAMPLES**2) * 7 % _SAMPLES**2
    radius = _LIGHT_RADIUS * np.sqrt((number + 0.5) / _SAMPLES**2)
    angle = number * np.pi * (3 - np.sqrt(5))  # the sunflower's even spread
    pattern = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    pattern = pattern.reshape(2, _SAMPLES, _SAMPLES).astype(np.float32)
    x, z = np.tile(pattern, (1, *window.size)).reshape(2, -1)
    return _LIGHT[:, None] + np.stack([x, np.zeros_like(x), z])


def _shade(material, points, normals, rays, spot_visible=1.0):
    """Returns how bright points are and how much white they reflect, `[M]`."""
    to_light = _unit(_LIGHT[:, None] - points)
    axis = _unit((_LIGHT - _LIGHT_TARGET)[:, None])
    beam = np.maximum((to_light * axis).sum(axis=0), 0) ** _LIGHT_EXPONENT
    spot = np.maximum((to_light * normals).sum(axis=0), 0) * beam * spot_visible
    head = np.maximum(-(_unit(rays) * normals).sum(axis=0), 0)
    brightness = material.ambient + material.head * head + material.spot * spot
    return brightness, material.specular * spot


def _nonzero(values):
    """Replaces zeros, so that a ray along a plane meets it very far away."""
    return np.where(values == 0, np.float32(1e-9), values)


def _unit(vectors):
    """Scales vectors `[3, M]` to length 1."""
    return vectors / np.sqrt((vectors * vectors).sum(axis=0))


def _pixel_mean(size, where, values):
    """Averages `values` of the chosen rays over each pixel: `[rows, columns]`.

    `where` is bool `[M]`; rays that are not chosen count as zero.
    """
    samples = np.zeros(where.shape, np.float32)
    samples[where] = values
    rows, columns = size
    samples = samples.reshape(rows, _SAMPLES, columns, _SAMPLES)
    return samples.mean(axis=(1, 3))


def _layer(mean, where, shade, gloss=0.0, extra=0.0):
    """Paints a surface in every hue: uint8 `[10, rows, columns, 3]`.

    `where` bool `[M]` are the rays that meet the surface, `shade` and `gloss`
    their brightness and white reflection, `mean` averages them over pixels;
    `extra` `[rows, columns, 3]` is added to each picture.
    """
    cover = mean(where, 1.0)[..., None]
    share = 1 / np.maximum(cover, 1e-6)
    shade = mean(where, shade)[..., None] * share
    gloss = mean(where, gloss)[..., None] * share
    light = np.minimum(shade * _PALETTE[:, None, None] + gloss, 1.0)
    # Rounded down, so that the layers of a pixel never add up to more than 255;
    # the small term undoes rounding errors in full pixels.
    return (255 * (cover * light + extra) + 1e-3).astype(np.uint8)
