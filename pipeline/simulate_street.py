"""The resting part of the synthetic world: sky, ground, houses and trees of a site, both bands."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate_figures import (
    GROUND,
    HORIZON,
    RGB,
    Nearness,
    Shape,
    ellipse,
    feet,
    limb,
    rectangle,
    units_per_m,
)

REACH = 1.3
"""The world is drawn this far to either side (tangent units): a pan must not show its end."""

SKY: Nearness = (0.0, 0.0, 0.0)
FACADES: Nearness = (0.0, 0.0, 0.18)
TREES: Nearness = (0.0, 0.0, 0.26)

TREE_PLACES = (-1.1, -0.8, -0.5, 0.42, 0.64, 0.9, 1.14)
"""None before the poster or the pipe, which each show in one band alone."""

ROAD_NEARNESS = (0.3, 0.48)
"""Far and near kerb; houses stand beyond the far pavement, people walk on the near one."""


@dataclass(frozen=True)
class Layer:
    """What stands on one plane of the world and never moves, painted in this order.

    Attributes:
        shapes: outlines of that plane.
        nearness: the plane.
        grain: seed of its texture.
        lies_flat: the texture follows the ground towards the horizon.
    """

    shapes: tuple[Shape, ...]
    nearness: Nearness
    grain: int
    lies_flat: bool = False


def build_street(rng: np.random.Generator) -> tuple[Layer, ...]:
    """The layers of a site, far to near."""
    grains = [int(grain) for grain in rng.integers(2**31, size=4)]
    return (
        Layer(tuple(_sky()) + tuple(_skyline(rng)), SKY, grains[0]),
        Layer(tuple(_ground(rng)), GROUND, grains[1], lies_flat=True),
        Layer(tuple(_houses(rng)), FACADES, grains[2]),
        Layer(tuple(_trees(rng)), TREES, grains[3]),
    )


def build_furniture(rng: np.random.Generator) -> tuple[Shape, ...]:
    """Lamp posts and bollards between the road and the near pavement; people pass behind them."""
    shapes: list[Shape] = []
    for u in (-0.47 + rng.uniform(-0.05, 0.05), 0.36 + rng.uniform(-0.05, 0.05)):
        nearness = 0.5
        plane, foot, metre = (0.0, 0.0, nearness), feet(nearness), units_per_m(nearness)
        pole = limb((u, foot), (u, foot - 4.2 * metre), (0.15 * metre, 0.09 * metre))
        arm = limb((u, foot - 4.15 * metre), (u + 0.7 * metre, foot - 4.3 * metre), (0.01, 0.008))
        lamp = ellipse(u + 0.75 * metre, foot - 4.28 * metre, 0.24 * metre, 0.1 * metre)
        shapes.append(Shape(pole, plane, (62, 66, 64), 11.5))
        shapes.append(Shape(arm, plane, (62, 66, 64), 11.5))
        shapes.append(Shape(lamp, plane, (236, 234, 222), 21.0, glows=True))
    for u in np.arange(-5, 6) * 0.19 + rng.uniform(-0.08, 0.08):
        plane, foot, metre = (0.0, 0.0, 0.52), feet(0.52), units_per_m(0.52)
        post = limb((u, foot), (u, foot - 0.75 * metre), (0.15 * metre, 0.13 * metre))
        band = rectangle(
            u - 0.075 * metre, foot - 0.72 * metre, u + 0.075 * metre, foot - 0.6 * metre
        )
        shapes.append(Shape(post, plane, (70, 72, 78), 14.8))
        shapes.append(Shape(band, plane, (214, 60, 48), 14.8))
    return tuple(shapes)


def lamp_pools(furniture: tuple[Shape, ...]) -> Iterator[tuple[float, float]]:
    """Where (u, v) every lamp lights the ground most."""
    for shape in furniture:
        if shape.glows:
            yield float(shape.outline[:, 0].mean()), feet(shape.nearness[2]) - 0.1


def _sky() -> Iterator[Shape]:
    """Bright in visible; in infrared the coldest thing there is, less so towards the horizon."""
    edges = np.linspace(-1.0, HORIZON, 49)
    for top, bottom in pairwise(edges):
        low = (top + 1.0) / (HORIZON + 1.0)
        haze = (round(112 + 106 * low), round(152 + 74 * low), round(212 + 20 * low))
        strip = rectangle(-REACH, top, REACH, bottom + 0.01)
        yield Shape(strip, SKY, haze, 1.2 + 5.0 * low**3, rough=(13.0, 0.7))


def _skyline(rng: np.random.Generator) -> Iterator[Shape]:
    """Hazy towers on the horizon with rows of windows, cold or lit."""
    left = -REACH
    while left < REACH:
        width, height = rng.uniform(0.05, 0.14), rng.uniform(0.05, 0.24)
        grey = int(rng.integers(112, 168))
        top = HORIZON - height
        tower = rectangle(left, top, left + width, HORIZON + 0.05)
        colour = (grey - 8, grey, grey + 12)
        yield Shape(tower, SKY, colour, float(rng.uniform(8.5, 11.5)), rough=(8.0, 0.4))
        celsius = float(rng.choice([7.0, 12.5]))
        for floor in np.arange(0.02, height - 0.015, 0.026):
            row = rectangle(left + 0.008, top + floor, left + width - 0.008, top + floor + 0.012)
            yield Shape(row, SKY, (grey - 50, grey - 42, grey - 28), celsius)
        left += width + rng.uniform(-0.02, 0.07)


def _ground(rng: np.random.Generator) -> Iterator[Shape]:
    """Pavements and a road: asphalt keeps the day's warmth, so it is dark but warm."""
    far, near = (feet(nearness) for nearness in ROAD_NEARNESS)
    bottom = 1.2
    beyond = rectangle(-REACH, HORIZON, REACH, far)
    road = rectangle(-REACH, far, REACH, near)
    pavement = rectangle(-REACH, near, REACH, bottom)
    yield Shape(beyond, GROUND, (150, 145, 136), 13.0, rough=(16.0, 0.8))
    yield Shape(road, GROUND, (88, 88, 92), 16.0, rough=(16.0, 1.0))
    yield Shape(pavement, GROUND, (162, 154, 142), 13.3, rough=(22.0, 0.9))
    for depth in np.geomspace(near - HORIZON, 0.75, 9)[1:]:
        joint = rectangle(-REACH, HORIZON + depth, REACH, HORIZON + depth + 0.012 * depth)
        yield Shape(joint, GROUND, (112, 106, 97), 14.6)
    for x in np.arange(-7, 8) * float(rng.uniform(0.5, 0.7)):
        yield Shape(_strip(x, 0.014, near, bottom), GROUND, (112, 106, 97), 14.6)
    for v, thick in ((far, 0.007), (near, 0.012)):
        kerb = rectangle(-REACH, v - thick / 2, REACH, v + thick / 2)
        yield Shape(kerb, GROUND, (208, 205, 198), 11.5)
    middle = (far + near) / 2
    for x in np.arange(-7, 8) * 2.2 + rng.uniform(-1.0, 1.0):
        yield Shape(_strip(x, 1.0, middle - 0.003, middle + 0.003), GROUND, (222, 222, 214), 15.6)
    crossing = rng.uniform(-2.4, 0.6)
    for bar in np.arange(5) * 0.42:
        stripe = _strip(crossing + bar, 0.22, far + 0.008, near - 0.012)
        yield Shape(stripe, GROUND, (214, 214, 208), 15.4, rough=(12.0, 0.7))
    for _ in range(4):
        u, nearness = rng.uniform(-0.6, 0.6), rng.uniform(0.34, 0.85)
        size = 0.42 * units_per_m(nearness)
        lid = ellipse(u, feet(nearness), size, 0.32 * size, 24)
        yield Shape(lid, GROUND, (66, 64, 62), float(rng.choice([19.5, 9.5])))


def _strip(x: float, width: float, top: float, bottom: float) -> NDArray[np.float64]:
    """Ground between two lines that meet at the horizon; x and width at one unit below it."""
    a, b = top - HORIZON, bottom - HORIZON
    return np.array(
        [(x * a, top), ((x + width) * a, top), ((x + width) * b, bottom), (x * b, bottom)]
    )


def _houses(rng: np.random.Generator) -> Iterator[Shape]:
    """A row of houses; their paint and their warmth are drawn apart, so contrast may invert."""
    base = feet(FACADES[2])
    left = -REACH + rng.uniform(-0.1, 0.0)
    while left < REACH:
        width, top = rng.uniform(0.26, 0.44), rng.uniform(-0.34, -0.17)
        wall = rectangle(left, top, left + width, base)
        paint, celsius = _wall_paint(rng), float(rng.uniform(12.0, 15.0))
        roof = rectangle(left - 0.006, top - 0.018, left + width + 0.006, top + 0.006)
        plinth = rectangle(left, base - 0.02, left + width, base)
        yield Shape(wall, FACADES, paint, celsius, rough=(20.0, 0.7))
        yield Shape(roof, FACADES, (92, 62, 54), celsius - 3.5, rough=(14.0, 0.5))
        yield Shape(plinth, FACADES, (98, 96, 92), celsius + 1.3, rough=(14.0, 0.5))
        yield from _windows(rng, (left, top, left + width, base), celsius)
        left += width + (rng.uniform(0.04, 0.12) if rng.random() < 0.35 else 0.0)
    yield from _one_band_things(base)


def _windows(
    rng: np.random.Generator, wall: tuple[float, float, float, float], celsius: float
) -> Iterator[Shape]:
    """Storeys of windows and a door: glass reflects the cold sky, some rooms leak warmth."""
    left, top, right, base = wall
    columns = max(2, round((right - left) / 0.085))
    pitch = (right - left) / columns
    storeys = max(1, round((base - top - 0.1) / 0.1))
    rise = (base - top - 0.09) / storeys
    for storey in range(storeys):
        for column in range(columns):
            u, v = left + (column + 0.5) * pitch, top + 0.028 + storey * rise
            frame = rectangle(u - 0.023, v, u + 0.023, v + 0.058)
            glass = rectangle(u - 0.018, v + 0.005, u + 0.018, v + 0.053)
            leaks = rng.random() < 0.3
            blue = int(rng.integers(0, 30))
            yield Shape(frame, FACADES, (216, 212, 202), celsius + (3.5 if leaks else 0.6))
            yield Shape(
                glass, FACADES, (46, 54 + blue // 2, 62 + blue), 18.0 if leaks else 8.0,
                rough=(22.0, 0.6),
            )  # fmt: skip
            cross = rectangle(u - 0.0015, v + 0.005, u + 0.0015, v + 0.053)
            yield Shape(cross, FACADES, (206, 202, 192), celsius)
    door = left + (int(rng.integers(columns)) + 0.5) * pitch
    outline = rectangle(door - 0.022, base - 0.075, door + 0.022, base)
    yield Shape(outline, FACADES, (84, 58, 40), celsius - 1.8, rough=(10.0, 0.4))


def _one_band_things(base: float) -> Iterator[Shape]:
    """A printed poster at wall temperature; a hot pipe painted like the wall it runs along."""
    left, top, right, bottom = 0.09, base - 0.1, 0.23, base - 0.022
    outline = rectangle(left, top, right, bottom)
    yield Shape(outline, FACADES, (238, 228, 196), None, name="poster")
    yield Shape(rectangle(left, top, right, top + 0.022), FACADES, (196, 32, 44), None)
    yield Shape(ellipse(0.135, top + 0.05, 0.021, 0.021), FACADES, (24, 88, 170), None)
    yield Shape(rectangle(0.17, top + 0.032, 0.218, top + 0.066), FACADES, (236, 166, 20), None)
    pipe = rectangle(-0.36, base - 0.016, -0.08, base - 0.008)
    yield Shape(pipe, FACADES, None, 31.0, name="hot-pipe")
    riser = rectangle(-0.368, base - 0.13, -0.36, base - 0.008)
    yield Shape(riser, FACADES, None, 29.0)


def _wall_paint(rng: np.random.Generator) -> RGB:
    base = int(rng.integers(96, 186))
    return (
        base + int(rng.integers(0, 34)),
        base + int(rng.integers(-6, 10)),
        base - int(rng.integers(0, 34)),
    )


def _trees(rng: np.random.Generator) -> Iterator[Shape]:
    """Street trees: leaves are at air temperature, so warmer than sky and cooler than walls."""
    foot = feet(TREES[2])
    for slot in rng.permutation(TREE_PLACES)[:5]:
        u, height = slot + rng.uniform(-0.04, 0.04), rng.uniform(0.26, 0.36)
        trunk = limb((u, foot), (u + 0.01, foot - 0.6 * height), (0.026, 0.016))
        yield Shape(trunk, TREES, (72, 56, 44), 12.4, rough=(14.0, 0.5))
        for _ in range(34):
            angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform())
            x = u + 0.105 * far * np.cos(angle)
            y = foot - 0.72 * height + 0.3 * height * far * np.sin(angle)
            light = int(rng.integers(-18, 26))
            leaves = ellipse(x, y, rng.uniform(0.014, 0.034), rng.uniform(0.012, 0.028), 9)
            colour = (58 + light, 86 + light, 38 + light // 2)
            celsius = float(10.2 + 0.03 * light + rng.uniform(-0.5, 0.5))
            yield Shape(leaves, TREES, colour, celsius, rough=(24.0, 0.8))
