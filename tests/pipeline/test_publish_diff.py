"""Two releases compared: what is planted as changed is told, with its reason, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.publish_diff import diff_lines, diff_releases, told
from schemas.catalog import Lens
from schemas.degradations import GaussianBlur, StripeNoise
from schemas.facts import Rejection
from schemas.layouts import Layouts, StreamLayout
from schemas.recipe import DegradeRecipe, IngestRecipe, Recipe, RegisterRecipe, SyncRecipe
from schemas.release import Change, Release, ReleaseClip
from tests.pipeline.studio import NO_PREVIEWS, SITES, Studio

QUAY, ROOF, PIER = "quay-walk-000", "roof-walk-000", "pier-walk-000"
BLURRED = DegradeRecipe(visible=(GaussianBlur(sigma_px=(1.5, 2.0)),))


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Studio(tmp_path_factory.mktemp("studio"), list(SITES)).release()


def edited(release: Release, change: Callable[[ReleaseClip], dict[str, Any]]) -> Release:
    clips = tuple(clip.model_copy(update=change(clip)) for clip in release.clips)
    return next_release(release, clips=clips)


def next_release(release: Release, **changes: Any) -> Release:
    return release.model_copy(update={"version": "v1.1.0"} | changes).sealed()


def only(name: str, **changes: Any) -> Callable[[ReleaseClip], dict[str, Any]]:
    return lambda clip: changes if clip.clip == name else {}


def everywhere(**changes: Any) -> Callable[[ReleaseClip], dict[str, Any]]:
    return lambda _clip: changes


def rebuilt(clip: ReleaseClip, *arrays: str) -> dict[str, Any]:
    """What moves when a clip is built anew, with other pixels in the named arrays."""
    hashes = dict(clip.arrays) | dict.fromkeys(arrays, "b" * 64)
    return {"fingerprint": "b" * 32, "root_hash": "b" * 64, "arrays": hashes}


def reasons(old: Release, new: Release) -> dict[str, list[str]]:
    diff = diff_releases(old, new)
    return {clip.clip: [told(change) for change in clip.why] for clip in diff.changed}


def test_equal_content_has_no_difference(release: Release) -> None:
    diff = diff_releases(release, next_release(release))

    assert diff.is_empty()
    assert diff.unchanged == len(release.clips)
    assert diff_lines(diff) == []


def test_a_field_of_the_recipe_is_the_reason_of_every_rebuilt_clip(release: Release) -> None:
    new = edited(release, lambda clip: rebuilt(clip, "visible_degraded"))
    new = next_release(new, recipe=Recipe(degrade=BLURRED, publish=NO_PREVIEWS))

    diff = diff_releases(release, new)

    reason = "recipe.degrade.visible[0].sigma_px: [1.08, 1.94] -> [1.5, 2.0]"
    assert {clip.clip for clip in diff.changed} == {QUAY, ROOF, PIER}
    for clip in diff.changed:
        assert [told(change) for change in clip.why] == [reason]
        assert clip.effects == ("arrays.visible_degraded",)
    assert [told(change) for change in diff.release] == [reason]
    assert diff_lines(diff) == [reason, f"changed {PIER}, {QUAY}, {ROOF}: {reason}"]


def test_another_degradation_is_told_whole(release: Release) -> None:
    new = edited(release, rebuilt)
    new = next_release(
        new, recipe=Recipe(degrade=DegradeRecipe(visible=(StripeNoise(),)), publish=NO_PREVIEWS)
    )

    (change,) = diff_releases(release, new).changed[0].why

    assert change.what == "recipe.degrade.visible[0]"
    assert (change.old, change.new) == (
        DegradeRecipe().visible[0].model_dump(mode="json"),
        StripeNoise().model_dump(mode="json"),
    )


def test_the_sections_of_the_recipe_have_their_catalog_names(release: Release) -> None:
    new = edited(release, rebuilt)
    new = next_release(new, recipe=Recipe(register=RegisterRecipe(frames=9), publish=NO_PREVIEWS))

    assert reasons(release, new)[QUAY] == ["recipe.register.frames: 8 -> 9"]


def test_a_recipe_of_the_card_changes_no_clip(release: Release) -> None:
    new = next_release(
        release,
        recipe=Recipe.model_validate({"publish": {"card_clips": 3, "preview_pairs": 0}, "seed": 0}),
    )

    diff = diff_releases(release, new)

    assert [told(change) for change in diff.release] == ["recipe.publish.card_clips: 6 -> 3"]
    assert diff.unchanged == len(release.clips)


def test_a_raw_file_with_other_content_is_named_by_stream_and_recording(release: Release) -> None:
    def refilmed(clip: ReleaseClip) -> dict[str, Any]:
        if clip.clip != QUAY:
            return {}
        other = clip.sources["infrared"].model_copy(update={"sha256": "a" * 64})
        return rebuilt(clip, "infrared") | {
            "sources": dict(clip.sources) | {"infrared": other},
            "pairs": 8,
        }

    diff = diff_releases(release, edited(release, refilmed))

    (clip,) = diff.changed
    (change,) = clip.why
    old = next(c for c in release.clips if c.clip == QUAY).sources["infrared"].sha256
    assert change == Change(
        kind="source", what="infrared of quay-walk: sha256", old=old, new="a" * 64
    )
    assert told(change) == f"infrared of quay-walk: sha256: {old[:12]}... -> aaaaaaaaaaaa..."
    assert clip.effects == ("pairs", "arrays.infrared")


def test_a_moved_or_new_raw_file_is_told(release: Release) -> None:
    def moved(clip: ReleaseClip) -> dict[str, Any]:
        path = clip.sources["visible"].model_copy(update={"path": "roof/again.mp4"})
        added = clip.sources["visible"].model_copy(update={"path": "roof/times.csv"})
        sources = {**clip.sources, "visible": path, "timestamps.visible": added}
        return rebuilt(clip) | {"sources": sources} if clip.clip == ROOF else {}

    assert [line.split(" -> ")[0] for line in reasons(release, edited(release, moved))[ROOF]] == [
        "timestamps.visible of roof-walk: sha256: none",
        "timestamps.visible of roof-walk: path: none",
        "visible of roof-walk: path: roof/visible.mp4",
    ]


@pytest.mark.parametrize(
    ("field", "value", "told_so"),
    [
        ("site", "harbour", "site: quay -> harbour"),
        ("tags", ("night",), 'tags: ["day"] -> ["night"]'),
        ("session", "evening", "session: outing -> evening"),
        ("rig", "tripod", "rig: mast -> tripod"),
    ],
)
def test_what_the_catalog_declares_otherwise_is_told(
    release: Release, field: str, value: object, told_so: str
) -> None:
    new = edited(release, lambda clip: rebuilt(clip) | {field: value} if clip.clip == QUAY else {})

    assert reasons(release, new) == {QUAY: [told_so]}


def test_frames_that_lie_elsewhere_in_their_file_are_a_reason(release: Release) -> None:
    halved = Layouts(visible=StreamLayout(crop=(0, 0, 32, 24)))
    new = edited(
        release, lambda clip: rebuilt(clip) | {"layouts": halved} if clip.clip == QUAY else {}
    )

    (told_so,) = reasons(release, new)[QUAY]

    assert told_so.startswith("layouts: ")
    assert '"crop": [0, 0, 32, 24]' in told_so


def test_a_clip_in_another_split_needs_no_other_reason(release: Release) -> None:
    new = edited(release, only(ROOF, split="test"))

    assert reasons(release, new) == {ROOF: ["split: train -> test"]}


def test_a_declared_offset_is_a_reason_and_an_estimated_one_an_effect(release: Release) -> None:
    declared = edited(
        release,
        lambda clip: rebuilt(clip) | {"offset_s": 0.5, "declared": ("offset_s",)},
    )
    measured = edited(declared, everywhere(offset_s=0.25, fingerprint="c" * 32))
    estimated = edited(measured, everywhere(declared=(), fingerprint="d" * 32))

    assert reasons(release, declared)[QUAY] == [
        "offset_s: 0.125 -> 0.5",
        'declared: [] -> ["offset_s"]',
    ]
    assert reasons(declared, measured)[QUAY] == ["offset_s: 0.5 -> 0.25"]
    (clip, *_) = diff_releases(
        next_release(estimated, recipe=Recipe(seed=1, publish=NO_PREVIEWS)),
        edited(estimated, everywhere(offset_s=0.3, fingerprint="e" * 32)),
    ).changed
    assert [told(change) for change in clip.why] == ["recipe.seed: 1 -> 0"]
    assert clip.effects == ("offset_s",)


def test_another_calibration_of_a_rig_is_the_reason_of_its_clips(release: Release) -> None:
    (rig,) = release.rigs
    lens = Lens(fx=500, fy=500, cx=16, cy=12)
    calibrated = rig.model_copy(
        update={"visible": rig.visible.model_copy(update={"lens": lens, "width": 64})}
    )
    new = next_release(edited(release, rebuilt), rigs=(calibrated,))

    why = reasons(release, new)

    assert [line.partition(":")[0] for line in why[QUAY]] == [
        "rigs.mast.visible.lens",
        "rigs.mast.visible.width",
    ]
    assert why[QUAY] == why[ROOF] == why[PIER]


def test_another_version_of_a_stage_is_told(release: Release) -> None:
    versions = dict(release.stage_versions) | {"sync": 99}
    new = next_release(edited(release, rebuilt), stage_versions=versions)

    old_version = release.stage_versions["sync"]
    assert reasons(release, new)[PIER] == [f"stage_versions.sync: {old_version} -> 99"]


def test_a_change_without_a_known_reason_is_not_passed_over(release: Release) -> None:
    moved = edited(release, lambda clip: rebuilt(clip) if clip.clip == QUAY else {})
    tampered = edited(release, only(QUAY, root_hash="f" * 64))

    for new, what in ((moved, "fingerprint"), (tampered, "root_hash")):
        (clip,) = diff_releases(release, new).changed
        assert [(change.kind, change.what) for change in clip.why] == [("unexplained", what)]


def test_what_an_older_release_did_not_note_is_no_difference(release: Release) -> None:
    older = edited(release, everywhere(sources={}, declared=()))
    older = next_release(older, rigs=(), stage_versions={})

    assert diff_releases(older, release).is_empty()
    assert diff_releases(release, older).is_empty()


def test_recordings_that_come_and_go_are_named(release: Release) -> None:
    fewer = next_release(release, clips=release.clips[1:])

    added, removed = diff_releases(fewer, release), diff_releases(release, fewer)

    assert diff_lines(added) == [f"added {PIER}: recording: none -> pier-walk"]
    assert diff_lines(removed) == [f"removed {PIER}: recording: pier-walk -> none"]
    assert added.unchanged == removed.unchanged == 2


def test_a_recording_that_is_rejected_now_says_why_its_clips_are_gone(release: Release) -> None:
    rejection = Rejection(recording="pier-walk", stage="sync", reason="no motion; film again")
    new = next_release(
        release,
        clips=release.clips[1:],
        rejections=(rejection,),
        recipe=Recipe(sync=SyncRecipe(min_confidence=0.9), publish=NO_PREVIEWS),
    )

    (clip,) = diff_releases(release, new).removed

    assert [told(change) for change in clip.why] == [
        "rejection of pier-walk: none -> sync: no motion; film again",
        f"recipe.sync.min_confidence: {SyncRecipe().min_confidence} -> 0.9",
    ]


def test_a_recording_cut_otherwise_says_which_choice_did_it(release: Release) -> None:
    (pier, *others) = release.clips
    later = pier.model_copy(update={"clip": "pier-walk-004"} | rebuilt(pier))
    new = next_release(
        release,
        clips=(later, *others),
        recipe=Recipe(ingest=IngestRecipe(drop_repeated=True), publish=NO_PREVIEWS),
    )

    diff = diff_releases(release, new)

    why = "recipe.ingest.drop_repeated: false -> true"
    assert diff_lines(diff)[1:] == [f"removed {PIER}: {why}", f"added pier-walk-004: {why}"]


def test_many_clips_with_one_reason_share_a_line(release: Release) -> None:
    clip = release.clips[0]
    many = [clip.model_copy(update={"clip": f"pier-walk-{n:03d}"}) for n in range(50)]
    old = next_release(release, clips=tuple(many))
    new = edited(old, everywhere(split="train"))

    assert diff_lines(diff_releases(old, new)) == [
        "changed pier-walk-000, pier-walk-001, pier-walk-002 and 47 more: split: val -> train"
    ]


@given(
    kept=st.sets(st.integers(0, 19)),
    older=st.sets(st.integers(0, 19)),
    newer=st.sets(st.integers(0, 19)),
)
def test_every_clip_is_counted_once(
    release: Release, kept: set[int], older: set[int], newer: set[int]
) -> None:
    def of(numbers: set[int], split: str) -> Release:
        clips = [
            release.clips[0].model_copy(
                update={"clip": f"c-{number:02d}", "split": "val" if number in kept else split}
            )
            for number in sorted(numbers | kept)
        ]
        return next_release(release, clips=tuple(clips))

    old, new = of(older, "train"), of(newer, "test")
    diff, back = diff_releases(old, new), diff_releases(new, old)

    assert len(diff.added) + len(diff.changed) + diff.unchanged == len(new.clips)
    assert len(diff.removed) + len(diff.changed) + diff.unchanged == len(old.clips)
    assert [clip.clip for clip in diff.added] == [clip.clip for clip in back.removed]
    assert [clip.clip for clip in diff.changed] == [clip.clip for clip in back.changed]
    assert diff.is_empty() == (old.clips == new.clips)


def test_a_diff_of_real_releases_tells_a_session_added(tmp_path: Path) -> None:
    studio = Studio(tmp_path, ["quay", "pier"])
    first = studio.release("v1.0.0")
    studio.add("roof")

    diff = diff_releases(first, studio.release("v1.1.0"))

    assert [clip.clip for clip in diff.added] == [ROOF]
    assert (diff.removed, diff.changed, diff.unchanged) == ((), (), 2)
    assert {change.what.split(".")[0] for change in diff.release} == {"statistics"}
