"""The synthetic world of the simulated rig: a street, who moves in it, and its light."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.simulate_figures import (
    Car,
    Clothes,
    Mover,
    Path,
    Person,
    Shape,
    feet,
    rectangle,
    units_per_m,
)
from pipeline.simulate_street import Layer, build_furniture, build_street, lamp_pools
from schemas.simulation import SimulatedRecording

FILM_NEARNESS = 0.6
"""The film hangs just before the person who paces behind it."""

FILM_MIDDLE = -0.16
FILM_WIDTH = 0.34

Pool = tuple[float, float, float, float]
"""u, v, radius (tangent units) and strength of a Gaussian pool of light."""


@dataclass(frozen=True)
class Lighting:
    """Visible light: an even part and pools about lamps. Infrared needs none.

    Attributes:
        ambient: factor on every daylight colour: red, green, blue.
        lamps: pools that add to the factor.
        glare: pools that add grey levels within the lens, before everything.
        noise_factor: how much stronger the visible sensor's noise is than by day.
    """

    ambient: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lamps: tuple[Pool, ...] = ()
    glare: tuple[Pool, ...] = ()
    noise_factor: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Resting layers, far to near; then things before them, resting or moving."""

    layers: tuple[Layer, ...]
    props: tuple[Shape, ...] = ()
    movers: tuple[Mover, ...] = ()
    lighting: Lighting = Lighting()

    def shapes_at(self, time_s: float) -> Iterator[Shape]:
        """Everything before the layers at an instant, those behind first."""
        standing = [(prop.nearness[2], [prop]) for prop in self.props]
        moving = [(mover.nearness, list(mover.shapes(time_s))) for mover in self.movers]
        for _, shapes in sorted(standing + moving, key=lambda thing: thing[0]):
            yield from shapes

    def one_band_shapes(self) -> Iterator[Shape]:
        """The resting things worth naming that one band alone shows."""
        resting = (shape for layer in self.layers for shape in layer.shapes)
        for shape in (*resting, *self.props):
            if shape.name is not None and (shape.visible is None or shape.infrared_c is None):
                yield shape


def generator(*keys: int | str) -> np.random.Generator:
    """Random numbers that depend on the keys alone: seed, whose, what is drawn, frame."""
    digest = hashlib.sha256("\0".join(str(key) for key in keys).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def build_scene(recording: SimulatedRecording, seed: int) -> Scene:
    """The world of a recording: streets depend on the site, who is there on the recording.

    Args:
        recording: its tags decide what there is and how it is lit.
        seed: of the simulation.
    """
    site = generator(seed, recording.site, "site")
    layers, furniture = build_street(site), build_furniture(site)
    film = (_film(),) if "occlusion" in recording.tags else ()
    return Scene(
        layers=layers,
        props=(*furniture, *film),
        movers=tuple(_movers(generator(seed, recording.id, "movers"), recording)),
        lighting=_lighting(recording, furniture),
    )


def _film() -> Shape:
    """A white plastic film on a line: opaque to light, clear to thermal radiation."""
    metre, foot = units_per_m(FILM_NEARNESS), feet(FILM_NEARNESS)
    sheet = rectangle(
        FILM_MIDDLE - FILM_WIDTH / 2, foot - 2.0 * metre, FILM_MIDDLE + FILM_WIDTH / 2, foot + 0.01
    )
    return Shape(sheet, (0.0, 0.0, FILM_NEARNESS), (206, 212, 216), None, name="plastic-film")


def _movers(rng: np.random.Generator, recording: SimulatedRecording) -> Iterator[Mover]:
    night = bool({"night", "low-light"} & set(recording.tags))
    for index, nearness in enumerate((0.27, 0.51, 0.55, 0.66, 0.8)):
        heading = (-1) ** index
        clothes = _clothes(rng)
        yield Person(
            start=float(rng.uniform(-0.45, 0.45)),
            nearness=nearness + float(rng.uniform(-0.015, 0.015)),
            height_m=float(rng.uniform(1.58, 1.88)),
            path=_path(rng, heading * float(rng.uniform(0.9, 1.5)) * units_per_m(nearness)),
            clothes=clothes,
        )
    yield Person(
        start=float(rng.uniform(0.2, 0.3)),
        nearness=0.5,
        height_m=1.75,
        path=_path(rng, 0.09),
        clothes=_clothes(rng),
        manner="waving",
    )
    if "occlusion" in recording.tags:
        yield Person(
            start=FILM_MIDDLE,
            nearness=FILM_NEARNESS - 0.01,
            height_m=1.72,
            path=_path(rng, 0.9 * units_per_m(FILM_NEARNESS)),
            clothes=_clothes(rng),
            manner="pacing",
            reach=FILM_WIDTH / 2 - 0.07,
        )
    if "disguise" in recording.tags:
        yield from _disguised(rng)
    for nearness, heading in ((0.345, 1), (0.43, -1)):
        speed = heading * float(rng.uniform(2.6, 4.4)) * units_per_m(nearness)
        paint = [(158, 30, 34), (36, 70, 132), (226, 226, 224), (60, 64, 68)][rng.integers(4)]
        yield Car(float(rng.uniform(-0.5, 0.5)), nearness, _path(rng, speed), paint, night)


def _disguised(rng: np.random.Generator) -> Iterator[Mover]:
    """People dressed and masked like the wall behind them: plain in infrared alone."""
    wall = Clothes((150, 144, 134), (140, 136, 128), (148, 142, 132), (138, 132, 124), 24.0, None)
    for start in (-0.32, 0.12):
        path = _path(rng, float(rng.uniform(0.5, 0.8)) * units_per_m(0.28))
        yield Person(start, 0.285, 1.75, path, wall, manner="pacing", reach=0.12)


def _clothes(rng: np.random.Generator) -> Clothes:
    jackets = [(172, 38, 40), (34, 58, 108), (46, 48, 52), (206, 176, 44), (60, 104, 70)]
    trousers = [(38, 42, 58), (70, 62, 54), (92, 100, 118), (28, 28, 30)]
    skins = [(224, 182, 152), (198, 148, 114), (128, 88, 64)]
    hairs = [(34, 26, 22), (92, 62, 36), (152, 146, 140)]
    bags = [None, (120, 72, 38), (40, 92, 96)]
    return Clothes(
        jacket=jackets[rng.integers(len(jackets))],
        trousers=trousers[rng.integers(len(trousers))],
        skin=skins[rng.integers(len(skins))],
        hair=hairs[rng.integers(len(hairs))],
        jacket_c=float(rng.uniform(22.0, 26.0)),
        bag=bags[rng.integers(len(bags))],
    )


def _path(rng: np.random.Generator, speed: float) -> Path:
    """A way whose speed swings at two incommensurate rates, nearly to a halt at times."""
    slow, quick = rng.uniform(0.5, 1.1), rng.uniform(1.7, 2.9)
    return Path(
        speed,
        (
            (float(rng.uniform(0.4, 0.6)), float(slow), float(rng.uniform(0, 2 * np.pi))),
            (float(rng.uniform(0.2, 0.38)), float(quick), float(rng.uniform(0, 2 * np.pi))),
        ),
    )


def _lighting(recording: SimulatedRecording, furniture: tuple[Shape, ...]) -> Lighting:
    tags = set(recording.tags)
    if "night" in tags:
        lamps = tuple((u, v, 0.16, 0.62) for u, v in lamp_pools(furniture))
        return Lighting((0.13, 0.14, 0.19), lamps, noise_factor=3.0)
    if "low-light" in tags:
        return Lighting((0.24, 0.23, 0.25), noise_factor=3.5)
    if "overexposure" in tags:
        return Lighting((1.55, 1.5, 1.42), glare=((0.34, -0.2, 0.16, 230.0),))
    return Lighting()
