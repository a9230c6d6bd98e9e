"""Publish: a release is frozen from what the builds made; publish_send.py sends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from pipeline.clip_seals import array_hashes, read_manifest, remedy, verify_clip
from pipeline.clip_stores import open_clip
from pipeline.durable import new_folder
from pipeline.hub import listed_files, read_release
from pipeline.image_files import write_image
from pipeline.ingest import STAGE_VERSION as INGEST_VERSION
from pipeline.pictures import clip_row, contact_sheet, run_read_pair
from pipeline.publish_card import PICTURE_PATH, dataset_card, index_parquet, index_path
from pipeline.publish_diff import diff_lines, diff_releases
from pipeline.publish_levels import statistics_of
from pipeline.publish_previews import picture_path, run_previews
from pipeline.register import STAGE_VERSION as REGISTER_VERSION
from pipeline.shard_clips import STAGE_VERSION as SHARD_VERSION
from pipeline.split import split_of
from pipeline.sync import STAGE_VERSION as SYNC_VERSION
from pipeline.workspace import Workspace, save
from schemas.base import Version
from schemas.catalog import Catalog, Recording, Session
from schemas.errors import ReleaseError, StoreError
from schemas.facts import ClipFacts, Rejection, ShardFacts, Stage
from schemas.release import (
    MANIFEST_NAME,
    ClipSource,
    Declarable,
    Release,
    ReleaseClip,
)

T = TypeVar("T")

SHOWN_DIFFERENCES = 10
"""Differences listed when a version name is taken: enough to recognise the change by."""

STAGE_VERSIONS: dict[Stage, int] = {
    "ingest": INGEST_VERSION,
    "sync": SYNC_VERSION,
    "register": REGISTER_VERSION,
    "shard": SHARD_VERSION,
}
"""Of the code that made every clip whose fingerprint is the present one."""


@dataclass(frozen=True)
class StoredClip:
    """What the manifest of a sealed clip store says of it."""

    root_hash: str
    size_bytes: int
    arrays: Mapping[str, str]
    """A hash over the files of each array."""


def make_release(
    version: str,
    catalog: Catalog,
    outcomes: Sequence[ShardFacts],
    stored: Mapping[str, StoredClip],
) -> Release:
    """The sealed manifest of everything that was built.

    What the operator declares (site, tags, session, rig) comes from the catalog, what was
    measured from the outcomes; paths of this machine are left out.

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
    clips: list[ReleaseClip] = []
    training: list[ClipFacts] = []
    for session, recording in declared:
        outcome = by_recording[recording.id]
        made = _release_clips(outcome, stored, session, recording, catalog)
        clips += made
        training += [
            facts for facts, clip in zip(outcome.clips, made, strict=True) if clip.split == "train"
        ]
    if not clips:
        raise ReleaseError(
            f"{version} would hold no clip: all {len(declared)} recordings were left out; "
            "mend what twinband build says of them first"
        )
    left_out = [by_recording[recording.id].rejection for _, recording in declared]
    used = {clip.rig for clip in clips}
    return Release(
        version=version,
        dataset=catalog.dataset.model_copy(update={"data_root": "."}),
        recipe=catalog.recipe,
        splits=catalog.splits,
        clips=tuple(sorted(clips, key=lambda clip: clip.clip)),
        rejections=tuple(
            sorted(
                (_portable(one, catalog) for one in left_out if one is not None),
                key=lambda one: one.recording,
            )
        ),
        rigs=tuple(sorted((rig for rig in catalog.rigs if rig.id in used), key=lambda r: r.id)),
        stage_versions=STAGE_VERSIONS,
        statistics=statistics_of(training),
        root_hash="0" * 64,
    ).sealed()


def _release_clips(
    outcome: ShardFacts,
    stored: Mapping[str, StoredClip],
    session: Session,
    recording: Recording,
    catalog: Catalog,
) -> list[ReleaseClip]:
    """The clips of one recording, in the order of its outcome."""
    files = dict(recording.files())
    sources = {
        place: ClipSource(path=files[place], sha256=sha256)
        for place, sha256 in outcome.sources.items()
    }
    return [
        ReleaseClip(
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
            root_hash=stored[facts.clip].root_hash,
            size_bytes=stored[facts.clip].size_bytes,
            arrays=dict(stored[facts.clip].arrays),
            homography=facts.homography,
            offset_s=facts.offset_s,
            drift_ppm=facts.drift_ppm,
            quality=facts.quality,
            sources=sources,
            declared=declared_of(recording),
            layouts=recording.layouts,
            leave_out=recording.leave_out,
        )
        for facts in outcome.clips
    ]


def declared_of(recording: Recording) -> tuple[Declarable, ...]:
    """What the catalog declares of a recording that would be measured otherwise."""
    given: dict[Declarable, bool] = {
        "fps": recording.fps is not None,
        "homography": recording.homography is not None,
        "offset_s": recording.offset_s is not None,
        "registered": recording.registered,
    }
    return tuple(name for name, is_given in given.items() if is_given)


def _portable(rejection: Rejection, catalog: Catalog) -> Rejection:
    """The same with paths below the data root, as the catalog writes them."""
    root = catalog.data_address or catalog.data_root
    return rejection.model_copy(update={"reason": rejection.reason.replace(f"{root}/", "")})


def spread(items: Sequence[T], wanted: int) -> list[T]:
    """At most `wanted` of the items, evenly spread over the list."""
    shown = min(wanted, len(items))
    return [items[place * len(items) // shown] for place in range(shown)]


def check_version(version: str) -> None:
    """Refuse what is no release name.

    Raises:
        ReleaseError: it is none.
    """
    try:
        TypeAdapter(Version).validate_python(version)
    except ValidationError as error:
        raise ReleaseError(f"{version!r} is no version; write it as v1.2.0") from error


def _same_or_refused(standing: Release, release: Release) -> Release:
    """The release that stands, if `release` is what it says."""
    diff = diff_releases(standing, release)
    if diff.is_empty():
        return standing
    found = diff_lines(diff)
    shown = found[:SHOWN_DIFFERENCES]
    if len(found) > len(shown):
        shown.append(f"and {len(found) - len(shown)} more")
    raise ReleaseError(
        f"{release.version} stands for other content, and a released name is never given again: "
        f"{'; '.join(shown)}; release the next version"
    )


def _run_read_clip(facts: ClipFacts, workspace: Workspace) -> StoredClip:
    """What a clip's manifest says, if all its files are there in their right lengths."""
    store = workspace.clip(facts.clip, facts.fingerprint)
    manifest = read_manifest(store)
    if manifest.root_hash != facts.root_hash:
        raise ReleaseError(
            f"{store} has the root hash {manifest.root_hash} and its build noted "
            f"{facts.root_hash}; delete it and build again"
        )
    name = Workspace.clip_path(facts.clip, facts.fingerprint)
    for fault in verify_clip(
        store,
        quick=True,
        expected_root_hash=facts.root_hash,
        sizes=workspace.found_files(name),
    ):
        raise StoreError(f"{store}: {fault.file}: {fault.what}; {remedy(store)}")
    return StoredClip(
        root_hash=manifest.root_hash,
        size_bytes=sum(file.size_bytes for file in manifest.files),
        arrays=array_hashes(manifest),
    )


def _run_picture(release: Release, workspace: Workspace) -> NDArray[np.uint8] | None:
    """The contact sheet of the card: the middle pair of some clips; None where none is wanted."""
    rows = []
    for clip in spread(release.clips, release.recipe.publish.card_clips):
        middle = clip.pairs // 2
        with workspace.at_hand(clip.store) as store:
            group, attributes = open_clip(store)
            frames = run_read_pair(group, attributes, middle)
        title = f"{clip.clip}  ({clip.split}, pair {middle} of {clip.pairs})"
        rows.append(clip_row(title, frames))
    return contact_sheet(rows) if rows else None


def _run_write(release: Release, workspace: Workspace) -> Release:
    """Write the folder of a release whole or not at all; its manifest lists its other files."""
    staged = workspace.staged(f"release-{release.version}.{uuid4().hex}")
    picture = _run_picture(release, workspace)
    try:
        with new_folder(staged, workspace.release(release.version)) as folder:
            run_previews(release, workspace, folder)
            for split in release.split_counts():
                path = folder / index_path(split)
                path.parent.mkdir(exist_ok=True)
                clips = [clip for clip in release.clips if clip.split == split]
                path.write_bytes(index_parquet((clip, _picture(folder, clip)) for clip in clips))
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


def _picture(folder: Path, clip: ReleaseClip) -> bytes | None:
    path = folder / picture_path(clip)
    return path.read_bytes() if path.exists() else None


def run_release(
    catalog: Catalog, version: str, workspace: Workspace, outcomes: Sequence[ShardFacts]
) -> Release:
    """Freeze what was built as release `version`; the caller owns the workspace.

    Copies no pixel and reads none but those of the card's picture and of new previews. The same
    content under the same name is found and returned as it is.

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
    check_version(version)
    stored = {
        facts.clip: _run_read_clip(facts, workspace)
        for outcome in outcomes
        for facts in outcome.clips
    }
    release = make_release(version, catalog, outcomes, stored)
    folder = workspace.release(version)
    if folder.exists():
        return _same_or_refused(read_release(folder), release)
    return _run_write(release, workspace)
