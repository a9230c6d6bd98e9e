"""`twinband evaluate` on folders, videos and releases: documents, files, and refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.cli_evaluate import METHODS
from flows.evaluate_pictures import slice_over_time
from flows.evaluate_tables import PAPER_METRICS
from model.checkpoint import save_checkpoint
from model.network import VideoFusion
from pipeline.image_files import read_image, write_image
from schemas.evaluation import DEFINITIONS
from schemas.training import PRESETS
from tests.model.clip_fixtures import PlannedClip, write_release

COUNT, HEIGHT, WIDTH = 3, 48, 64
IN_ITS_FRAME = [
    name
    for name in DEFINITIONS
    if name not in ("flowD", "BiSWE", "MS2R") and not name.endswith(("_infrared", "_visible"))
]


def run(*words: object) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(main, [*map(str, words), "--json"])
    return result.exit_code, json.loads(result.stdout)


def film(folder: Path, seed: int, *, clips: tuple[str, ...] = ("quay", "walk")) -> Path:
    """Clips of frames, colour and grey, each frame another."""
    rng = np.random.default_rng(seed)
    for clip in clips:
        for number in range(COUNT):
            picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            write_image(folder / clip / f"{number:04d}.png", picture)
    return folder


@pytest.fixture
def streams(tmp_path: Path) -> list[object]:
    """The three options of folders of frames by clip."""
    words: list[object] = []
    for seed, stream in enumerate(("fused", "infrared", "visible")):
        words += [f"--{stream}", film(tmp_path / stream, seed)]
    return words


def test_folders_by_clip_are_scored_by_frame_clip_and_all(
    streams: list[object], tmp_path: Path
) -> None:
    code, document = run("evaluate", *streams, "--out", tmp_path / "scores")

    assert code == 0
    assert set(document["overall"]) >= {"EN", "MI", "SD", "SSIM", "VIF", "flowD"}
    assert [clip["clip"] for clip in document["clips"]] == ["quay", "walk"]
    assert document["settings"]["flow"] == "dis"
    assert document["settings"]["direction"] == "backward"
    assert set(document["settings"]["metrics"]) == set(document["overall"])
    for name, value in document["overall"].items():
        means = [clip["scores"][name] for clip in document["clips"]]
        assert value == pytest.approx(np.mean(means))
        low, high = document["intervals"][name]
        assert low <= value <= high

    frames = pq.read_table(tmp_path / "scores" / "frames.parquet").to_pylist()
    assert [(row["clip"], row["frame"]) for row in frames] == [
        (clip, frame) for clip in ("quay", "walk") for frame in range(COUNT)
    ]
    assert [row["flowD"] is None for row in frames] == [True, False, False] * 2
    kept = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert kept["overall"] == document["overall"]
    latex = (tmp_path / "scores" / "table.tex").read_text()
    page = (tmp_path / "scores" / "table.html").read_text()
    for text in (latex, page):
        assert "VideoFusion" in text
        assert "3.294" in text
        assert f"{document['overall']['MI']:.3f}" in text
    assert "SSIM (L=255)" in latex
    assert "flowD (dis, backward)" in latex


def test_a_single_frame_has_no_flow_and_a_single_clip_no_interval(tmp_path: Path) -> None:
    words: list[object] = []
    for seed, stream in enumerate(("fused", "infrared", "visible")):
        folder = film(tmp_path / stream, seed, clips=(stream,)) / stream
        for frame in sorted(folder.iterdir())[1:]:
            frame.unlink()
        words += [f"--{stream}", folder]

    code, document = run("evaluate", *words, "--smoothness")

    assert code == 0
    overall = document["overall"]
    assert [overall[name] for name in ("flowD", "BiSWE", "MS2R")] == [None] * 3
    assert all(overall[name] is not None for name in IN_ITS_FRAME)
    assert set(document["intervals"].values()) == {None}


def test_smoothness_is_measured_where_there_are_both_neighbours(streams: list[object]) -> None:
    code, document = run("evaluate", *streams, "--smoothness")

    assert code == 0
    assert document["overall"]["BiSWE"] > 0
    assert document["overall"]["MS2R"] > 0


def test_a_release_is_fused_by_a_method_and_scored(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-1", pairs=9, split="test"))
    release = shelf.release

    scores = {}
    for method in ("average", "maximum"):
        code, scores[method] = run("evaluate", release, "--method", method)
        assert code == 0

    assert scores["average"]["clips"][0]["frames"] == 9
    assert scores["maximum"]["overall"] != scores["average"]["overall"]
    code, degraded = run("evaluate", release, "--method", "average", "--sources", "degraded")
    # what was averaged is nearer to itself than to what it was before it was degraded
    assert degraded["overall"]["CC"] > scores["average"]["overall"]["CC"]


def test_a_network_is_scored_with_what_it_restores(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-1", pairs=12, split="test"))
    weights = tmp_path / "weights.safetensors"
    save_checkpoint(VideoFusion(PRESETS["small"].network), weights)

    code, document = run("evaluate", shelf.release, "--model", weights)
    _, average = run("evaluate", shelf.release, "--method", "average")

    assert code == 0
    assert document["clips"][0]["frames"] == 12
    assert document["settings"]["fused"] == str(weights)
    for name in ("PSNR_infrared", "SSIM_infrared", "PSNR_visible", "SSIM_visible"):
        assert document["overall"][name] > 0
        # nothing is restored by an average, so this is how far the degraded frames are off
        assert average["overall"][name] > document["overall"][name], "an untrained network"


def test_methods_and_weights_share_one_table(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-1", pairs=9, split="test"))
    weights = tmp_path / "mine.safetensors"
    save_checkpoint(VideoFusion(PRESETS["small"].network), weights)
    out = tmp_path / "scores"

    methods = ("--method", "average", "--method", "maximum")
    code, document = run("evaluate", shelf.release, *methods, "--model", weights, "--out", out)

    assert code == 0
    names = [Path(one["settings"]["fused"]).stem for one in document["subjects"]]
    assert names == ["mine", "average", "maximum"]
    latex, page = (out / "table.tex").read_text(), (out / "table.html").read_text()
    rows = pa_csv.read_csv(out / "table.csv").to_pylist()
    for name, one, row in zip(names, document["subjects"], rows, strict=True):
        assert f"{name} & {one['overall']['EN']:.3f}" in latex
        assert f"<td>{name}</td>" in page
        assert row["subject"] == name
        assert row["flowD"] == pytest.approx(one["overall"]["flowD"])
        assert (out / name / "frames.parquet").is_file()


def test_the_weights_of_runs_are_called_after_their_runs(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-1", pairs=9, split="test"))
    words: list[object] = []
    for run_name in ("first, of May", "second"):
        path = tmp_path / run_name / "weights.safetensors"
        path.parent.mkdir()
        save_checkpoint(VideoFusion(PRESETS["small"].network), path)
        words += ["--model", path]

    code, _ = run("evaluate", shelf.release, *words, "--out", tmp_path / "scores")

    assert code == 0
    rows = pa_csv.read_csv(tmp_path / "scores" / "table.csv").to_pylist()
    assert [row["subject"] for row in rows] == ["first, of May", "second"]
    assert (tmp_path / "scores" / "second" / "frames.parquet").is_file()


def test_two_of_one_name_are_refused_before_anything_is_scored(tmp_path: Path) -> None:
    code, document = run("evaluate", tmp_path, "--model", "a/net.st", "--model", "b/net.st")

    assert code == 1
    assert "a/net.st and b/net.st are both called net" in document["error"][0]


def test_all_methods_are_asked_for_at_once(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-1", pairs=9, split="test"))

    code, document = run("evaluate", shelf.release, "--method", "all")

    assert code == 0
    assert [one["settings"]["fused"] for one in document["subjects"]] == METHODS


def test_pictures_show_metrics_and_a_column_over_time_and_frames(
    streams: list[object], tmp_path: Path
) -> None:
    code, _ = run("evaluate", *streams, "--out", tmp_path / "scores")

    pictures = tmp_path / "scores" / "pictures"
    assert code == 0
    assert b"flowD" in (pictures / "walk-metrics.svg").read_bytes()
    assert read_image(pictures / "quay-slices.png").shape[1] > 640
    assert read_image(pictures / "quay-strip.jpg").shape[1] > 3 * 320


def test_a_slice_is_one_column_frame_beside_frame() -> None:
    columns = [np.full((4, 3), level, np.uint8) for level in (10, 20, 30)]

    shown = slice_over_time(columns)

    assert shown.shape == (4, 639, 3)
    assert [int(level) for level in shown[0, ::213, 0]] == [10, 20, 30]


def test_stretching_each_frame_raises_its_contrast_and_is_told(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-1", pairs=9, split="test"))
    weights = tmp_path / "mine.safetensors"
    save_checkpoint(VideoFusion(PRESETS["small"].network), weights)

    _, kept = run("evaluate", shelf.release, "--model", weights)
    code, stretched = run("evaluate", shelf.release, "--model", weights, "--stretch", "frame")

    assert code == 0
    assert stretched["settings"]["stretch"] == "frame"
    assert stretched["overall"]["SD"] > 1.2 * kept["overall"]["SD"]
    assert stretched["overall"]["PSNR_visible"] == kept["overall"]["PSNR_visible"]


def test_every_problem_of_the_folders_is_told_at_once(
    streams: list[object], tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "fused" / "walk")
    (tmp_path / "infrared" / "quay" / "0002.png").unlink()

    code, document = run("evaluate", *streams)

    assert code == 1
    told = "\n".join(document["error"])
    assert f"{tmp_path / 'fused'} has no walk" in told
    assert f"{tmp_path / 'infrared' / 'quay'} has 2 frames of 64x48" in told


def test_frames_of_sixteen_bits_and_small_ones_are_refused(tmp_path: Path) -> None:
    deep, small = np.zeros((48, 64), np.uint16), np.zeros((32, 64, 3), np.uint8)
    for name, infrared, visible in (
        ("deep", deep, np.zeros((48, 64, 3), np.uint8)),
        ("small", small, small),
    ):
        words: list[object] = []
        for stream, frame in (("fused", visible), ("infrared", infrared), ("visible", visible)):
            write_image(tmp_path / name / stream / "0.png", frame)
            words += [f"--{stream}", tmp_path / name / stream]
        code, document = run("evaluate", *words)

        assert code == 1
        assert {"deep": "16 bits", "small": "41 pixels"}[name] in document["error"][0]


def test_a_path_that_is_not_there_or_holds_nothing_is_named(
    streams: list[object], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for path, told in (
        (tmp_path / "gone", "does not exist"),
        (tmp_path / "empty", "holds neither"),
    ):
        code, document = run("evaluate", "--fused", path, *streams[2:])

        assert code == 1
        assert f"{path}: {told}" in document["error"][0]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("v1.0.0",),
        ("--method", "average"),
        ("--fused", "x"),
        ("v1.0.0", "--fused", "x", "--infrared", "x", "--visible", "x"),
    ],
)
def test_half_a_question_is_a_matter_of_usage(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["evaluate", *words]).exit_code == 2


def test_the_real_sample_is_scored_as_the_authors_lay_it_out(m3svd: Path, tmp_path: Path) -> None:
    """The blurred visible frames taken for fused ones: less of either source than clean ones."""
    for band in ("Blur", "Enhance"):
        for number in range(2):
            path = m3svd / "val" / f"visible_{band}" / "0111_1716" / f"{number:04d}.png"
            image = np.asarray(read_image(path), np.uint8)
            write_image(tmp_path / band / "0111_1716" / path.name, image)
            infrared = m3svd / "val" / "infrared_Enhance" / "0111_1716" / path.name
            grey = np.asarray(read_image(infrared), np.uint8)
            write_image(tmp_path / "infrared" / "0111_1716" / path.name, grey)

    found = {}
    for band in ("Blur", "Enhance"):
        words = ["--infrared", tmp_path / "infrared", "--visible", tmp_path / "Enhance"]
        code, found[band] = run("evaluate", "--fused", tmp_path / band, *words)
        assert code == 0

    clean, blurred = found["Enhance"]["overall"], found["Blur"]["overall"]
    for name in ("MI", "SSIM", "VIF", "Qabf", "AG", "SF"):
        assert blurred[name] < clean[name], name
    assert set(PAPER_METRICS) <= set(clean)


def outputs_of(folder: Path, clips: dict[str, int]) -> Path:
    """Frames that somebody fused of a release's clips."""
    rng = np.random.default_rng(5)
    for clip, count in clips.items():
        for number in range(count):
            picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            write_image(folder / clip / f"{number:04d}.png", picture)
    return folder


def test_what_others_fused_of_a_release_stands_in_one_table_with_methods(tmp_path: Path) -> None:
    plans = [
        PlannedClip(name, pairs=3, split="test", height=HEIGHT, width=WIDTH)
        for name in ("dock-1", "dock-2")
    ]
    release = write_release(tmp_path, *plans).release
    made = outputs_of(tmp_path / "TheirNet", {"dock-1": 3, "dock-2": 3})

    code, document = run(
        "evaluate", release, "--fused", made, "--method", "average", "--out", tmp_path / "scores"
    )

    assert code == 0
    theirs, average = document["subjects"]
    assert theirs["settings"]["fused"] == str(made)
    assert [clip["clip"] for clip in theirs["clips"]] == ["dock-1", "dock-2"]
    assert "PSNR_visible" not in theirs["overall"], "what they restored is not known"
    rows = pa_csv.read_csv(tmp_path / "scores" / "table.csv").to_pylist()
    assert [row["PSNR_visible"] for row in rows] == [
        None,
        pytest.approx(average["overall"]["PSNR_visible"]),
    ]


def test_outputs_that_do_not_fit_a_release_are_all_told(tmp_path: Path) -> None:
    plans = [
        PlannedClip(name, pairs=3, split="test", height=HEIGHT, width=WIDTH)
        for name in ("dock-1", "dock-2")
    ]
    release = write_release(tmp_path, *plans).release
    made = outputs_of(tmp_path / "TheirNet", {"dock-1": 2, "quay": 3})

    result = CliRunner().invoke(main, ["evaluate", str(release), "--fused", str(made)])

    assert result.exit_code == 1
    assert "has no dock-2" in result.stderr
    assert "dock-1 has 2 frames of 64x48, the clip 3 frames of 64x48" in result.stderr
