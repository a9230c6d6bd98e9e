"""Readers in hard surroundings: few descriptors, no right to write, files and workers that go."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from model.clips import ClipWindows
from model.releases import open_release
from model.stores import OpenClip, open_clip, read_frames
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace
from schemas.errors import StoreError
from tests.torture.rig import VERSION

FEW_DESCRIPTORS = 64

READER = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
from model.clips import ClipWindows
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace
work = Path(sys.argv[1])
windows = ClipWindows(work / "releases" / sys.argv[3], "train", 5, None)
print(sum(int(windows[n]["visible"].sum()) for n in range(len(windows))))
assert verify_release(sys.argv[3], Workspace(work)) == []
"""


def windows_of(work: Path) -> ClipWindows:
    return ClipWindows(work / "releases" / VERSION, "train", 5, None)


def visible_levels(windows: ClipWindows) -> int:
    return sum(int(windows[index]["visible"].sum()) for index in range(len(windows)))


def first_clip(work: Path) -> OpenClip:
    release, root = open_release(work / "releases" / VERSION)
    return open_clip(root, release.clips[0])


def whole(clip: OpenClip, name: str = "visible") -> torch.Tensor:
    about = clip.attributes
    return read_frames(
        clip, name, (slice(0, about.pairs), slice(0, about.height), slice(0, about.width))
    )


def test_few_descriptors_are_enough_to_read_and_to_verify(released: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READER, str(released), str(FEW_DESCRIPTORS), VERSION],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == visible_levels(windows_of(released))


@pytest.fixture
def read_only(released: Path, tmp_path: Path) -> Iterator[Path]:
    """The workspace where nobody may write, not even root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    mounts = (["--bind", str(released), str(folder)], ["-o", "remount,bind,ro", str(folder)])
    for mount in mounts:
        if os.geteuid() or subprocess.run(["mount", *mount], check=False).returncode:
            pytest.skip("only root may mount a folder read-only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_nobody_may_write_to_is_read_and_verified(
    released: Path, read_only: Path
) -> None:
    assert visible_levels(windows_of(read_only)) == visible_levels(windows_of(released))
    assert verify_release(VERSION, Workspace(read_only)) == []


def test_a_folder_that_nobody_may_write_to_is_not_built_in(read_only: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system"), Workspace(read_only).owned():
        pass


def test_a_shard_deleted_under_its_reader_stays_readable_to_it_and_is_missed_by_the_next(
    released: Path, tmp_path: Path
) -> None:
    work = Path(shutil.copytree(released, tmp_path / "work"))
    reader = first_clip(work)
    before = whole(reader)

    for path in reader.path.glob("visible/c/**/*"):
        if path.is_file():
            path.unlink()

    assert torch.equal(whole(reader), before)
    with pytest.raises(StoreError, match=r"visible.*missing"):
        whole(first_clip(work))


def test_a_store_replaced_under_its_reader_does_not_change_what_it_reads(
    released: Path, tmp_path: Path
) -> None:
    work = Path(shutil.copytree(released, tmp_path / "work"))
    reader = first_clip(work)
    before = whole(reader)

    reader.path.rename(work / "aside")
    shutil.copytree(work / "aside", reader.path)
    for path in reader.path.glob("visible/c/**/*"):
        if path.is_file():
            path.write_bytes(bytes(path.stat().st_size))

    assert torch.equal(whole(reader), before)
    with pytest.raises(StoreError, match="visible"):
        whole(first_clip(work))


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_worker_that_is_killed_gives_an_error_and_no_hang(released: Path) -> None:
    loader = DataLoader(
        windows_of(released), batch_size=1, num_workers=1, multiprocessing_context="forkserver"
    )
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers  # type: ignore[attr-defined]  # no public way to its number

    os.kill(worker.pid, signal.SIGKILL)

    # Which of them depends on whether the worker dies between two batches or in the middle of one.
    with pytest.raises((RuntimeError, ConnectionError, EOFError)):
        list(batches)
