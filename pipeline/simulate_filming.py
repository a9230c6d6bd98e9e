"""How the simulated cameras see the synthetic world: paint, light, lens blur and sensor noise."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulate_cameras import (
    Matrix,
    Optics,
    Take,
    optics_of,
    plane_seen_from,
    rig_rotation,
    transform,
)
from pipeline.simulate_figures import HORIZON, Nearness, Shape
from pipeline.simulate_scene import Lighting, Pool, generator
from pipeline.simulate_street import REACH, Layer

LEVELS_PER_C = 6.0
"""Infrared is painted in steps of 1/6 degree Celsius; 0 to 42.5 degrees fit into 8 bits."""

COUNTS_AT_0_C = 7000.0
COUNTS_PER_LEVEL = 8.0
"""With these an outdoor scene fills 7,000 to 9,000 of the 16,384 counts of a 14-bit sensor."""

MAX_COUNTS = 16383

FIXED_PATTERN_COUNTS = (2.5, 2.0)
"""Standard deviations of the column and pixel offsets a shutter correction leaves (assumed)."""

AMBIENT_COUNTS = 14.0
"""Swing of the whole image as the camera's body warms and cools, about a minute long (assumed)."""

OPTICAL_BLUR_PX = 0.55
"""Standard deviation of the lens' point spread, sensor pixels; it also keeps aliasing down."""

NOISE_MARGIN_PX = 64
"""A frame's visible noise is cut at random from one field larger than a frame by this much."""

EDGE_STEPS = 4
"""Edges of outlines are counted on a grid this much finer than the canvas."""

OUTLINE_SHIFT = 8
"""On that grid outlines are placed to 1/2**8 of a step."""

SKY_HEIGHT = 1.0
"""The world is drawn this far up and down (tangent units)."""

ROUGHNESS_STEPS = 4
"""Texture strengths are painted in quarters of a level."""

LAMP_TINT = np.array([1.0, 0.88, 0.66])
"""Street lamps are warm white: their shares of red, green and blue."""

Canvas = NDArray[np.uint8]
Frame = NDArray[np.uint8] | NDArray[np.uint16]


def film(take: Take, times_s: Iterable[float]) -> Iterator[Frame]:
    """The frames of a take at these instants, one after the other, in constant memory.

    Yields:
        infrared counts, uint16 (H, W), or visible uint8 RGB (H, W, 3).
    """
    optics = optics_of(take)
    panorama = paint_panorama(take)
    still = rig_rotation("still", 0.0)
    resting = look_at(panorama, take, optics, still)
    fields = sensor_fields(take)
    for index, time_s in enumerate(times_s):
        turned = rig_rotation(take.rig_motion, time_s)
        if take.rig_motion == "still":
            canvas = resting.copy()
        else:
            canvas = look_at(panorama, take, optics, turned)
        draw_things(canvas, take, optics, turned, time_s)
        rng = generator(take.seed, take.recording, take.band, "noise", index)
        yield expose(canvas, take, optics, fields, (time_s, turned), rng)


@dataclass(frozen=True)
class SensorFields:
    """What a sensor adds to every frame, drawn once.

    Attributes:
        pattern_counts: infrared: static offsets of columns and pixels, (H, W); else empty.
        noise_levels: visible: field that every frame's noise is cut from; else empty.
    """

    pattern_counts: NDArray[np.float32]
    noise_levels: NDArray[np.int8]


def expose(
    canvas: Canvas,
    take: Take,
    optics: Optics,
    fields: SensorFields,
    moment: tuple[float, Matrix],
    rng: np.random.Generator,
) -> Frame:
    """What the camera's sensor makes of an undistorted canvas.

    Args:
        canvas: temperatures in levels, or colours.
        take: names the camera and its light.
        optics: of that camera.
        fields: of that camera.
        moment: the instant, seconds, and how the rig is turned.
        rng: of this frame.
    """
    time_s, turned = moment
    if take.band == "infrared":
        added = fields.pattern_counts + _ambient(time_s)
        return _expose_infrared(canvas, take, optics, added, rng)
    blur_px = OPTICAL_BLUR_PX * take.oversampling
    blurred = np.asarray(cv2.GaussianBlur(canvas, (0, 0), blur_px), np.uint8)
    glare = _glare(take.scene.lighting, optics, turned)
    return _expose_visible(blurred, optics, fields.noise_levels, glare, rng)


def draw_things(canvas: Canvas, take: Take, optics: Optics, turned: Matrix, time_s: float) -> None:
    """Paint what stands and moves before the layers onto a canvas, in place."""
    rays = optics.canvas_from_view(turned)
    matrices: dict[Nearness, Matrix] = {}
    for shape in take.scene.shapes_at(time_s):
        colour = colour_of(shape, take)
        if colour is None:
            continue
        if shape.nearness not in matrices:
            matrices[shape.nearness] = rays @ plane_seen_from(
                take.position_m, shape.nearness, take.depth_m
            )
        paint(canvas, transform(shape.outline, matrices[shape.nearness]), colour, shape.opacity)


def colour_of(shape: Shape, take: Take) -> tuple[int, ...] | None:
    """The canvas value of a shape before the layers; None: this band does not see it."""
    if take.band == "infrared":
        return None if shape.infrared_c is None else (round(shape.infrared_c * LEVELS_PER_C),)
    if shape.visible is None or shape.glows:
        return shape.visible
    lighting = take.scene.lighting
    factors = lighting.ambient
    if lighting.lamps:
        factors = tuple(light_at(lighting, *shape.outline.mean(axis=0)))
    return tuple(min(255, round(c * f)) for c, f in zip(shape.visible, factors, strict=True))


def light_at(
    lighting: Lighting, u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The factor on daylight colours at view angles of any shape (...), shape (..., 3)."""
    ambient = np.array(lighting.ambient)
    if not lighting.lamps:
        return np.broadcast_to(ambient, (*np.shape(u), 3))
    return np.asarray(ambient + _pools(lighting.lamps, u, v)[..., None] * LAMP_TINT)


def _pools(
    pools: tuple[Pool, ...], u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    added = np.zeros(np.shape(u))
    for x, y, radius, strength in pools:
        added = added + strength * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * radius**2))
    return added


def paint(
    canvas: Canvas, outline_px: NDArray[np.float64], colour: tuple[int, ...], opacity: float = 1.0
) -> None:
    """Fill an outline with smooth edges, in place; what lies outside the canvas is cut off.

    Coverage is counted on a grid EDGE_STEPS times finer: OpenCV's own smooth edges widen shapes by
    0.7 px and move their centres by up to 0.3 px, this by 0.12 and 0.05 px.
    """
    height, width = canvas.shape[:2]
    low = np.maximum(np.floor(outline_px.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(outline_px.max(axis=0)).astype(int) + 2, (width, height))
    if (high <= low).any():
        return
    columns, rows = high - low
    fine = np.zeros((rows * EDGE_STEPS, columns * EDGE_STEPS), np.uint8)
    corners = (outline_px - low + 0.5) * EDGE_STEPS - 0.5
    fixed = np.rint(corners * 2**OUTLINE_SHIFT).astype(np.int32)[:, None]
    cv2.fillPoly(fine, [fixed], (255,), cv2.LINE_8, OUTLINE_SHIFT)
    cover = cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA)
    part = canvas[low[1] : high[1], low[0] : high[0]]
    weight = cover.astype(np.float32) * np.float32(opacity / 255)
    if part.ndim == 3:
        weight = weight[..., None]
    value = np.array(colour, np.float32)
    part[...] = np.rint(part + (value - part) * weight)


def panorama_scale(take: Take) -> float:
    """Panorama pixels per tangent unit; infrared views are coarse enough to afford twice."""
    return take.camera.lens.fx * (2 if take.band == "infrared" else 1)


def panorama_from_view(take: Take) -> Matrix:
    """From view angles seen from the camera's centre to panorama pixels, (3, 3)."""
    scale = panorama_scale(take)
    return np.array(
        [[scale, 0, scale * REACH], [0, scale, scale * SKY_HEIGHT], [0, 0, 1]], np.float64
    )


def paint_panorama(take: Take) -> Canvas:
    """All resting layers as the camera's centre sees them, uint8 (h, w) or RGB (h, w, 3)."""
    scale = panorama_scale(take)
    size = (round(2 * REACH * scale) + 1, round(2 * SKY_HEIGHT * scale) + 1)
    placed = panorama_from_view(take)
    channels = 1 if take.band == "infrared" else 3
    whole = np.zeros((size[1], size[0], channels), np.float32)
    for layer in take.scene.layers:
        colour, cover = _paint_layer(layer, take, size, placed)
        seen = plane_seen_from(take.position_m, layer.nearness, take.depth_m)
        if not np.allclose(seen, np.eye(3), atol=0):
            moved = placed @ seen @ np.linalg.inv(placed)
            colour, cover = (
                np.asarray(cv2.warpPerspective(part, moved, size), np.float32)
                for part in (colour, cover)
            )
        whole *= 1 - cover.reshape(size[1], size[0], 1)
        whole += colour.reshape(size[1], size[0], channels)
    return np.asarray(np.clip(np.rint(whole), 0, 255), np.uint8).squeeze()


def _paint_layer(
    layer: Layer, take: Take, size: tuple[int, int], placed: Matrix
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A layer's light already multiplied by its cover, float32 (h, w[, 3]), and cover (h, w)."""
    infrared = take.band == "infrared"
    width, height = size
    colour = np.zeros((height, width) if infrared else (height, width, 3), np.uint8)
    cover, rough = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for shape in layer.shapes:
        value = shape.infrared_c if infrared else shape.visible
        if value is None:
            continue
        outline = transform(shape.outline, placed)
        levels = (round(value * LEVELS_PER_C),) if isinstance(value, float) else value
        roughness = shape.rough[1] * LEVELS_PER_C if infrared else shape.rough[0]
        paint(colour, outline, levels)
        paint(cover, outline, (255,))
        paint(rough, outline, (round(roughness * ROUGHNESS_STEPS),))
    texture = grain(layer, take, size, placed) * rough.astype(np.float32) / ROUGHNESS_STEPS
    opaque = np.asarray(cover / 255, np.float32)
    if infrared:
        return np.asarray(colour + texture, np.float32), opaque
    v, u = np.mgrid[0:height, 0:width]
    view = np.linalg.inv(placed)
    light = light_at(take.scene.lighting, view[0, 0] * u + view[0, 2], view[1, 1] * v + view[1, 2])
    return np.asarray((colour + texture[..., None]) * np.asarray(light, np.float32)), opaque


def grain(layer: Layer, take: Take, size: tuple[int, int], placed: Matrix) -> NDArray[np.float32]:
    """Texture of a layer, mean 0 and standard deviation about 1, shape (h, w).

    Half of it is common to both bands: stains and seams show in light and in warmth.
    """
    own = _octaves(generator(layer.grain, take.band), size)
    common = _octaves(generator(layer.grain, "common"), size)
    texture = np.asarray(0.7 * own + 0.7 * common, np.float32)
    if not layer.lies_flat:
        return texture
    # Ground coordinates (x / depth, 1 / depth) of a view angle are a homography of it.
    flat = np.array([[1.0, 0, 0], [0, 0, -0.45], [0, 1, -HORIZON]]) @ np.linalg.inv(placed)
    across = np.array([[0.3, 0, REACH], [0, 0.5, SKY_HEIGHT], [0, 0, 1]])
    scale = np.diag([placed[0, 0], placed[1, 1], 1])
    laid = cv2.warpPerspective(
        texture,
        scale @ across @ flat,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    below = (np.arange(size[1]) - placed[1, 2]) / placed[1, 1] - HORIZON
    fade = np.clip(below / 0.12, 0, 1)[:, None]
    return np.asarray(laid * fade, np.float32)


def _octaves(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Smooth noise of several grain sizes, the same world at every resolution, shape (h, w)."""
    total = np.zeros((size[1], size[0]), np.float32)
    for cells, strength in ((10, 0.5), (26, 0.5), (70, 0.45), (180, 0.4), (450, 0.4)):
        coarse = rng.standard_normal((round(cells * SKY_HEIGHT / REACH), cells), np.float32)
        kind = cv2.INTER_CUBIC if cells < size[0] else cv2.INTER_AREA
        total += strength * cv2.resize(coarse, size, interpolation=kind)
    return total


def look_at(panorama: Canvas, take: Take, optics: Optics, turned: Matrix) -> Canvas:
    """The part of a panorama that the rig, so turned, has before it, on the camera's canvas."""
    moved = optics.canvas_from_view(turned) @ np.linalg.inv(panorama_from_view(take))
    return np.asarray(
        cv2.warpPerspective(
            panorama, moved, optics.canvas_size, flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )  # fmt: skip


def _expose_infrared(
    canvas: Canvas,
    take: Take,
    optics: Optics,
    added_counts: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    blur_px = OPTICAL_BLUR_PX * take.oversampling
    levels = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), blur_px)
    levels = cv2.remap(levels, optics.x, optics.y, cv2.INTER_LINEAR)
    noise = rng.standard_normal(levels.shape, np.float32) * np.float32(take.camera.noise)
    counts = COUNTS_AT_0_C + COUNTS_PER_LEVEL * levels + added_counts + noise
    return np.asarray(np.clip(np.rint(counts), 0, MAX_COUNTS), np.uint16)


def _expose_visible(
    blurred: Canvas,
    optics: Optics,
    noise_levels: NDArray[np.int8],
    glare: Canvas | None,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    frame = cv2.remap(blurred, optics.x, optics.y, cv2.INTER_LINEAR)
    if glare is not None:
        frame = cv2.add(frame, glare)
    height, width = frame.shape[:2]
    top, left = rng.integers(0, NOISE_MARGIN_PX, size=2)
    noise = np.ascontiguousarray(noise_levels[top : top + height, left : left + width])
    return np.asarray(cv2.add(frame, noise, dtype=cv2.CV_8U), np.uint8)


def sensor_fields(take: Take) -> SensorFields:
    """The static pattern and the noise field of a take's sensor."""
    rng = generator(take.seed, take.band, "sensor")
    width, height = take.camera.camera.width, take.camera.camera.height
    if take.band == "infrared":
        column_sigma, pixel_sigma = FIXED_PATTERN_COUNTS
        columns = rng.standard_normal((1, width)) * column_sigma
        pixels = rng.standard_normal((height, width)) * pixel_sigma
        return SensorFields((columns + pixels).astype(np.float32), np.empty(0, np.int8))
    shape = (height + NOISE_MARGIN_PX, width + NOISE_MARGIN_PX, 3)
    strength = take.camera.noise * take.scene.lighting.noise_factor
    noise = rng.standard_normal(shape, np.float32) * np.float32(strength)
    levels = np.asarray(np.clip(np.rint(noise), -127, 127), np.int8)
    return SensorFields(np.empty(0, np.float32), levels)


def _ambient(time_s: float) -> np.float32:
    return np.float32(AMBIENT_COUNTS * np.sin(2 * np.pi * time_s / 63.0))


def _glare(lighting: Lighting, optics: Optics, turned: Matrix) -> Canvas | None:
    """Grey levels that strong lights add within the lens, uint8 RGB (H, W, 3)."""
    if not lighting.glare:
        return None
    height, width = optics.x.shape
    step = 8  # glare is smooth: every 8th pixel is enough
    rows, columns = np.mgrid[0:height:step, 0:width:step] + (step - 1) / 2
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    view_from_sensor = np.asarray(
        np.linalg.inv(optics.camera_matrix @ optics.rotation @ turned), np.float64
    )
    view = transform(pixels, view_from_sensor)
    coarse = _pools(lighting.glare, view[:, 0], view[:, 1]).reshape(rows.shape)
    size = (coarse.shape[1] * step, coarse.shape[0] * step)
    fine = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[:height, :width]
    return np.asarray(
        cv2.cvtColor(np.clip(fine, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB), np.uint8
    )
