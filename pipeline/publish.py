"""Publish: a release is frozen from what the builds made, proven, and sent to where people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from pipeline.clip_seals import array_hashes, read_manifest, verify_clip
from pipeline.clip_stores import open_clip, read_pairs
from pipeline.hub import FolderSender, listed_files, new_folder, read_release
from pipeline.image_files import write_image
from pipeline.pictures import clip_row, contact_sheet, with_degraded
from pipeline.publish_card import PICTURE_PATH, dataset_card, index_parquet, index_path
from pipeline.publish_levels import LEVELS, count_levels, level_statistics
from pipeline.split import split_of
from pipeline.workspace import Workspace, save
from schemas.base import Version
from schemas.catalog import Catalog, Recording, Session
from schemas.errors import PublishError, ReleaseError
from schemas.facts import ClipFacts, Rejection, ShardFacts
from schemas.release import (
    MANIFEST_NAME,
    Publication,
    Release,
    ReleaseClip,
    Statistics,
)
from schemas.store import SHARD_PAIRS, ClipAttributes, ClipManifest, Fault

T = TypeVar("T")

SHOWN_DIFFERENCES = 10
"""Differences listed when a version name is taken: enough to recognise the change by."""


@dataclass(frozen=True)
class StoredClip:
    """What a sealed clip store says of itself."""

    manifest: ClipManifest
    attributes: ClipAttributes
    arrays: Mapping[str, str]
    """A hash over the files of each array."""


def make_release(
    version: str,
    catalog: Catalog,
    outcomes: Sequence[ShardFacts],
    stored: Mapping[str, StoredClip],
) -> Release:
    """The sealed manifest of everything that was built, before any statistics.

    What the operator declares (site, tags, session, rig) comes from the catalog, what was
    measured from the stores; paths of this machine are left out.

    Args:
        version: such as v1.2.0.
        catalog: as it stands.
        outcomes: what became of every recording of the catalog, in any order.
        stored: by clip, for every clip of the outcomes.

    Raises:
        ReleaseError: a recording has no outcome, or there is no clip at all.
    """
    by_recording = {outcome.recording: outcome for outcome in outcomes}
    declared = list(catalog.recordings())
    missing = [recording.id for _, recording in declared if recording.id not in by_recording]
    if missing:
        raise ReleaseError(
            f"{', '.join(missing)}: not built under the present catalog and files; "
            "run twinband build first"
        )
    clips = [
        _release_clip(facts, stored[facts.clip], session, recording, catalog)
        for session, recording in declared
        for facts in by_recording[recording.id].clips
    ]
    if not clips:
        raise ReleaseError(
            f"{version} would hold no clip: all {len(declared)} recordings were left out; "
            "mend what twinband build says of them first"
        )
    left_out = [by_recording[recording.id].rejection for _, recording in declared]
    return Release(
        version=version,
        dataset=catalog.dataset.model_copy(update={"data_root": "."}),
        recipe=catalog.recipe,
        splits=catalog.splits,
        clips=tuple(sorted(clips, key=lambda clip: clip.clip)),
        rejections=tuple(
            sorted(
                (_portable(one, catalog.data_root) for one in left_out if one is not None),
                key=lambda one: one.recording,
            )
        ),
        statistics=None,
        root_hash="0" * 64,
    ).sealed()


def _release_clip(
    facts: ClipFacts,
    stored: StoredClip,
    session: Session,
    recording: Recording,
    catalog: Catalog,
) -> ReleaseClip:
    return ReleaseClip(
        clip=facts.clip,
        recording=recording.id,
        session=session.id,
        rig=session.rig,
        site=recording.site,
        split=split_of(recording.site, catalog.splits),
        tags=tuple(sorted(set(recording.tags))),
        pairs=facts.pairs,
        fps=facts.fps,
        width=facts.width,
        height=facts.height,
        fingerprint=facts.fingerprint,
        store=Workspace.clip_path(facts.clip, facts.fingerprint),
        root_hash=stored.manifest.root_hash,
        size_bytes=sum(file.size_bytes for file in stored.manifest.files),
        arrays=dict(stored.arrays),
        homography=stored.attributes.homography,
        offset_s=stored.attributes.offset_s,
        drift_ppm=stored.attributes.drift_ppm,
        quality=facts.quality,
    )


def _portable(rejection: Rejection, data_root: Path) -> Rejection:
    """The same with paths below the data root, as the catalog writes them."""
    return rejection.model_copy(update={"reason": rejection.reason.replace(f"{data_root}/", "")})


def differences(old: Release, new: Release) -> list[str]:
    """What the content of `new` has otherwise than that of `old`, a line each."""
    lines = [
        f"{section} changed"
        for section in ("dataset", "recipe", "splits", "rejections", "statistics")
        if getattr(old, section) != getattr(new, section)
    ]
    before = {clip.clip: clip for clip in old.clips}
    after = {clip.clip: clip for clip in new.clips}
    lines += [f"clip {name} added" for name in sorted(after.keys() - before.keys())]
    lines += [f"clip {name} removed" for name in sorted(before.keys() - after.keys())]
    for name in sorted(before.keys() & after.keys()):
        fields = [
            field
            for field in ReleaseClip.model_fields
            if getattr(before[name], field) != getattr(after[name], field)
        ]
        if fields:
            lines.append(f"clip {name} changed in {', '.join(fields)}")
    return lines


def spread(items: Sequence[T], wanted: int) -> list[T]:
    """At most `wanted` of the items, evenly spread over the list."""
    shown = min(wanted, len(items))
    return [items[place * len(items) // shown] for place in range(shown)]


def _check_version(version: str) -> None:
    try:
        TypeAdapter(Version).validate_python(version)
    except ValidationError as error:
        raise ReleaseError(f"{version!r} is no version; write it as v1.2.0") from error


def _same_or_refused(standing: Release, release: Release) -> Release:
    """The release that stands, if `release` (without statistics) is what it says.

    Statistics follow from the clips, so they are not compared.
    """
    found = differences(standing.model_copy(update={"statistics": None}), release)
    if not found:
        return standing
    shown = found[:SHOWN_DIFFERENCES]
    if len(found) > len(shown):
        shown.append(f"and {len(found) - len(shown)} more")
    raise ReleaseError(
        f"{release.version} stands for other content, and a released name is never given again: "
        f"{'; '.join(shown)}; release the next version"
    )


def _valid(group: zarr.Group) -> NDArray[np.bool_]:
    array = group["valid"]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"valid is a group in {group.store_path}")
    return np.asarray(array[...], dtype=np.bool_)


def _run_read_clip(facts: ClipFacts, workspace: Workspace) -> StoredClip:
    """What the sealed store of a clip says of itself."""
    store = workspace.clip(facts.clip, facts.fingerprint)
    manifest = read_manifest(store)
    if manifest.root_hash != facts.root_hash:
        raise ReleaseError(
            f"{store} has the root hash {manifest.root_hash} and its build noted "
            f"{facts.root_hash}; delete it and build again"
        )
    _, attributes = open_clip(store)
    return StoredClip(manifest, attributes, array_hashes(manifest))


def _run_statistics(release: Release, workspace: Workspace) -> Statistics | None:
    """Grey levels of the training clips, counted exactly; None without any."""
    infrared, visible = np.zeros((2, LEVELS), np.int64)
    for clip in release.clips:
        if clip.split != "train":
            continue
        group, _ = open_clip(workspace.root / clip.store)
        valid = _valid(group)
        for first in range(0, clip.pairs, SHARD_PAIRS):
            last = first + SHARD_PAIRS
            infrared += count_levels(
                read_pairs(group, "infrared", first, last), valid, is_color=False
            )
            visible += count_levels(read_pairs(group, "visible", first, last), valid, is_color=True)
    if not infrared.any():
        return None
    return Statistics(infrared=level_statistics(infrared), visible=level_statistics(visible))


def _run_picture(release: Release, workspace: Workspace) -> NDArray[np.uint8] | None:
    """The contact sheet of the card: the middle pair of some clips; None where none is wanted."""
    rows = []
    for clip in spread(release.clips, release.recipe.publish.card_clips):
        group, attributes = open_clip(workspace.root / clip.store)
        middle = clip.pairs // 2
        frames = {
            name: read_pairs(group, name, middle, middle + 1)[0]
            for name in ("infrared", "visible", "infrared_degraded", "visible_degraded")
            if name in group
        }
        title = f"{clip.clip}  ({clip.split}, pair {middle} of {clip.pairs})"
        rows.append(clip_row(title, with_degraded(frames, attributes, middle)))
    return contact_sheet(rows) if rows else None


def _run_write(release: Release, workspace: Workspace) -> Release:
    """Write the folder of a release whole or not at all; its manifest lists its other files."""
    staged = workspace.staging / f"release-{release.version}.{uuid4().hex}"
    picture = _run_picture(release, workspace)
    try:
        with new_folder(staged, workspace.release(release.version)) as folder:
            for split in release.split_counts():
                path = folder / index_path(split)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(index_parquet(c for c in release.clips if c.split == split))
            if picture is not None:
                (folder / PICTURE_PATH).parent.mkdir()
                write_image(folder / PICTURE_PATH, picture)
            card = dataset_card(release, has_picture=picture is not None)
            (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
            complete = release.model_copy(update={"files": listed_files(folder)})
            save(complete, folder / MANIFEST_NAME)
    except OSError as error:
        raise ReleaseError(
            f"{workspace.release(release.version)}: cannot be written: {error.strerror or error}; "
            "mend it and release again: nothing half-made was kept"
        ) from error
    return complete


def _run_check_folder(folder: Path) -> tuple[list[Fault], Release | None]:
    """What is wrong with the files of a release itself, and the release if it can be read."""
    version = folder.name
    try:
        release = read_release(folder)
    except ReleaseError as error:
        return [Fault(clip=version, array=None, file=MANIFEST_NAME, what=str(error))], None
    listed = {file.path: file for file in release.files}
    present = {file.path: file for file in listed_files(folder) if file.path != MANIFEST_NAME}
    faults = []
    for name in sorted(listed.keys() | present.keys()):
        if present.get(name) != listed.get(name):
            what = "changed since the release was made"
            what = "missing" if name not in present else what
            what = "not listed in the manifest" if name not in listed else what
            faults.append(Fault(clip=version, array=None, file=name, what=what))
    if release.version != version:
        what = f"it is the manifest of {release.version}"
        faults.append(Fault(clip=version, array=None, file=MANIFEST_NAME, what=what))
    return faults, release


def _run_check_store(store: Path, root_hashes: set[str]) -> list[Fault]:
    """What is wrong with a clip store, and with it for the releases that list it so."""
    ordered = sorted(root_hashes)
    faults = verify_clip(store, expected_root_hash=ordered[0] if ordered else None)
    for other in ordered[1:]:
        faults += verify_clip(store, quick=True, expected_root_hash=other)
    return faults


def run_release(
    catalog: Catalog, version: str, workspace: Workspace, outcomes: Sequence[ShardFacts]
) -> Release:
    """Freeze what was built as release `version`; the caller owns the workspace.

    Copies no pixel. The same content under the same name is found and returned as it is. The
    statistics are counted over every pixel of the training clips, a shard of pairs at a time.

    Args:
        catalog: as it stands.
        version: such as v1.2.0.
        workspace: where the clips lie and the release will.
        outcomes: what became of every recording under its present fingerprint.

    Raises:
        ReleaseError: a recording is not built, no clip is left, the name stands for other content,
            or the disk is full or failing.
        StoreError: a clip store is missing or damaged.
    """
    _check_version(version)
    stored = {
        facts.clip: _run_read_clip(facts, workspace)
        for outcome in outcomes
        for facts in outcome.clips
    }
    release = make_release(version, catalog, outcomes, stored)
    folder = workspace.release(version)
    if folder.exists():
        return _same_or_refused(read_release(folder), release)
    release = release.model_copy(update={"statistics": _run_statistics(release, workspace)})
    return _run_write(release.sealed(), workspace)


def run_publish(version: str, workspace: Workspace, destination: Path) -> Publication:
    """Send release `version` to a folder laid out like its Hub repository.

    Every byte is checked against the manifests on the way. release.json comes last: its presence
    seals the folder. Publishing again sends what is missing or different alone.

    Raises:
        ReleaseError: there is no such release, or it is damaged.
        PublishError: the destination holds something else, a clip is not what the release lists,
            or the disk is full or failing.
    """
    _check_version(version)
    if destination.resolve().is_relative_to(workspace.root.resolve()):
        raise PublishError(
            f"{destination} lies inside the workspace {workspace.root}; name a folder outside it"
        )
    folder = workspace.release(version)
    return FolderSender(read_release(folder), folder, workspace.root, destination).send()


def verify_release(version: str | None, workspace: Workspace) -> list[Fault]:
    """Everything wrong with a release and its clips, or with all that the workspace holds.

    Reads every byte. Faults in a release's own files bear its version in place of a clip's name.

    Args:
        version: a release, or None for every release and every clip.
        workspace: where they lie.

    Raises:
        ReleaseError: there is no such release, or nothing to verify at all.
    """
    folders, stores = sorted(workspace.root.glob("releases/*")), workspace.root.glob("clips/*/*")
    expected: dict[Path, set[str]] = {store: set() for store in stores if version is None}
    if version is not None:
        _check_version(version)
        known = ", ".join(folder.name for folder in folders) or "none"
        folders = [folder for folder in folders if folder.name == version]
        if not folders:
            raise ReleaseError(
                f"{workspace.root} holds no release {version}; there is {known}; check --work"
            )
    if not folders and not expected:
        raise ReleaseError(f"{workspace.root} holds no release and no clip; check --work")
    faults: list[Fault] = []
    for folder in folders:
        found, release = _run_check_folder(folder)
        faults += found
        for clip in release.clips if release is not None else ():
            expected.setdefault(workspace.root / clip.store, set()).add(clip.root_hash)
    for store in sorted(expected):
        faults += _run_check_store(store, expected[store])
    return faults
