"""`twinband evaluate --detect`: what a detector follows, read from a file and never fetched."""

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from flows.cli import main
from flows.evaluate_views import Followed, id_switches, overlaps, summed
from flows.torchvision_parts import import_part
from pipeline.image_files import read_image
from tests.model.clip_fixtures import PlannedClip, write_release


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained YOLO in a file as ultralytics writes them, whose scores are spread out."""
    torch.manual_seed(0)
    model = (
        import_part("ultralytics.models", option="the test", extra="dev").YOLO("yolo11n.yaml").model
    )
    for branch in model.model[-1].cv3:
        branch[-1].weight.data *= 40
        branch[-1].bias.data.fill_(-1)
    path = tmp_path_factory.mktemp("detector") / "untrained.pt"
    torch.save({"epoch": -1, "model": copy.deepcopy(model).half(), "train_args": {}}, path)
    return path


@pytest.mark.slow
def test_objects_of_both_sources_and_of_fused_frames_are_followed(
    detector: Path, tmp_path: Path
) -> None:
    clips = [PlannedClip(name, pairs=3, split="test") for name in ("dock-1", "dock-2")]
    release, out = write_release(tmp_path, *clips).release, tmp_path / "scores"
    words = ["evaluate", str(release), "--method", "average", "--method", "maximum", "--json"]

    result = CliRunner().invoke(main, [*words, "--detect", str(detector), "--out", str(out)])

    assert result.exit_code == 0
    average, maximum = json.loads(result.stdout)["subjects"]
    assert average["settings"]["detector"] == "untrained.pt"
    for stream in ("infrared", "visible", "fused"):
        whole = average["detections"][stream]
        clips_found = [clip["detections"][stream] for clip in average["clips"]]
        assert whole["frames"] == 6
        assert whole["tracks"] == sum(found["tracks"] for found in clips_found) > 0
        assert whole["boxes"] == sum(found["boxes"] for found in clips_found)
        assert 0 < whole["confidence"] <= 1
        assert 1 <= whole["track_frames"] <= 3
    assert average["detections"]["infrared"] == maximum["detections"]["infrared"]
    assert average["detections"]["fused"] != maximum["detections"]["fused"]
    assert "Objects followed by untrained.pt" in (out / "table.html").read_text()
    picture = read_image(out / "pictures" / "dock-1-objects.jpg")
    # the panels' boxes are coloured, the infrared frame is not
    assert np.ptp(picture[:, :480].astype(int), axis=2).max() > 100


@pytest.mark.slow
def test_a_single_subject_tells_what_was_followed(detector: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path, PlannedClip("dock-1", pairs=3, split="test")).release
    words = ["evaluate", str(release), "--method", "average", "--detect", str(detector)]

    result = CliRunner().invoke(main, words)

    told = result.stdout.splitlines()
    place = told.index("followed by untrained.pt:")
    assert [line.split()[0] for line in told[place + 2 : place + 5]] == [
        "infrared",
        "visible",
        "average",
    ]


class Foreign:
    """What runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("unpickled",))


def test_what_is_no_detector_is_refused_and_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release = write_release(tmp_path, PlannedClip("dock-1", pairs=2, split="test")).release
    unsafe, junk, other = (tmp_path / name for name in ("unsafe.pt", "junk.pt", "net.onnx"))
    torch.save({"model": Foreign()}, unsafe)
    junk.write_bytes(pickle.dumps("junk"))
    other.write_bytes(b"junk")

    for path, complaint in ((unsafe, "code of its own"), (junk, "no detector"), (other, "a .pt")):
        words = ["evaluate", str(release), "--method", "average", "--detect", str(path)]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1
        assert complaint in result.stderr
        assert path.name in result.stderr
    assert not (tmp_path / "unpickled").exists()


def boxes(*rows: tuple[float, ...], tracks: tuple[int, ...]) -> Followed:
    places: NDArray[np.float32] = np.array(rows, np.float32).reshape(-1, 4)
    return Followed(places, np.full(len(rows), 0.5, np.float32), np.array(tracks, int), ("x",))


def test_overlap_is_that_of_areas() -> None:
    one = np.array([[0, 0, 10, 10]], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]], np.float32)

    assert overlaps(one, others).tolist() == [[1, pytest.approx(50 / 150), 0]]


def test_a_switch_is_another_number_on_the_same_object() -> None:
    before = boxes((0, 0, 10, 10), (50, 0, 60, 10), tracks=(1, 2))
    kept = boxes((51, 0, 61, 10), (1, 0, 11, 10), tracks=(2, 1))
    switched = boxes((51, 0, 61, 10), (1, 0, 11, 10), tracks=(3, 1))
    gone = boxes((90, 0, 99, 10), tracks=(4,))

    assert [id_switches(before, after) for after in (kept, switched, gone, boxes(tracks=()))] == [
        0, 1, 0, 0,
    ]  # fmt: skip


def test_tracks_of_two_clips_are_told_apart_though_both_begin_at_one() -> None:
    clip = [boxes((0, 0, 9, 9), tracks=(1,)), boxes((0, 0, 9, 9), (20, 0, 29, 9), tracks=(1, 2))]

    found = summed([clip, clip])

    assert (found.frames, found.boxes, found.tracks, found.id_switches) == (4, 6, 4, 0)
    assert found.track_frames == pytest.approx(1.5)
    assert summed([[boxes(tracks=())]]).confidence is None
