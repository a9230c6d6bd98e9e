"""What `twinband build` says of input it cannot use, and of a disk that is full."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.video_files import write_video
from tests.flows.conftest import Built
from tests.flows.rig import (
    FPS,
    PIER_FRAMES,
    Answer,
    build,
    build_command,
    debris,
    film_pair,
    harbour,
    registered,
    running,
    street,
    write_catalog,
)
from tests.pipeline.studio import tree

BIG_FILE_BYTES = 150_000
"""Facts stay below it, the shards of noise above."""

SMALL_DISK_KIB = 400
"""Less than the stores of quay, more than its facts."""

REASONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "empty-video": ("ingest", ("empty-video/visible.mp4", "is empty", "record or copy it again")),
    "cut-video": ("ingest", ("cut-video/visible.mp4", "copy or record it again")),
    "swapped": ("ingest", ("look swapped", "exchange them in the catalog")),
    "twins": ("ingest", ("are the same file by content", "give each camera's own recording")),
    "short": ("ingest", ("short/infrared.mp4", "has 5 frames, fewer than the 7", "record longer")),
    "wrong-size": ("ingest", ("wrong-size/visible.mp4", "is 80x60", "64x48", "correct the file")),
    "bad-clock": ("ingest", ("bad-clock/times.csv: line 5", "does not increase", "mend the clock")),
}
"""Recording -> the stage that refuses it, and what the reason has to say."""


def film_bad_footage(footage: Path) -> None:
    """Spoil a good pair in every way that REASONS names."""
    film_pair(footage / "good", PIER_FRAMES, seed=8)
    for name in REASONS:
        shutil.copytree(footage / "good", footage / name)
    (footage / "empty-video" / "visible.mp4").write_bytes(b"")
    whole = (footage / "good" / "visible.mp4").read_bytes()
    (footage / "cut-video" / "visible.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    shutil.copy(footage / "good" / "visible.mp4", footage / "swapped" / "infrared.mp4")
    shutil.copy(footage / "good" / "infrared.mp4", footage / "swapped" / "visible.mp4")
    shutil.copy(footage / "good" / "infrared.mp4", footage / "twins" / "visible.mp4")
    film_pair(footage / "short", 5, seed=9)
    large = street(PIER_FRAMES, seed=8, width=80, height=60)
    write_video(footage / "wrong-size" / "visible.mp4", large, fps=FPS, codec="h264")
    times = [f"{frame},{frame / FPS if frame != 3 else 0.01}" for frame in range(PIER_FRAMES)]
    (footage / "bad-clock" / "times.csv").write_text("\n".join(["frame,time_s", *times, ""]))


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory, server: str) -> Built:
    """A good recording in the middle of bad ones, built."""
    folder = tmp_path_factory.mktemp("spoiled")
    film_bad_footage(folder)
    recordings = [registered(name) for name in REASONS if name != "bad-clock"]
    clock = {"timestamps": {"infrared": "bad-clock/times.csv"}}
    session = harbour(*recordings, registered("good"), registered("bad-clock", **clock))
    catalog = write_catalog(folder / "catalog.yaml", folder, [session])
    answer = build(catalog, folder / "work", PREFECT_API_URL=server)
    return Built(folder, catalog, folder / "work", answer)


def test_a_good_recording_among_bad_ones_is_built(spoiled: Built) -> None:
    assert spoiled.answer.code == 0, spoiled.answer.printed
    assert spoiled.answer.document["built"] == 1
    assert spoiled.answer.document["clips"] == ["good-000000"]
    assert len(spoiled.answer.document["rejected"]) == len(REASONS)


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_recording_is_left_out_with_its_reason_in_one_line(spoiled: Built, name: str) -> None:
    stage, says = REASONS[name]

    rejections = [r for r in spoiled.answer.document["rejected"] if r["recording"] == name]

    assert [rejection["stage"] for rejection in rejections] == [stage]
    reason = rejections[0]["reason"]
    assert "\n" not in reason
    assert [part for part in says if part not in reason] == [], reason


def test_nothing_half_made_remains_of_bad_recordings(spoiled: Built) -> None:
    assert [path.name for path in (spoiled.work / "clips").iterdir()] == ["good-000000"]
    assert debris(spoiled.work) == []
    assert spoiled.answer.complaints == ""


def test_a_bad_recording_is_tried_again_only_once_it_was_mended(
    spoiled: Built, tmp_path: Path, server: str
) -> None:
    work = spoiled.copy(tmp_path)
    footage = tmp_path / "footage"
    shutil.copytree(spoiled.footage, footage, ignore=shutil.ignore_patterns("work"))
    again = build(spoiled.catalog, work, PREFECT_API_URL="http://127.0.0.1:9/api")
    shutil.copy(footage / "good" / "visible.mp4", footage / "empty-video" / "visible.mp4")
    names = ("empty-video", "cut-video", "good")
    session = harbour(*(registered(name) for name in names))
    catalog = write_catalog(tmp_path / "catalog.yaml", footage, [session])

    mended = build(catalog, work, PREFECT_API_URL=server).document

    assert (again.code, again.document["built"]) == (0, 0), again.complaints
    assert again.document["rejected"] == spoiled.answer.document["rejected"]
    assert (mended["built"], mended["unchanged"]) == (1, 2)
    assert [rejection["recording"] for rejection in mended["rejected"]] == ["cut-video"]


def test_a_catalog_of_bad_recordings_alone_gives_no_clip_and_is_refused(
    spoiled: Built, tmp_path: Path
) -> None:
    session = harbour(registered("twins"), registered("short"))
    catalog = write_catalog(tmp_path / "catalog.yaml", spoiled.footage, [session])

    answer = build(catalog, spoiled.copy(tmp_path))

    assert answer.code == 1
    assert len(answer.document["rejected"]) == 2
    assert "Traceback" not in answer.complaints


def refused(catalog: Path, work: Path) -> list[str]:
    """The lines with which a catalog is refused before anything is made."""
    answer = build(catalog, work)
    assert (answer.code, answer.complaints) == (1, "")
    assert not work.exists()
    lines = answer.document["error"]
    assert isinstance(lines, list)
    return [str(line) for line in lines]


def test_every_missing_file_and_every_way_out_of_the_data_root_is_listed(
    footage: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copytree(footage / "pier", tmp_path / "data" / "pier")
    (tmp_path / "data" / "link.mp4").symlink_to(footage / "pier" / "visible.mp4")
    session = harbour(
        registered("lost"),
        registered("linked", infrared="pier/infrared.mp4", visible="link.mp4"),
    )
    catalog = write_catalog(tmp_path / "catalog.yaml", tmp_path / "data", [session])

    lines = refused(catalog, tmp_path / "work")

    assert len(lines) == 3
    for line, place, what in zip(
        lines,
        ("recordings[0].infrared", "recordings[0].visible", "recordings[1].visible"),
        ("lost/infrared.mp4 does not exist", "lost/visible.mp4 does not exist", "outside the data"),
        strict=True,
    ):
        assert line.startswith(f"{catalog}: sessions[0].{place}: "), line
        assert what in line


def test_an_unknown_key_and_a_path_outside_the_data_root_are_listed_with_their_places(
    footage: Path, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "catalog.yaml", footage, [harbour(registered("pier"))])
    text = catalog.read_text().replace('"pier/visible.mp4"', '"../visible.mp4"')
    catalog.write_text(text.replace('"site"', '"sight"'))

    lines = refused(catalog, tmp_path / "work")

    told = {line.split(": ")[1]: line for line in lines}
    assert set(told) == {f"sessions[0].recordings[0].{key}" for key in ("sight", "site", "visible")}
    assert "leaves the data root" in told["sessions[0].recordings[0].visible"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_KIB}k", "twinband-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small tmpfs; the test beside this one needs no root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def check_full(answer: Answer, work: Path) -> None:
    """One line that names the place and the remedy, and nothing half-made."""
    assert answer.code == 1
    assert "Traceback" not in answer.complaints
    (line,) = answer.document["error"]
    assert line.startswith(f"{work}"), line
    assert line.endswith("make room, then build again"), line
    assert debris(work) == []
    assert not list(work.glob("clips/*/*"))


def quay_catalog(footage: Path, folder: Path) -> Path:
    return write_catalog(folder / "catalog.yaml", footage, [harbour(registered("quay"))])


def quay_store(work: Path) -> dict[str, Any]:
    return {name: content for name, content in tree(work / "clips").items() if "quay" in name}


def test_a_full_disk_is_told_in_one_line_and_the_build_goes_on_once_there_is_room(
    built: Built, tmp_path: Path, small_disk: Path, server: str
) -> None:
    catalog, work = quay_catalog(built.footage, tmp_path), small_disk / "work"

    full = build(catalog, work, PREFECT_API_URL=server)
    check_full(full, work)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    roomy = build(catalog, work, PREFECT_API_URL=server)

    assert "No space left on device" in full.document["error"][0]
    assert roomy.code == 0, roomy.complaints
    assert quay_store(work) == quay_store(built.work)


FAILING = """
import os, sys
def fail(event, arguments):
    if event == "twinband.written" and "pairs.npz" in str(arguments[0]):
        raise OSError(int(sys.argv[1]), os.strerror(int(sys.argv[1])), str(arguments[0]))
sys.addaudithook(fail)
from flows.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("error", [errno.EIO, errno.EDQUOT])
def test_a_failing_disk_and_a_used_up_quota_are_told_in_one_line_and_the_build_goes_on_later(
    built: Built, tmp_path: Path, server: str, error: int
) -> None:
    catalog, work = quay_catalog(built.footage, tmp_path), tmp_path / "work"
    _, *arguments = build_command(catalog, work)

    failing = (sys.executable, "-c", FAILING, str(error), *arguments)
    with running(*failing, PREFECT_API_URL=server) as command:
        failed = command.answer()
    later = build(catalog, work, PREFECT_API_URL=server)

    assert failed.code == 1
    assert "Traceback" not in failed.complaints
    (line,) = failed.document["error"]
    assert "pairs.npz" in line
    assert os.strerror(error) in line
    assert later.code == 0, later.complaints
    assert quay_store(work) == quay_store(built.work)
    assert debris(work) == []


def test_a_file_that_may_not_grow_is_told_in_one_line_and_the_build_goes_on_once_it_may(
    built: Built, tmp_path: Path, server: str
) -> None:
    catalog, work = quay_catalog(built.footage, tmp_path), tmp_path / "work"
    limited = (
        "import os, resource, sys;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({BIG_FILE_BYTES}, resource.RLIM_INFINITY));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = build_command(catalog, work)

    with running(sys.executable, "-c", limited, *command, PREFECT_API_URL=server) as small:
        full = small.answer()
    check_full(full, work)
    roomy = build(catalog, work, PREFECT_API_URL=server)

    assert "File too large" in full.document["error"][0]
    assert roomy.code == 0, roomy.complaints
    assert quay_store(work) == quay_store(built.work)
