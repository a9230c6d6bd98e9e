"""What a build writes ends when its staging folder is taken away, and brings it back nowhere."""

from collections.abc import Callable
from pathlib import Path

import pytest
import zarr

from pipeline.clip_stores import ClipWriter
from pipeline.staged_store import StagedStore
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.store import SHARD_PAIRS
from tests.pipeline.test_clip_stores import attributes, frames, small_arrays

ABOUT = attributes(SHARD_PAIRS + 1, 40, 56)
FRAMES = frames(ABOUT, ["infrared", "visible"])


def write_first(writer: ClipWriter) -> None:
    writer.write({name: array[:SHARD_PAIRS] for name, array in FRAMES.items()})


def write_second(writer: ClipWriter) -> None:
    writer.write({name: array[SHARD_PAIRS:] for name, array in FRAMES.items()})


def seal(writer: ClipWriter) -> None:
    time_s, valid = small_arrays(ABOUT)
    writer.seal(time_s=time_s, valid=valid)


STEPS: tuple[Callable[[ClipWriter], None], ...] = (write_first, write_second, seal)


def write_and_lose(workspace: Workspace, steps_before: int) -> None:
    """Write a store whose staging folder goes after some of its steps."""
    with workspace.owned() as held, ClipWriter(held, ABOUT, list(FRAMES)) as writer:
        for step in STEPS[:steps_before]:
            step(writer)
        held.staging.rename(workspace.root / "grave")
        for step in STEPS[steps_before:]:
            step(writer)


@pytest.mark.parametrize("steps_before", range(len(STEPS)))
def test_a_store_whose_build_was_taken_over_is_neither_written_on_nor_sealed(
    tmp_path: Path, steps_before: int
) -> None:
    workspace = Workspace(tmp_path / "work")

    with pytest.raises(WorkspaceError, match="was taken over by another twinband"):
        write_and_lose(workspace, steps_before)

    assert list((workspace.root / "staging").iterdir()) == []
    assert not (workspace.root / "clips").exists()


def test_a_store_is_not_begun_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        zarr.create_group(StagedStore(tmp_path / "gone" / "store"))

    assert list(tmp_path.iterdir()) == []
