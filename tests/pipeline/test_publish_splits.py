"""Releases keep to their splits: whole sites, for good, and statistics of training alone."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.publish import StoredClip, make_release
from pipeline.publish_diff import diff_releases
from pipeline.publish_levels import statistics_of
from schemas.catalog import Camera, Catalog, Dataset, Recording, Rig, Session, SplitRule
from schemas.facts import ClipFacts, ClipQuality, LevelSums, ShardFacts
from schemas.recipe import Recipe
from schemas.release import Release

CAMERA = Camera(width=32, height=24)
QUALITY = ClipQuality(**dict.fromkeys(ClipQuality.model_fields, 0.5))

RECORDINGS = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 200), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)
"""Of each recording the number of its site, a grey level and how many clips it gave."""

Planned = tuple[int, int, int]


def clip_facts(recording: str, place: int, level: int) -> ClipFacts:
    levels = LevelSums(samples=10, levels=10 * level, squared_levels=10 * level**2)
    return ClipFacts(
        clip=f"{recording}-{place:06d}",
        fingerprint="1" * 32,
        pairs=9,
        fps=25,
        width=32,
        height=24,
        root_hash="2" * 64,
        homography=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        offset_s=0,
        drift_ppm=0,
        quality=QUALITY,
        infrared_levels=levels,
        visible_levels=levels,
    )


def outcomes_of(planned: Sequence[Planned]) -> list[ShardFacts]:
    return [
        ShardFacts(
            recording=f"walk-{number}",
            fingerprint="1" * 32,
            clips=tuple(clip_facts(f"walk-{number}", place, level) for place in range(clips)),
        )
        for number, (_, level, clips) in enumerate(planned)
    ]


def release_of(planned: Sequence[Planned], seed: int, version: str = "v1.0.0") -> Release:
    """The release of these recordings, a session each."""
    sessions = tuple(
        Session(
            id=f"outing-{number}",
            rig="mast",
            recordings=(
                Recording(id=f"walk-{number}", site=f"site-{site}", infrared="a", visible="b"),
            ),
        )
        for number, (site, _, _) in enumerate(planned)
    )
    catalog = Catalog(
        dataset=Dataset(name="harbour"),
        data_root=Path("/footage"),
        rigs=(Rig(id="mast", infrared=CAMERA, visible=CAMERA),),
        sessions=sessions,
        recipe=Recipe(),
        splits=SplitRule(train=0.5, val=0.3, test=0.2, seed=seed),
    )
    outcomes = outcomes_of(planned)
    stored = {
        clip.clip: StoredClip(root_hash=clip.root_hash, size_bytes=1, arrays={})
        for outcome in outcomes
        for clip in outcome.clips
    }
    return make_release(version, catalog, outcomes, stored)


@given(planned=RECORDINGS, seed=st.integers(0, 2**32))
def test_a_site_never_spans_two_splits(planned: list[Planned], seed: int) -> None:
    release = release_of(planned, seed)

    splits = {(clip.site, clip.split) for clip in release.clips}
    assert len(splits) == len({clip.site for clip in release.clips})


@given(planned=RECORDINGS, more=RECORDINGS, seed=st.integers(0, 2**32))
def test_sessions_added_never_move_or_change_a_clip(
    planned: list[Planned], more: list[Planned], seed: int
) -> None:
    first = release_of(planned, seed)
    second = release_of([*planned, *more], seed, "v1.1.0")

    diff = diff_releases(first, second)

    assert (diff.changed, diff.removed) == ((), ())
    assert diff.unchanged == len(first.clips)
    assert len(diff.added) == sum(clips for _, _, clips in more)


@given(planned=RECORDINGS, seed=st.integers(0, 2**32))
def test_statistics_are_those_of_the_training_clips_alone(
    planned: list[Planned], seed: int
) -> None:
    release = release_of(planned, seed)

    training = {clip.clip for clip in release.clips if clip.split == "train"}
    clips = [clip for outcome in outcomes_of(planned) for clip in outcome.clips]
    assert release.statistics == statistics_of(clip for clip in clips if clip.clip in training)


@given(planned=RECORDINGS, seed=st.integers(0, 2**32), level=st.integers(0, 255))
def test_pixels_outside_of_training_never_move_the_statistics(
    planned: list[Planned], seed: int, level: int
) -> None:
    release = release_of(planned, seed)
    training = {clip.recording for clip in release.clips if clip.split == "train"}

    repainted = [
        one if f"walk-{number}" in training else (one[0], level, one[2])
        for number, one in enumerate(planned)
    ]

    assert release_of(repainted, seed).statistics == release.statistics
