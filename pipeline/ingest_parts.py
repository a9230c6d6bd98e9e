"""Long recordings measured in parts, which several processes do at once.

The signals are those of one pass: each part reads the frame before its first one, and what a frame
is compared with beyond that, the last picture that was not dead, is brought together at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipeline.ingest_measure import Signals, common_since, measure
from pipeline.tone import tone_shares
from pipeline.video_files import StreamProbe, probe, read_frames
from pipeline.workspace import Workspace, load_arrays, save_arrays
from schemas.base import Band, StrictModel, fingerprint
from schemas.catalog import RecordingPlan

LEAST_FRAMES = 3_200
"""Of a part: to begin in the midst of a file costs the frames from a keyframe on, ten to 300."""

MOST_PARTS = 16
"""Of a stream: each lists the whole file's time stamps before it can begin in its midst."""

SUMMED = ("histogram",)
"""Signals that parts add up; all others but pictures stand one behind the other."""


PICTURES = ("first_alive", "last_alive")


class FrameRange(StrictModel):
    """Frames of one stream that one process measures."""

    band: Band
    first_frame: int = Field(ge=0)
    end_frame: int


@dataclass(frozen=True)
class MeasuredRange:
    """Frames whose signals lie in the staging folder."""

    part: FrameRange
    place: Path


def ranges_of(band: Band, frames: int, least_frames: int = LEAST_FRAMES) -> list[FrameRange]:
    """The parts of a stream, in order, as equal as may be.

    Args:
        band: of the stream.
        frames: how many it has.
        least_frames: of a part, unless the stream has fewer.
    """
    count = max(1, min(MOST_PARTS, frames // least_frames))
    ends = [round(number * frames / count) for number in range(count + 1)]
    return [
        FrameRange(band=band, first_frame=first, end_frame=end) for first, end in pairwise(ends)
    ]


def run_probe(plan: RecordingPlan, band: Band) -> StreamProbe:
    """What the file of a stream holds.

    Raises:
        VideoError: it is missing or damaged.
    """
    return probe(
        plan.data_root / getattr(plan.recording, band),
        fps=plan.recording.fps,
        layout=getattr(plan.recording.layouts, band),
    )


def run_measure_range(plan: RecordingPlan, part: FrameRange, workspace: Workspace) -> MeasuredRange:
    """Measure one part of a stream into the staging folder.

    Raises:
        VideoError: the file cannot be decoded.
        OSError: the disk is full or failing.
    """
    frames = read_frames(
        plan.data_root / getattr(plan.recording, part.band),
        part.band,
        start=max(0, part.first_frame - 1),
        stop=part.end_frame,
        layout=getattr(plan.recording.layouts, part.band),
    )
    before = next(frames, None) if part.first_frame else None
    signals = measure(frames, tone_shares(plan.recipe.ingest), before)
    known = {field.name: getattr(signals, field.name) for field in fields(Signals)}
    place = workspace.staged(f"{plan.recording.id}.{part.band}.{part.first_frame}.npz")
    save_arrays(
        {name: array for name, array in known.items() if array is not None},
        place,
        workspace,
        fingerprint=_identity(part),
    )
    return MeasuredRange(part, place)


def run_joined(measured: Sequence[MeasuredRange], band: Band) -> Signals | None:
    """The signals of a whole stream from those of its parts; None where it has none.

    Raises:
        WorkspaceError: a part is gone or damaged.
    """
    own = sorted(
        (one for one in measured if one.part.band == band), key=lambda one: one.part.first_frame
    )
    return joined([_run_load(one) for one in own]) if own else None


def joined(parts: Sequence[Signals]) -> Signals:
    """The signals of frames that follow each other, as one pass gives them.

    Args:
        parts: of one stream, in order; each but the first knew the frame before it.
    """
    alive, common = parts[0].last_alive, [parts[0].common_counts]
    for part in parts[1:]:
        own = part.common_counts.copy()
        if part.first_alive is not None and alive is not None:
            own[np.flatnonzero(~part.dead)[0]] = common_since(part.first_alive, alive)
            alive = part.last_alive
        common.append(own)
    made: dict[str, Any] = {}
    for name in (field.name for field in fields(Signals) if field.name not in PICTURES):
        known = [array for part in parts if (array := getattr(part, name)) is not None]
        if name in SUMMED:
            made[name] = np.sum(known, axis=0) if known else None
        else:
            made[name] = np.concatenate(known) if known else None
    made |= {"common_counts": np.concatenate(common), "last_alive": alive}
    return replace(parts[0], **made)


def _run_load(one: MeasuredRange) -> Signals:
    arrays = load_arrays(one.place, fingerprint=_identity(one.part))
    known: dict[str, Any] = {field.name: arrays.get(field.name) for field in fields(Signals)}
    return Signals(**known)


def _identity(part: FrameRange) -> str:
    return fingerprint("measured", part)
