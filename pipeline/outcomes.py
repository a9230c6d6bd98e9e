"""What became of a recording, and whether that still holds for today's files and recipe."""

from collections.abc import Mapping

from pipeline.clip_seals import is_sealed
from pipeline.ingest import hash_files, ingest_fingerprint
from pipeline.object_raw import known_hashes
from pipeline.register import register_fingerprint
from pipeline.shard_clips import shard_fingerprint
from pipeline.sync import sync_fingerprint
from pipeline.workspace import Workspace, load, save
from schemas.catalog import RecordingPlan
from schemas.errors import TwinbandError
from schemas.facts import RawFile, Rejection, ShardFacts, Stage


def final_fingerprint(plan: RecordingPlan, hashes: Mapping[str, str] | None = None) -> str:
    """What the recording's clips depend on: its files, the recipe, the code of every stage.

    Reads every raw byte; no decision rests on a file's date.

    Args:
        plan: of the recording.
        hashes: of its files by their place in it; None: they are read.

    Raises:
        VideoError: a file cannot be read.
    """
    fingerprint = ingest_fingerprint(plan, hash_files(plan) if hashes is None else hashes)
    for next_stage in (sync_fingerprint, register_fingerprint, shard_fingerprint):
        fingerprint = next_stage(plan, fingerprint)
    return fingerprint


def current_outcome(
    plan: RecordingPlan, workspace: Workspace, raw: Mapping[str, RawFile] | None = None
) -> ShardFacts | None:
    """What a build made of the recording, or None where there is anything left to do.

    Args:
        plan: of the recording.
        workspace: it was built in.
        raw: what lies at the catalog's address, where recordings lie on an object store.
    """
    if plan.recording.review is not None and plan.recording.review.decision == "reject":
        return rejected(plan, "review", str(plan.recording.review.reason), fingerprint="0" * 32)
    outcome = load(workspace.facts(plan.recording.id, "shard"), ShardFacts)
    if outcome is None:
        return None
    is_here = plan.data_address is None
    hashes = hash_files(plan) if is_here else known_hashes(plan, workspace, raw or {})
    if hashes is None or outcome.fingerprint != final_fingerprint(plan, hashes):
        return None
    stores = [workspace.clip(clip.clip, clip.fingerprint) for clip in outcome.clips]
    return outcome if all(is_sealed(store) for store in stores) else None


def rejected(plan: RecordingPlan, stage: Stage, reason: str, *, fingerprint: str) -> ShardFacts:
    """The outcome of a recording that cannot be used."""
    return ShardFacts(
        recording=plan.recording.id,
        fingerprint=fingerprint,
        rejection=Rejection(recording=plan.recording.id, stage=stage, reason=reason),
    )


def run_reject(
    plan: RecordingPlan, stage: Stage, error: TwinbandError, workspace: Workspace
) -> ShardFacts:
    """Save why a recording was left out, so that it is not tried again until something changes."""
    reason = str(error)
    if plan.data_address is not None:
        reason = reason.replace(f"{plan.data_root}/", f"{plan.data_address}/")
    outcome = rejected(plan, stage, reason, fingerprint=final_fingerprint(plan))
    save(outcome, workspace.facts(plan.recording.id, "shard"), workspace)
    return outcome
