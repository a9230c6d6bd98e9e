"""A release as pages: a static site that opens from a disk, needs no server and no network."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.align_evidence import clocks_of
from pipeline.clip_stores import open_clip, read_pairs
from pipeline.durable import new_folder
from pipeline.hub import read_release
from pipeline.looks import run_look
from pipeline.publish import check_version
from pipeline.publish_card import length_of
from pipeline.publish_diff import diff_lines, diff_releases
from pipeline.quality_concerns import clip_concerns, shared_concerns, typical_sharpness
from pipeline.register_residuals import kept_residuals
from pipeline.report_charts import clocks_chart, levels_chart, residuals_chart, timing_chart
from pipeline.sync import kept_evidence
from pipeline.sync_clock import ClockFit
from pipeline.workspace import Workspace, load, load_arrays
from schemas.errors import ReleaseError
from schemas.facts import IngestFacts, RegisterFacts, ShardFacts, StreamFacts, SyncFacts
from schemas.release import Release, ReleaseClip, newest, uncollected
from schemas.report import ClipLook, Concern

PAGES = Path(__file__).parent / "report_pages"

Report = Callable[[int, int, str], None]
"""Takes clips done, clips in all, and the latest's name."""

Words = list[tuple[str, str]]
"""Names and values of a table."""


@dataclass(frozen=True)
class Evidence:
    """What the workspace still knows of the recording that a clip was cut from."""

    ingest: IngestFacts
    sync: SyncFacts
    register: RegisterFacts
    outcome: ShardFacts
    has_clocks: bool = False
    has_residuals: bool = False


@dataclass(frozen=True)
class Gathered:
    """All that the pages of a release tell."""

    release: Release
    looks: Mapping[str, ClipLook]
    concerns: Sequence[Concern]
    before: Release | None
    """The release that came before it in the workspace."""

    def of(self, clip: str) -> list[Concern]:
        """The concerns that touch a clip, as told from its side."""
        return [_from(clip, one) for one in self.concerns if clip in (one.clip, one.other)]


def _from(clip: str, concern: Concern) -> Concern:
    if concern.clip == clip or concern.other is None:
        return concern
    text = concern.text.replace(concern.other, concern.clip)
    return concern.model_copy(update={"clip": clip, "other": concern.clip, "text": text})


def concerns_of(release: Release, looks: Mapping[str, ClipLook]) -> list[Concern]:
    """What is to be looked at of a release, clip by clip, then what clips share."""
    usual = typical_sharpness(clip.quality for clip in release.clips)
    found: list[Concern] = []
    for clip in release.clips:
        sharpness = clip.quality.visible_sharpness
        found += clip_concerns(clip.clip, sharpness, looks[clip.clip], usual)
    return [*found, *shared_concerns(release.clips, looks)]


def overview(gathered: Gathered) -> dict[str, object]:
    """What the first page is made of."""
    release = gathered.release
    by_split, by_session, by_tag = (defaultdict[str, list[ReleaseClip]](list) for _ in range(3))
    for clip in release.clips:
        by_split[clip.split].append(clip)
        by_session[clip.session].append(clip)
        for tag in clip.tags:
            by_tag[tag].append(clip)
    splits = [_row(name, by_split[name]) for name in release.split_counts()]
    with uncollected():
        before = gathered.before
        diff = None if before is None else diff_releases(before, release)
    return {
        "pairs": f"{sum(clip.pairs for clip in release.clips):,}",
        "length": length_of(release.clips),
        "sites": {clip.site for clip in release.clips},
        "splits": splits,
        "sessions": [_row(name, by_session[name]) for name in sorted(by_session)],
        "tags": [
            (tag, [sum(clip.split == row["name"] for clip in by_tag[tag]) for row in splits])
            for tag in sorted(by_tag)
        ],
        "found": gathered.concerns,
        "counts": {clip.clip: len(gathered.of(clip.clip)) for clip in release.clips},
        "looks": gathered.looks,
        "before": None if gathered.before is None else gathered.before.version,
        "diff": diff,
        "changes": [] if diff is None else diff_lines(diff),
        "provenance": _words(
            {
                "root hash": release.root_hash,
                "licence": release.dataset.licence,
                "Hub repository": release.dataset.hub_repo or "none declared",
                "seed": release.recipe.seed,
                "versions of the stages": ", ".join(
                    f"{stage} {number}" for stage, number in sorted(release.stage_versions.items())
                ),
            }
        ),
    }


def _row(name: str, clips: Sequence[ReleaseClip]) -> dict[str, object]:
    return {
        "name": name,
        "clips": len(clips),
        "pairs": f"{sum(clip.pairs for clip in clips):,}",
        "length": length_of(clips),
        "sites": len({clip.site for clip in clips}),
        "recordings": len({clip.recording for clip in clips}),
        "rigs": ", ".join(sorted({clip.rig for clip in clips})),
    }


def clip_page(gathered: Gathered, number: int, evidence: Evidence | None) -> dict[str, object]:
    """What the page of a clip is made of."""
    clips = gathered.release.clips
    clip = clips[number]
    return {
        "clip": clip,
        "look": gathered.looks[clip.clip],
        "found": gathered.of(clip.clip),
        "evidence": evidence,
        "previous": clips[number - 1].clip if number else None,
        "next": clips[number + 1].clip if number + 1 < len(clips) else None,
        "quality": _words(
            {name.replace("_", " "): value for name, value in clip.quality.model_dump().items()}
        ),
        "relation": _relation(clip, evidence),
        "recording": [] if evidence is None else _recording(evidence),
        "provenance": _words(
            {
                "recording": clip.recording,
                **{place: f"{s.path}, sha256 {s.sha256}" for place, s in clip.sources.items()},
                "declared": ", ".join(clip.declared) or "nothing that is measured otherwise",
                "fingerprint": clip.fingerprint,
                "store": clip.store,
                "root hash": clip.root_hash,
                "size": f"{clip.size_bytes:,} bytes",
            }
        ),
    }


def _relation(clip: ReleaseClip, evidence: Evidence | None) -> Words:
    rows: dict[str, object] = {
        "offset": f"{clip.offset_s:+.4f} s, to be added to visible time",
        "drift": f"{clip.drift_ppm:+.1f} ppm",
    }
    if evidence is not None:
        rows |= {
            "residual of pairs": f"{1000 * evidence.sync.mean_residual_s:.1f} ms in the mean, "
            f"{1000 * evidence.sync.max_residual_s:.1f} at most",
            "residual of registration": _pixels(evidence.register.mean_residual_px),
            "parallax": _pixels(evidence.register.parallax_px),
            "stretches": len(evidence.register.stretches) or "the rig kept still",
        }
    return _words(rows)


def _pixels(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} px"


def _recording(evidence: Evidence) -> Words:
    rows: dict[str, object] = {}
    for band, stream in (
        ("infrared", evidence.ingest.infrared),
        ("visible", evidence.ingest.visible),
    ):
        rows[band] = _stream(stream)
        rows[f"{band} frames"] = (
            f"{stream.frames}, {stream.missing_frames} lost, {len(stream.repeated_frames)} "
            f"repeated, {len(stream.dead_frames)} dead, {len(stream.torn_frames)} torn"
        )
    rows["without a partner"] = f"{evidence.sync.unpaired_infrared} infrared frames"
    for run in evidence.outcome.left_out:
        rows[f"left out from frame {run.first_infrared_frame}"] = run.reason
    return _words(rows)


def _stream(stream: StreamFacts) -> str:
    return (
        f"{stream.width} x {stream.height}, {stream.codec} {stream.pixel_format}, "
        f"{stream.fps:.2f} a second, times {stream.time_source}"
    )


def _words(rows: Mapping[str, object]) -> Words:
    """Names and values as a table tells them."""
    told = []
    for name, value in rows.items():
        if value is None:
            text = "not measured"
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
        told.append((name, text))
    return told


def templates(*folders: Path) -> Environment:
    """Page templates of some folders, the first that has one; all that they show is escaped."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def run_report(
    version: str | None, workspace: Workspace, out: Path | None, report: Report
) -> tuple[Path, Release]:
    """Write the pages of a release; returns the first of them.

    The folder appears whole, in the place of a report that was there. It lies beside the releases,
    whose own folders never change.

    Args:
        version: of the release; None: the newest.
        workspace: with the release and its clips; facts are shown as far as they are there.
        out: the folder to write; None: `reports/<version>` in the workspace.
        report: told of every clip.

    Raises:
        ReleaseError: there is no such release, or `out` holds something else.
        StoreError: a clip is missing or damaged.
        VideoError: a film cannot be written.
        OSError: the disk is full or failing.
    """
    folders = {path.name: path for path in workspace.root.glob("releases/v*")}
    version = version or newest(folders)
    if version is None:
        raise ReleaseError(f"{workspace.root} holds no release; run twinband release first")
    check_version(version)
    release = read_release(workspace.release(version))
    earlier = newest(folders, before=version)
    looks: dict[str, ClipLook] = {}
    films: dict[str, Path] = {}
    for done, clip in enumerate(release.clips, 1):
        looks[clip.clip], films[clip.clip] = run_look(clip.store, workspace)
        report(done, len(release.clips), clip.clip)
    gathered = Gathered(
        release,
        looks,
        concerns_of(release, looks),
        None if earlier is None else read_release(folders[earlier]),
    )
    folder = out or workspace.report(version)
    _run_make_room(folder)
    with new_folder(folder.with_name(f".{folder.name}.{uuid4().hex}"), folder) as made:
        _run_write(gathered, films, workspace, made)
    return folder / "index.html", release


def _run_make_room(folder: Path) -> None:
    """Take away the report that stands where the new one goes, and nothing else."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "report.js").is_file() or not (folder / "index.html").is_file():
            raise ReleaseError(f"{folder} holds something that is no report; name another folder")
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)


def _run_write(
    gathered: Gathered, films: Mapping[str, Path], workspace: Workspace, folder: Path
) -> None:
    pages = templates(PAGES)
    for name in ("report.css", "report.js"):
        shutil.copyfile(PAGES / name, folder / name)
    about = {"release": gathered.release}
    page = pages.get_template("overview.html").render(about, root="", **overview(gathered))
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "clips").mkdir()
    for number, clip in enumerate(gathered.release.clips):
        media = folder / "media" / clip.clip
        media.mkdir(parents=True)
        for name in ("film.mp4", "picture.jpg"):
            shutil.copyfile(films[clip.clip] / name, media / name)
        (media / "levels.svg").write_bytes(levels_chart(gathered.looks[clip.clip], clip.fps))
        evidence = _run_evidence(clip, workspace)
        if evidence is not None:
            evidence = _run_charts(clip, evidence, workspace, media)
        values = clip_page(gathered, number, evidence)
        page = pages.get_template("clip.html").render(about, root="../", **values)
        (folder / "clips" / f"{clip.clip}.html").write_text(page, encoding="utf-8")


def _run_evidence(clip: ReleaseClip, workspace: Workspace) -> Evidence | None:
    """The facts that this very clip rests on; None where they are gone or others."""
    outcome = load(workspace.facts(clip.recording, "shard"), ShardFacts)
    ingest = load(workspace.facts(clip.recording, "ingest"), IngestFacts)
    sync = load(workspace.facts(clip.recording, "sync"), SyncFacts)
    register = load(workspace.facts(clip.recording, "register"), RegisterFacts)
    if outcome is None or ingest is None or sync is None or register is None:
        return None
    if clip.fingerprint not in {made.fingerprint for made in outcome.clips}:
        return None
    return Evidence(ingest, sync, register, outcome)


def _run_charts(
    clip: ReleaseClip, evidence: Evidence, workspace: Workspace, media: Path
) -> Evidence:
    """Draw the evidence that is there, and note which."""
    ingest, sync, register = evidence.ingest, evidence.sync, evidence.register
    signals = load_arrays(workspace.signals(clip.recording), fingerprint=ingest.fingerprint)
    pairs = load_arrays(workspace.pairs(clip.recording), fingerprint=sync.fingerprint)
    middle = clip.pairs // 2
    with workspace.at_hand(clip.store) as store:
        group, about = open_clip(store)
        infrared = read_pairs(group, "infrared", middle, middle + 1)[0]
    times_s = signals["infrared_times_s"].astype(np.float64)
    start_s = float(times_s[about.first_infrared_frame])
    span_s = (start_s, start_s + clip.pairs / clip.fps)
    (media / "timing.svg").write_bytes(timing_chart(signals, pairs, span_s))
    kept = kept_evidence(pairs)
    if kept is not None:
        fit = ClockFit(sync.offset_s, sync.drift_ppm, sync.confidence, kept)
        (media / "clocks.svg").write_bytes(clocks_chart(clocks_of(signals, fit)))
    has_residuals = register.source == "estimated"
    if has_residuals:
        arrays = load_arrays(workspace.residuals(clip.recording), fingerprint=register.fingerprint)
        misses = kept_residuals(arrays)
        misses = replace(misses, centres_px=misses.centres_px - np.array(about.crop[:2]))
        (media / "residuals.svg").write_bytes(residuals_chart(infrared, misses))
    return replace(evidence, has_clocks=kept is not None, has_residuals=has_residuals)
