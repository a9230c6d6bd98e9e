"""What one release has otherwise than another, and why."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from schemas.catalog import Rig
from schemas.facts import Rejection
from schemas.release import Change, ChangeKind, ClipDiff, Release, ReleaseClip, ReleaseDiff

DECLARED = ("session", "rig", "site", "split", "tags", "declared", "layouts", "leave_out")
"""Fields of a clip that the catalog alone decides."""

MEASURED = ("pairs", "fps", "width", "height", "homography", "offset_s", "drift_ppm", "quality")
"""Fields of a clip that follow from its files, the recipe and the code."""

DECLARABLE = ("homography", "offset_s", "fps")
"""Measured fields that are causes of their own where the catalog declares them."""

NOTED = ("sources", "declared")
"""Fields that tell nothing of a clip whose sources were not noted."""

SHOWN_NAMES = 3
"""Clips named in a line that holds for many."""

SHOWN_DIGITS = 12
"""Of a hash, in text for people: no two of one dataset share so many."""

SHOWN_CHARACTERS = 100
"""Of a value, in text for people."""

HASH = re.compile(r"\b[0-9a-f]{32,}\b")


@dataclass(frozen=True)
class Side:
    """One of the two releases, by clip and by recording."""

    clips: Mapping[str, ReleaseClip]
    recordings: Mapping[str, Sequence[ReleaseClip]]
    rejections: Mapping[str, Rejection]


def diff_releases(old: Release, new: Release) -> ReleaseDiff:
    """Which clips were added, removed and changed between two releases, and why.

    What one of the two did not note is not compared.
    """
    before, after = _side(old), _side(new)
    recipe = list(value_changes("recipe", "recipe", *_sections(old, new, "recipe")))
    code = list(value_changes("code", "stage_versions", *_sections(old, new, "stage_versions")))
    rigs = _rig_changes(old.rigs, new.rigs)
    shared = [one for one in recipe if not one.what.startswith("recipe.publish.")] + code
    common = sorted(before.clips.keys() & after.clips.keys())
    pairs = [(before.clips[name], after.clips[name]) for name in common]
    changed = [
        _changed_clip(one, other, differing, [*rigs.get(other.rig, ()), *shared])
        for one, other in pairs
        if (differing := _differing(one, other))
    ]
    added = [
        _lone_clip(after.clips[name], before, rigs, shared, is_new=True)
        for name in sorted(after.clips.keys() - before.clips.keys())
    ]
    removed = [
        _lone_clip(before.clips[name], after, rigs, shared, is_new=False)
        for name in sorted(before.clips.keys() - after.clips.keys())
    ]
    return ReleaseDiff(
        old=old.version,
        new=new.version,
        old_root_hash=old.root_hash,
        new_root_hash=new.root_hash,
        release=(
            *value_changes("declared", "dataset", *_sections(old, new, "dataset")),
            *recipe,
            *value_changes("declared", "splits", *_sections(old, new, "splits")),
            *(change for of_rig in rigs.values() for change in of_rig),
            *code,
            *_rejection_changes(before.rejections, after.rejections),
            *value_changes("measured", "statistics", *_sections(old, new, "statistics")),
        ),
        added=tuple(added),
        removed=tuple(removed),
        changed=tuple(changed),
        unchanged=len(common) - len(changed),
    )


def value_changes(kind: ChangeKind, place: str, old: JsonValue, new: JsonValue) -> Iterator[Change]:
    """Every value that differs, by its dotted path from `place` on; lists of plain values whole."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
        for name in sorted(old.keys() | new.keys()):
            yield from value_changes(kind, f"{place}.{name}", old.get(name), new.get(name))
    elif isinstance(old, list) and isinstance(new, list) and _holds_mappings(old, new):
        for index in range(max(len(old), len(new))):
            one, other = (part[index] if index < len(part) else None for part in (old, new))
            yield from value_changes(kind, f"{place}[{index}]", one, other)
    else:
        yield Change(kind=kind, what=place, old=old, new=new)


def diff_lines(diff: ReleaseDiff) -> list[str]:
    """The same for people: clips that share their reasons share a line."""
    lines = [told(change) for change in diff.release]
    for word, clips in (
        ("removed", diff.removed),
        ("added", diff.added),
        ("changed", diff.changed),
    ):
        alike: dict[str, list[str]] = defaultdict(list)
        for clip in clips:
            alike["; ".join(map(told, clip.why))].append(clip.clip)
        for why, names in alike.items():
            shown = ", ".join(names[:SHOWN_NAMES])
            hidden = len(names) - SHOWN_NAMES
            lines.append(f"{word} {shown}{f' and {hidden} more' if hidden > 0 else ''}: {why}")
    return lines


def told(change: Change) -> str:
    """A change as people read it: place, old value, new value, each cut short."""
    return f"{change.what}: {_told_value(change.old)} -> {_told_value(change.new)}"


def _told_value(value: JsonValue) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    short = HASH.sub(lambda match: f"{match[0][:SHOWN_DIGITS]}...", text)
    return short if len(short) <= SHOWN_CHARACTERS else f"{short[:SHOWN_CHARACTERS]}..."


def _side(release: Release) -> Side:
    recordings: dict[str, list[ReleaseClip]] = defaultdict(list)
    for clip in release.clips:
        recordings[clip.recording].append(clip)
    return Side(
        clips={clip.clip: clip for clip in release.clips},
        recordings=recordings,
        rejections={one.recording: one for one in release.rejections},
    )


def _sections(old: Release, new: Release, name: str) -> tuple[JsonValue, JsonValue]:
    """A section of both as JSON values; what one did not note is taken from the other."""
    one, other = (
        release.model_dump(mode="json", include={name}, exclude={"dataset": {"data_root"}})[name]
        for release in (old, new)
    )
    return (one, other) if one != {} and other != {} else (None, None)


def _holds_mappings(*lists: list[JsonValue]) -> bool:
    return any(isinstance(item, dict) for items in lists for item in items)


def _rig_changes(old: Sequence[Rig], new: Sequence[Rig]) -> dict[str, list[Change]]:
    """What was calibrated or declared otherwise, by rig; nothing where one noted no rigs."""
    if not old or not new:
        return {}
    before, after = ({rig.id: rig.model_dump(mode="json") for rig in rigs} for rigs in (old, new))
    changes = {}
    for rig in sorted(before.keys() | after.keys()):
        if rig in before and rig in after:
            found = list(value_changes("declared", f"rigs.{rig}", before[rig], after[rig]))
        else:
            names = [rig if rig in side else None for side in (before, after)]
            found = [Change(kind="declared", what="rigs", old=names[0], new=names[1])]
        changes[rig] = found
    return changes


def _rejection_changes(
    old: Mapping[str, Rejection], new: Mapping[str, Rejection]
) -> Iterator[Change]:
    for recording in sorted(old.keys() | new.keys()):
        yield from value_changes(
            "rejection",
            f"rejection of {recording}",
            _told_rejection(old.get(recording)),
            _told_rejection(new.get(recording)),
        )


def _told_rejection(rejection: Rejection | None) -> str | None:
    return None if rejection is None else f"{rejection.stage}: {rejection.reason}"


def _differing(one: ReleaseClip, other: ReleaseClip) -> list[str]:
    """Fields that differ, of those that both clips noted."""
    if one == other:
        return []
    unknown = () if one.sources and other.sources else NOTED
    return [
        name
        for name in ReleaseClip.model_fields
        if name not in unknown and getattr(one, name) != getattr(other, name)
    ]


def _changed_clip(
    one: ReleaseClip, other: ReleaseClip, differing: Sequence[str], shared: Sequence[Change]
) -> ClipDiff:
    """Why a clip is not what it was.

    Args:
        one: as it was.
        other: as it is.
        differing: the fields that differ.
        shared: what it depends on together with other clips, and is otherwise.
    """
    why = _declared_changes(one, other, differing)
    declared = [change.what for change in why]
    is_explained = bool(set(declared) - {"split"})
    if "fingerprint" in differing:
        causes = [*_source_changes(one, other), *shared]
        why = [*causes, *why]
        is_explained = is_explained or bool(causes)
    if not is_explained and differing != ["split"]:
        name = next(n for n in ("fingerprint", "root_hash", *differing) if n in differing)
        old, new = (clip.model_dump(mode="json", include={name})[name] for clip in (one, other))
        why.append(Change(kind="unexplained", what=name, old=old, new=new))
    effects = [name for name in MEASURED if name in differing and name not in declared]
    arrays = sorted(dict(one.arrays.items() ^ other.arrays.items()))
    effects += [f"arrays.{name}" for name in arrays]
    return ClipDiff(
        clip=other.clip, recording=other.recording, why=tuple(why), effects=tuple(effects)
    )


def _declared_changes(
    one: ReleaseClip, other: ReleaseClip, differing: Sequence[str]
) -> list[Change]:
    """What the catalog says otherwise of two clips of one recording, of the fields that differ."""
    given = {*DECLARED, *(name for name in DECLARABLE if name in (*one.declared, *other.declared))}
    names = [name for name in differing if name in given]
    old, new = (clip.model_dump(mode="json", include=set(names)) for clip in (one, other))
    return [Change(kind="declared", what=name, old=old[name], new=new[name]) for name in names]


def _source_changes(one: ReleaseClip, other: ReleaseClip) -> Iterator[Change]:
    """Which raw files are others, or lie elsewhere; nothing where they were not noted."""
    if not one.sources or not other.sources:
        return
    for place in sorted(one.sources.keys() | other.sources.keys()):
        old, new = one.sources.get(place), other.sources.get(place)
        for field in ("sha256", "path"):
            yield from value_changes(
                "source",
                f"{place} of {other.recording}: {field}",
                getattr(old, field, None),
                getattr(new, field, None),
            )


def _lone_clip(
    clip: ReleaseClip,
    other: Side,
    rigs: Mapping[str, Sequence[Change]],
    shared: Sequence[Change],
    *,
    is_new: bool,
) -> ClipDiff:
    """Why only one of two releases has a clip; `other` is the one that lacks it."""
    recording = clip.recording
    siblings, rejection = other.recordings.get(recording), other.rejections.get(recording)
    depends = [*rigs.get(clip.rig, ()), *shared]
    if siblings:  # the recording was cut otherwise
        ordered = (siblings[0], clip) if is_new else (clip, siblings[0])
        declared = _declared_changes(*ordered, _differing(*ordered))
        why = [*_source_changes(*ordered), *declared, *depends]
        if not why:
            what = f"cut of {recording}"
            why = [_lone_change("unexplained", what, (None, clip.clip), is_new=is_new)]
    elif rejection is not None:
        ends = (_told_rejection(rejection), None)
        what = f"rejection of {recording}"
        why = [_lone_change("rejection", what, ends, is_new=is_new), *depends]
    else:
        why = [_lone_change("declared", "recording", (None, recording), is_new=is_new)]
    return ClipDiff(clip=clip.clip, recording=recording, why=tuple(why))


def _lone_change(
    kind: ChangeKind, what: str, ends: tuple[str | None, str | None], *, is_new: bool
) -> Change:
    """A change from the release without the clip to the one with it, or back."""
    old, new = ends if is_new else ends[::-1]
    return Change(kind=kind, what=what, old=old, new=new)
