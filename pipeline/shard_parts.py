"""Clips of long recordings written in parts of whole shards, which several processes do at once.

The bytes are those of a clip written by one process: degradations are drawn by clip and frame, what
they look back at is read again before each part, and figures are added up pair by pair in the
clip's order.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field

from pipeline.clip_stores import ClipWriter
from pipeline.quality import PairFigures, QualitySums, figures_of, with_figures
from pipeline.shard import ClipPlan, run_cut, run_note, run_open
from pipeline.shard_blocks import blocks_of, frames_before
from pipeline.shard_clips import array_names, seen_by_both
from pipeline.workspace import Workspace, load
from schemas.base import BANDS, Slug, StrictModel
from schemas.catalog import RecordingPlan
from schemas.errors import WorkspaceError
from schemas.facts import IngestFacts, ShardFacts
from schemas.store import SHARD_PAIRS, ClipAttributes, SourceFacts

LEAST_PAIRS = 50 * SHARD_PAIRS
"""Of a part: what is read again before it, a shard or two, is then some two percent of it."""

MOST_PARTS = 16
"""Of a clip: each lists the whole file's time stamps before it can begin in its midst."""


class Part(StrictModel):
    """Pairs of a clip that one process writes."""

    clip: Slug
    first_pair: int
    end_pair: int
    sources: dict[str, SourceFacts] | None = Field(
        None, description="As hashed when the recording was cut; None: to be hashed again."
    )


@dataclass(frozen=True)
class WrittenPart:
    """A part that lies in the staging folder."""

    part: Part
    place: Path
    figures: tuple[PairFigures, ...]


def parts_of(clip: Slug, pairs: int, least_pairs: int = LEAST_PAIRS) -> list[Part]:
    """The parts of a clip, in order: whole shards, as equal as that allows.

    Args:
        clip: its name.
        pairs: how many it has.
        least_pairs: of a part, unless the clip has fewer.
    """
    count = max(1, min(MOST_PARTS, pairs // least_pairs))
    shards = math.ceil(pairs / SHARD_PAIRS)
    ends = [min(pairs, round(n * shards / count) * SHARD_PAIRS) for n in range(count + 1)]
    return [Part(clip=clip, first_pair=first, end_pair=end) for first, end in pairwise(ends)]


def lead_pairs(about: ClipAttributes) -> int:
    """How many pairs before a part are read with it: whole shards, one at least.

    The first pair's flicker asks for the frame before it, and degradations for as many as they
    reach back.
    """
    back = max(frames_before(band, about) for band in BANDS)
    return max(1, math.ceil(back / SHARD_PAIRS)) * SHARD_PAIRS


def run_find_parts(plan: RecordingPlan, workspace: Workspace) -> list[Part]:
    """The parts in which a recording is worth writing; none where it is short, or partly there.

    Raises:
        ShardError: no clip is long enough.
    """
    facts = load(workspace.facts(plan.recording.id, "ingest"), IngestFacts)
    if facts is None or facts.infrared.frames < 2 * LEAST_PAIRS:
        return []
    cut = run_cut(plan, workspace)
    clips, sources = cut.clips, {"sources": dict(cut.sources)}
    parts = [
        part.model_copy(update=sources)
        for clip in clips
        for part in parts_of(clip.about.clip, clip.about.pairs)
    ]
    stands = any(workspace.clip(c.about.clip, c.about.fingerprint).exists() for c in clips)
    return [] if stands or len(parts) == len(clips) else parts


def run_write_part(plan: RecordingPlan, part: Part, workspace: Workspace) -> WrittenPart:
    """Write one part of a clip into the staging folder, judging it.

    Raises:
        ShardError: a stream does not fit the others.
        VideoError: a file cannot be decoded.
        OSError: the disk is full or failing.
    """
    cut = run_cut(plan, workspace, part.sources)
    (clip,) = (clip for clip in cut.clips if clip.about.clip == part.clip)
    names, valid = _run_layout(plan, clip)
    pairs = range(part.first_pair, part.end_pair)
    lead = min(pairs.start, lead_pairs(clip.about))
    streams = run_open(plan, clip.measured, clip.pairs.at(slice(pairs.start - lead, pairs.stop)))
    figures: list[PairFigures] = []
    before = None
    with ClipWriter(workspace, clip.about, names, first_pair=pairs.start) as writer:
        blocks = blocks_of(streams, names, clip.about, clip.pairs.curves, pairs=pairs, lead=lead)
        for number, block in enumerate(blocks, -lead // SHARD_PAIRS):
            if number >= 0:
                figures += figures_of(block["infrared"], block["visible"], valid, before)
                writer.write(block)
            before = block["infrared"][-1].copy()
        return WrittenPart(part, writer.part(), tuple(figures))


def run_seal_parts(
    plan: RecordingPlan, written: Collection[WrittenPart], workspace: Workspace
) -> ShardFacts:
    """Join the parts of a recording's clips, seal them, and save what came of it.

    Raises:
        WorkspaceError: a part is missing.
        StoreError: a store of other content stands in the way.
        OSError: the disk is full or failing.
    """
    cut = run_cut(plan, workspace, next((one.part.sources for one in written), None))
    sums: dict[str, QualitySums] = {}
    for clip in cut.clips:
        own = sorted(
            (one for one in written if one.part.clip == clip.about.clip),
            key=lambda one: one.part.first_pair,
        )
        sums[clip.about.clip] = _run_join(plan, clip, own, workspace)
    return run_note(plan, cut, sums, workspace)


def _run_join(
    plan: RecordingPlan, clip: ClipPlan, written: Sequence[WrittenPart], workspace: Workspace
) -> QualitySums:
    names, valid = _run_layout(plan, clip)
    sums = QualitySums()
    with ClipWriter(workspace, clip.about, names) as writer:
        for one in written:
            if one.part.first_pair != sums.pairs or not one.place.is_dir():
                raise WorkspaceError(
                    f"{workspace.root}: the part of {clip.about.clip} from pair {sums.pairs} on "
                    "is gone; build again"
                )
            writer.adopt(one.place, len(one.figures))
            sums = with_figures(sums, one.figures)
        writer.seal(time_s=clip.pairs.seconds(), valid=valid)
    return sums


def _run_layout(plan: RecordingPlan, clip: ClipPlan) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the clip's frame arrays, and where both cameras see the scene."""
    names = array_names(plan, clip.measured.ingest.infrared.tone)
    return names, seen_by_both(plan, clip.measured.register)
