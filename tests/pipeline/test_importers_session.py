"""Sessions found by their files' names, and written into a catalog whose other characters stay."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.image_files import write_image
from pipeline.importers_session import (
    SESSIONS_FOLDER,
    add_session,
    find_recordings,
    start_catalog,
)
from schemas.catalog_reading import load_catalog
from schemas.errors import CatalogError
from tests.flows.rig import film_pair

CATALOG = """\
# ours
dataset: {name: harbour, data_root: .}   # here
rigs:
  - id: mast
    infrared: {width: 64, height: 48}
    visible: {width: 64, height: 48}
  - id: quay-rig
    infrared: {width: 96, height: 48}
    visible: {width: 64, height: 48}

sessions: []   # none yet

# fixed by hand
splits: {sites: {monday: train}}
"""


OLD = "{id: a, site: b, infrared: o/ir.mp4, visible: o/vis.mp4}"

LISTED = "sessions:\n- old.yaml  # first"

INLINE = f"sessions:\n  - id: old\n    rig: mast\n    recordings:\n      - {OLD}"


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short infrared.mp4 and visible.mp4."""
    folder = tmp_path_factory.mktemp("filmed")
    film_pair(folder, 4, seed=3)
    return folder


def place(filmed: Path, **files: Path) -> None:
    """Copies of the two videos under other names."""
    for stream, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((filmed / f"{stream}.mp4").read_bytes())


def catalog(folder: Path, text: str = CATALOG) -> Path:
    path = folder / "catalog.yaml"
    path.write_text(text)
    return path


def frames(folder: Path, count: int, width: int = 64) -> None:
    for number in range(count):
        write_image(folder / f"{number:04d}.png", np.zeros((48, width), np.uint8))


def test_recordings_are_told_apart_by_folders_and_by_names(filmed: Path, tmp_path: Path) -> None:
    monday = tmp_path / "monday"
    place(filmed, infrared=monday / "gate" / "infrared.mp4", visible=monday / "gate" / "RGB.mp4")
    place(filmed, infrared=monday / "Pier 2_ir.mp4", visible=monday / "Pier 2_vis.mp4")
    place(filmed, infrared=monday / "dock" / "a-thermal.mp4", visible=monday / "dock" / "a-eo.mp4")
    frames(monday / "ramp" / "ir", 2)
    frames(monday / "ramp" / "visible", 2)
    (monday / "gate" / "infrared.csv").write_text("frame,time_s\n0,0\n")
    (monday / "notes.txt").write_text("windy")

    found = {one.id: one for one in find_recordings(monday)}

    assert sorted(found) == ["dock-a", "gate", "pier-2", "ramp"]
    assert found["gate"].streams["visible"].name == "RGB.mp4"
    assert [path.name for path in found["gate"].times.values()] == ["infrared.csv"]
    assert found["ramp"].streams["infrared"] == monday / "ramp" / "ir"


def test_streams_without_a_partner_or_with_two_are_all_told(filmed: Path, tmp_path: Path) -> None:
    place(filmed, infrared=tmp_path / "gate" / "infrared.mp4")
    place(filmed, infrared=tmp_path / "pier_ir.mp4", visible=tmp_path / "pier_vis.mp4")
    place(filmed, visible=tmp_path / "pier_rgb.mp4")

    with pytest.raises(CatalogError) as caught:
        find_recordings(tmp_path)

    first, second = sorted(str(caught.value).splitlines())
    assert "infrared.mp4: has no visible beside it" in first
    assert "pier_rgb.mp4 and pier_vis.mp4 could both be the visible stream" in second


def test_an_empty_folder_tells_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("?")

    with pytest.raises(CatalogError, match=r"expected <recording>/infrared.mkv.*found readme.txt"):
        find_recordings(tmp_path)


def test_a_session_is_added_and_every_other_character_stays(filmed: Path, tmp_path: Path) -> None:
    path = catalog(tmp_path)
    place(
        filmed, infrared=tmp_path / "monday/gate_ir.mp4", visible=tmp_path / "monday/gate_vis.mp4"
    )
    place(
        filmed, infrared=tmp_path / "tuesday/gate_ir.mp4", visible=tmp_path / "tuesday/gate_vis.mp4"
    )

    first = add_session(path, tmp_path / "monday")
    second = add_session(path, tmp_path / "tuesday", site="harbour-gate")

    assert path.read_text() == CATALOG.replace(
        "sessions: []   # none yet",
        "sessions:\n  - sessions/monday.yaml   # none yet\n  - sessions/tuesday.yaml",
    )
    loaded = load_catalog(path)
    assert [session.id for session in loaded.sessions] == ["monday", "tuesday"]
    assert [(one.id, one.site) for _, one in loaded.recordings()] == [
        ("gate", "monday"),
        ("tuesday-gate", "harbour-gate"),
    ]
    assert first.session.rig == second.session.rig == "mast"
    assert first.path == tmp_path / SESSIONS_FOLDER / "monday.yaml"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sessions: []", "sessions:\n  - sessions/monday.yaml"),
        ("sessions: [old.yaml]", "sessions: [old.yaml, sessions/monday.yaml]"),
        (LISTED, f"{LISTED}\n- sessions/monday.yaml"),
        (INLINE, f"{INLINE}\n  - sessions/monday.yaml"),
    ],
)
def test_sessions_are_added_however_they_are_written(
    written: str, expected: str, filmed: Path, tmp_path: Path
) -> None:
    place(filmed, infrared=tmp_path / "o/ir.mp4", visible=tmp_path / "o/vis.mp4")
    place(filmed, infrared=tmp_path / "monday/ir.mp4", visible=tmp_path / "monday/vis.mp4")
    (tmp_path / "old.yaml").write_text(f"id: old\nrig: mast\nrecordings: [{OLD}]")
    text = CATALOG.replace("sessions: []   # none yet", written)
    path = catalog(tmp_path, text)

    add_session(path, tmp_path / "monday")

    assert path.read_text() == text.replace(written, expected)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ("twice", "has a session monday already; rename the folder"),
        ("outside", "lies outside the data root"),
        ("sizes", r"64x48 infrared and 96x48 visible fit no rig \(mast: 64x48 infrared"),
        ("damaged", "gate_ir.mp4"),
        ("unknown rig", "van is no rig of the catalog; use one of mast, quay-rig"),
        ("frames without times", "has no times; give --fps, or ir.csv"),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    spoil: str, complaint: str, filmed: Path, tmp_path: Path
) -> None:
    path, monday = catalog(tmp_path), tmp_path / "monday"
    place(filmed, infrared=monday / "gate_ir.mp4", visible=monday / "gate_vis.mp4")
    rig = None
    if spoil == "twice":
        add_session(path, monday)
    elif spoil == "outside":
        (tmp_path / "data").mkdir()
        path = catalog(tmp_path, CATALOG.replace("data_root: .", "data_root: data"))
    elif spoil == "sizes":
        film_pair(monday / "wide", 2, seed=1, width=96)
        (monday / "wide" / "visible.mp4").replace(monday / "gate_vis.mp4")
        (monday / "wide" / "infrared.mp4").unlink()
    elif spoil == "damaged":
        (monday / "gate_ir.mp4").write_bytes(b"no video")
    elif spoil == "unknown rig":
        rig = "van"
    elif spoil == "frames without times":
        frames(monday / "ramp" / "ir", 2)
        frames(monday / "ramp" / "vis", 2)
    before = path.read_bytes()
    files = sorted(each.name for each in tmp_path.rglob("*.yaml"))

    with pytest.raises(CatalogError, match=re.compile(complaint, re.DOTALL)):
        add_session(path, monday, rig=rig)

    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.rglob("*.yaml")) == files


def test_a_catalog_in_the_manner_of_json_keeps_it(filmed: Path, tmp_path: Path) -> None:
    text = (
        '{"dataset": {"name": "a"}, "rigs": [{"id": "mast", "infrared": {"width": 64, "height": 48}'
        ', "visible": {"width": 64, "height": 48}}], "sessions": []}'
    )
    path = catalog(tmp_path, text)
    place(filmed, infrared=tmp_path / "monday/ir.mp4", visible=tmp_path / "monday/vis.mp4")

    add_session(path, tmp_path / "monday")

    assert path.read_text() == text.replace("[]", "[sessions/monday.yaml]")


def test_two_rigs_of_the_same_frames_are_told_apart_by_name(filmed: Path, tmp_path: Path) -> None:
    path = catalog(tmp_path, CATALOG.replace("width: 96", "width: 64"))
    place(filmed, infrared=tmp_path / "monday/ir.mp4", visible=tmp_path / "monday/vis.mp4")

    with pytest.raises(CatalogError, match="fit the rigs mast, quay-rig; say which with --rig"):
        add_session(path, tmp_path / "monday")

    assert add_session(path, tmp_path / "monday", rig="quay-rig").session.rig == "quay-rig"


def test_a_catalog_is_started_once(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    sizes = {"infrared": (640, 512), "visible": (1920, 1080)}

    made = start_catalog(path, "mast", {"infrared": (640, 512), "visible": (1920, 1080)}, name="a")

    assert made.rigs[0].visible.width == sizes["visible"][0]
    with pytest.raises(CatalogError, match="stands already"):
        start_catalog(path, "mast", {"infrared": (1, 1), "visible": (1, 1)}, name="b")
    with pytest.raises(CatalogError, match=r"dataset\.name"):
        start_catalog(
            tmp_path / "b.yaml", "mast", {"infrared": (640, 512), "visible": (64, 48)}, name="No!"
        )
