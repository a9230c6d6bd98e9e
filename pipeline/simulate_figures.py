"""Warm things that move: people and cars as outlines in view angles, functions of time alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

HORIZON = -0.04
"""Height of the horizon in the view (tangent of the angle below the optical axis, down is plus)."""

NEAREST_GROUND = 0.43
"""Where the nearest ground lies in the view: the lower rim of a 47 degree tall picture."""

CAMERA_HEIGHT_M = 2.2
"""A rig on a tripod; it fixes how tall people stand between the horizon and their feet."""

PERSON_LOOP, CAR_LOOP = 1.5, 2.1
"""What leaves re-enters on the other side after this much of the view (tangent units); wider than
the view of the default cameras with a pan, so that nobody is seen to vanish."""

LAST_SEEN = 0.95
"""Nothing that moves is drawn beyond: a pan of 5 degrees sees to 0.75, half a car is 0.15."""

HALF_CIRCLE = np.array([(-math.sin(a), math.cos(a)) for a in np.linspace(0, math.pi, 7)])
"""The round end of a stroke that heads right, shape (7, 2)."""

RGB = tuple[int, int, int]

Nearness = tuple[float, float, float]
"""Nearness at (u, v) is a*u + b*v + c: 0 farthest, 1 nearest. Linear, so that it is a plane."""

GROUND: Nearness = (
    0.0,
    1 / (NEAREST_GROUND - HORIZON),
    -HORIZON / (NEAREST_GROUND - HORIZON),
)


@dataclass(frozen=True)
class Shape:
    """An evenly coloured outline on a plane of the world.

    Attributes:
        outline: corners in view angles (tangents; u right, v down), shape (N, 2).
        nearness: the plane it lies on.
        visible: sRGB by day; None: the visible camera does not see it.
        infrared_c: degrees Celsius; None: the infrared camera does not see it.
        opacity: share of what is behind that it hides, 0..1.
        glows: shines by itself, so that the light of the scene does not dim it.
        rough: strength of its texture, visible grey levels and degrees Celsius.
        name: what the truth calls it, where it is worth naming.
    """

    outline: NDArray[np.float64]
    nearness: Nearness
    visible: RGB | None
    infrared_c: float | None
    opacity: float = 1.0
    glows: bool = False
    rough: tuple[float, float] = (0.0, 0.0)
    name: str | None = None


def units_per_m(nearness: float) -> float:
    """Size in the view of a metre standing on the ground at `nearness`."""
    return nearness * (NEAREST_GROUND - HORIZON) / CAMERA_HEIGHT_M


def feet(nearness: float) -> float:
    """Where in the view (v) something standing at `nearness` touches the ground."""
    return HORIZON + nearness * (NEAREST_GROUND - HORIZON)


def ellipse(x: float, y: float, rx: float, ry: float, corners: int = 20) -> NDArray[np.float64]:
    """An ellipse about (x, y), shape (corners, 2)."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """An upright rectangle, shape (4, 2)."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def limb(
    start: tuple[float, float], end: tuple[float, float], widths: tuple[float, float]
) -> NDArray[np.float64]:
    """A tapered stroke with round ends, shape (14, 2).

    Args:
        start: one end.
        end: the other.
        widths: full width at either end.
    """
    across, down = end[0] - start[0], end[1] - start[1]
    length = math.hypot(across, down)
    cosine, sine = (across / length, down / length) if length else (1.0, 0.0)
    circle = HALF_CIRCLE @ np.array([[cosine, sine], [-sine, cosine]])
    return np.concatenate([circle * (widths[0] / 2) + start, circle * (-widths[1] / 2) + end])


@dataclass(frozen=True)
class Path:
    """How far something has come at a time; its speed varies and never repeats.

    Attributes:
        speed: mean speed, tangent units a second; its sign is the direction.
        swings: two (share of the speed, radians a second, phase); shares add up to less than 1.
    """

    speed: float
    swings: tuple[tuple[float, float, float], tuple[float, float, float]]

    def distance(self, time_s: float) -> float:
        """Way since time 0: the integral of the varying speed."""
        varied = sum(
            share / rate * (np.sin(rate * time_s + phase) - np.sin(phase))
            for share, rate, phase in self.swings
        )
        return float(self.speed * (time_s + varied))


@dataclass(frozen=True)
class Clothes:
    """How a person looks to the visible camera; a body looks much the same in infrared."""

    jacket: RGB
    trousers: RGB
    skin: RGB
    hair: RGB
    jacket_c: float
    bag: RGB | None


@dataclass(frozen=True)
class Person:
    """Somebody who crosses the view, paces within a reach, or stands and waves.

    Attributes:
        start: where (u) at time 0.
        nearness: where on the ground.
        height_m: body height.
        path: way along u.
        manner: crossing leaves the view and comes back; pacing stays within `reach` of the start.
        reach: half the width of the paced stretch, tangent units.
    """

    start: float
    nearness: float
    height_m: float
    path: Path
    clothes: Clothes
    manner: Literal["crossing", "pacing", "waving"] = "crossing"
    reach: float = 0.1

    def shapes(self, time_s: float) -> Iterator[Shape]:
        """The parts of the body at an instant, those behind first."""
        way = self.path.distance(time_s)
        tall = self.height_m * units_per_m(self.nearness)
        u, facing = self._place(way)
        if abs(u) > LAST_SEEN:
            return
        gait = 2 * np.pi * abs(way) / (0.85 * tall)
        waves = 1.9 + 0.7 * np.sin(7.1 * way / tall) if self.manner == "waving" else None
        if self.manner == "waving":
            gait = 0.0
        lift = np.array([facing * tall, -tall])
        ground = np.array([u, feet(self.nearness)])
        plane = (0.0, 0.0, self.nearness)
        shadow = ellipse(u, feet(self.nearness), 0.22 * tall, 0.035 * tall)
        yield Shape(shadow, plane, (25, 25, 30), None, opacity=0.45)
        for outline, visible, celsius in _body(self.clothes, gait, waves):
            yield Shape(ground + outline * lift, plane, visible, celsius)

    def _place(self, way: float) -> tuple[float, float]:
        """Where the feet are (u), and the side they point to: -1 left, 1 right, turning between."""
        if self.manner == "crossing":
            u = (self.start + way + PERSON_LOOP / 2) % PERSON_LOOP - PERSON_LOOP / 2
            return u, float(np.sign(self.path.speed))
        if self.manner == "waving":
            return self.start, 1.0
        turn = way / self.reach
        return self.start + self.reach * math.sin(turn), math.tanh(5 * math.cos(turn))


Part = tuple[NDArray[np.float64], RGB, float]


def _body(clothes: Clothes, gait: float, waving_arm: float | None) -> Iterator[Part]:
    """A walking body of height 1: x forward, y up, feet at the origin; those behind first.

    Proportions are those of drawing manuals (eight heads tall, hip at half height). Temperatures
    are those of a clothed body at 15 degrees of air: skin 33, hair 27, cloth 21 to 27, shoes 19.
    """
    legs = [_leg(gait + np.pi), _leg(gait)]
    hip = max(-min(ankle[1] for _, ankle in legs), 0.45) + 0.04
    shoulder = (0.015, hip + 0.31)
    dark = _shade(clothes.jacket, 0.7)
    yield from _arm(shoulder, -0.5 * np.sin(gait), dark, clothes)
    for (knee, ankle), shade in zip(legs, (0.7, 1.0), strict=True):
        at_knee, at_ankle = (knee[0], hip + knee[1]), (ankle[0], hip + ankle[1])
        cloth = _shade(clothes.trousers, shade)
        yield limb((0.0, hip), at_knee, (0.115, 0.085)), cloth, 26.0
        yield limb(at_knee, at_ankle, (0.085, 0.055)), cloth, 24.5
        toe = (at_ankle[0] + 0.075, at_ankle[1] - 0.022)
        yield limb((at_ankle[0], toe[1]), toe, (0.045, 0.035)), (30, 28, 27), 19.0
    if clothes.bag is not None:
        yield ellipse(-0.1, hip + 0.2, 0.07, 0.11), clothes.bag, 18.0
    neck = (0.012, hip + 0.375)
    yield limb(shoulder, neck, (0.06, 0.055)), clothes.skin, 33.5
    torso = [
        (-0.085, -0.06), (-0.075, 0.08), (-0.095, 0.24), (-0.07, 0.315), (-0.02, 0.345),
        (0.05, 0.34), (0.1, 0.29), (0.095, 0.16), (0.08, 0.06), (0.085, -0.06),
    ]  # fmt: skip
    above_hip = np.array([0.0, hip])
    yield np.array(torso) + above_hip, clothes.jacket, clothes.jacket_c
    front = np.array([(0.03, -0.06), (0.04, 0.34), (0.1, 0.29), (0.095, 0.16), (0.085, -0.06)])
    yield front + above_hip, _shade(clothes.jacket, 1.18), clothes.jacket_c + 1.5
    head = hip + 0.432
    yield ellipse(0.02, head, 0.05, 0.066), clothes.skin, 33.0
    yield ellipse(0.002, head + 0.026, 0.053, 0.05), clothes.hair, 27.0
    yield ellipse(0.046, head - 0.012, 0.026, 0.042), clothes.skin, 34.0
    swing = 0.5 * np.sin(gait) if waving_arm is None else waving_arm
    yield from _arm(shoulder, swing, _shade(clothes.jacket, 0.88), clothes)


def _leg(phase: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Knee and ankle below a hip at the origin; the knee bends while the leg swings forward."""
    thigh = 0.42 * np.sin(phase)
    shin = thigh - 0.08 - 0.8 * max(0.0, float(np.cos(phase))) ** 1.5
    knee = (0.245 * np.sin(thigh), -0.245 * np.cos(thigh))
    return knee, (knee[0] + 0.225 * np.sin(shin), knee[1] - 0.225 * np.cos(shin))


def _arm(shoulder: tuple[float, float], swing: float, sleeve: RGB, clothes: Clothes) -> list[Part]:
    """An arm hanging at `swing` radians forward of straight down."""
    elbow = (shoulder[0] + 0.17 * np.sin(swing), shoulder[1] - 0.17 * np.cos(swing))
    fore = swing + 0.35
    wrist = (elbow[0] + 0.14 * np.sin(fore), elbow[1] - 0.14 * np.cos(fore))
    return [
        (limb(shoulder, elbow, (0.075, 0.06)), sleeve, clothes.jacket_c - 1.0),
        (limb(elbow, wrist, (0.06, 0.045)), sleeve, clothes.jacket_c - 2.0),
        (ellipse(wrist[0], wrist[1] - 0.01, 0.024, 0.03, 12), clothes.skin, 31.0),
    ]


def _shade(colour: RGB, factor: float) -> RGB:
    red, green, blue = (min(255, round(c * factor)) for c in colour)
    return red, green, blue


@dataclass(frozen=True)
class Car:
    """A car that drives through the view again and again."""

    start: float
    nearness: float
    path: Path
    paint: RGB
    headlights: bool

    def shapes(self, time_s: float) -> Iterator[Shape]:
        """The parts of the car at an instant, those behind first."""
        way = self.path.distance(time_s)
        metre = units_per_m(self.nearness)
        u = (self.start + way + CAR_LOOP / 2) % CAR_LOOP - CAR_LOOP / 2
        if abs(u) > LAST_SEEN:
            return
        facing = float(np.sign(self.path.speed))
        ground = np.array([u, feet(self.nearness)])
        plane = (0.0, 0.0, self.nearness)
        for outline, visible, celsius in _car(self.paint, abs(way) / metre):
            yield Shape(ground + outline * (facing * metre, -metre), plane, visible, celsius)
        if self.headlights:
            for radius, opacity in ((0.5, 0.25), (0.28, 0.5), (0.13, 1.0)):
                lamp = ellipse(2.05, 0.68, radius, radius) * (facing * metre, -metre)
                yield Shape(ground + lamp, plane, (255, 250, 225), None, opacity, glows=True)


def _car(paint: RGB, way_m: float) -> Iterator[Part]:
    """A car seen from the side, metres: x forward, y up, middle of the wheels' line at 0.

    Bonnet, tyres and exhaust are warm from driving; the glass reflects the cold sky.
    """
    yield rectangle(-2.0, 0.02, 2.0, 0.3), (18, 18, 20), 24.0
    body = [
        (-2.1, 0.3), (-2.15, 0.75), (-1.95, 0.95), (-1.5, 1.0), (-1.0, 1.42), (0.35, 1.45),
        (1.0, 1.0), (1.85, 0.88), (2.12, 0.7), (2.15, 0.3),
    ]  # fmt: skip
    yield np.array(body), paint, 16.5
    bonnet = [(0.95, 0.45), (0.95, 0.99), (1.85, 0.87), (2.1, 0.68), (2.12, 0.45)]
    yield np.array(bonnet), _shade(paint, 0.93), 27.0
    glass = [(-1.35, 1.0), (-0.95, 1.34), (0.3, 1.37), (0.8, 1.0)]
    yield np.array(glass), (52, 62, 74), 7.5
    yield rectangle(-0.33, 1.0, -0.24, 1.37), paint, 15.0
    yield ellipse(2.0, 0.68, 0.1, 0.09, 10), (238, 236, 220), 20.0
    yield ellipse(-2.08, 0.75, 0.08, 0.1, 10), (170, 25, 25), 16.0
    yield ellipse(-2.15, 0.27, 0.08, 0.06, 10), (60, 58, 55), 38.0
    for axle in (-1.3, 1.35):
        yield ellipse(axle, 0.33, 0.35, 0.35, 24), (22, 22, 23), 25.5
        yield ellipse(axle, 0.33, 0.2, 0.2, 16), (150, 152, 158), 30.0
        for spoke in range(5):
            turn = -way_m / 0.34 + spoke * 2 * np.pi / 5
            rim = (axle + 0.18 * np.cos(turn), 0.33 + 0.18 * np.sin(turn))
            yield limb((axle, 0.33), rim, (0.05, 0.04)), (70, 72, 76), 27.0


Mover = Person | Car
