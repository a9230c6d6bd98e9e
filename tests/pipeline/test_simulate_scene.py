"""The synthetic world moves smoothly, never rhythmically, and holds what its tags say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.simulate_figures import Clothes, Path, Person, feet, units_per_m
from pipeline.simulate_scene import Scene, build_scene, generator
from schemas.simulation import SceneTag, SimulatedRecording

CLOTHES = Clothes((170, 40, 40), (40, 40, 60), (220, 180, 150), (30, 25, 20), 23.0, None)
PATH = Path(0.12, ((0.5, 0.7, 1.0), (0.3, 2.3, 2.0)))


def recording(*tags: SceneTag, site: str = "market-street") -> SimulatedRecording:
    return SimulatedRecording(id="walk", site=site, tags=tags or ("day",))


@given(time_s=st.floats(0, 500), speed=st.floats(0.01, 1), rate=st.floats(0.3, 4))
def test_a_path_never_turns_back_and_keeps_its_mean_speed(
    time_s: float, speed: float, rate: float
) -> None:
    path = Path(speed, ((0.6, rate, 1.0), (0.38, rate * 2.7, 2.0)))

    way = path.distance(time_s)

    assert path.distance(time_s + 0.05) >= way
    assert abs(way - speed * time_s) <= speed * 2 * (0.6 + 0.38) / rate


@given(time_s=st.floats(0, 100), height_m=st.floats(1.4, 2.0), nearness=st.floats(0.2, 0.9))
def test_people_stand_on_the_ground_at_their_height(
    time_s: float, height_m: float, nearness: float
) -> None:
    person = Person(0.0, nearness, height_m, PATH, CLOTHES, manner="pacing")
    tall = height_m * units_per_m(nearness)

    body = np.concatenate([s.outline for s in person.shapes(time_s) if s.infrared_c is not None])

    assert body[:, 1].max() == pytest.approx(feet(nearness), abs=0.06 * tall)
    assert np.ptp(body[:, 1]) == pytest.approx(tall, rel=0.09)
    assert np.ptp(body[:, 0]) < 0.75 * tall


@settings(max_examples=25)
@given(time_s=st.floats(0, 60))
def test_everything_in_view_moves_without_jumps(time_s: float) -> None:
    scene = build_scene(recording("day", "occlusion", "disguise"), seed=3)

    for mover in scene.movers:
        before, after = ([s.outline for s in mover.shapes(time_s + dt)] for dt in (0.0, 0.001))

        if before and after and np.abs(before[-1]).max() < 0.7:
            assert np.abs(np.concatenate(after) - np.concatenate(before)).max() < 0.004


def test_the_movement_of_a_scene_has_no_rhythm() -> None:
    """A rhythm would let a shifted copy of the motion pass for the right one (CAPTURE.md)."""
    scene = build_scene(recording(), seed=0)
    times_s = np.arange(0, 20, 0.04)
    motion = np.zeros(times_s.size - 1)
    for mover in scene.movers:
        way = np.array([mover.path.distance(t) for t in times_s])
        motion += np.abs(np.diff(way))
    motion -= motion.mean()

    scores = [
        np.corrcoef(motion[lag:], motion[: motion.size - lag])[0, 1] for lag in range(25, 250)
    ]

    assert max(scores) < 0.9


def test_a_site_looks_the_same_in_all_its_recordings() -> None:
    first = build_scene(recording(), seed=0)
    again = build_scene(recording("day").model_copy(update={"id": "other"}), seed=0)
    elsewhere = build_scene(recording(site="river-park"), seed=0)

    assert _walls(first) == _walls(again)
    assert _walls(first) != _walls(elsewhere)
    assert first.movers != again.movers


def _walls(scene: Scene) -> list[bytes]:
    return [shape.outline.tobytes() for layer in scene.layers for shape in layer.shapes]


def test_tags_decide_what_there_is() -> None:
    plain = build_scene(recording(), seed=0)
    film = build_scene(recording("day", "occlusion"), seed=0)
    night = build_scene(recording("night"), seed=0)

    assert "plastic-film" not in {s.name for s in plain.one_band_shapes()}
    assert {"poster", "hot-pipe", "plastic-film"} == {s.name for s in film.one_band_shapes()}
    assert max(night.lighting.ambient) < 0.3
    assert len(film.movers) == len(plain.movers) + 1


def test_random_numbers_depend_on_every_key() -> None:
    draws = {
        generator(*keys).integers(2**62) for keys in ((0, "a"), (0, "b"), (1, "a"), (0, "a", 0))
    }

    assert len(draws) == 4
    assert generator(0, "a").integers(2**62) in draws
