"""The whole way on real input, and the demo, as a new user runs them."""

import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import zarr

from flows.demo import FUSED_PAIRS
from pipeline.clip_stores import open_clip, read_pairs
from pipeline.hub import read_release
from pipeline.image_files import read_image
from pipeline.video_files import probe, read_frames
from tests.flows.rig import COMMAND, Answer, running, wait_until

LIMIT_S = 900.0

VIDEO = "0111_1716"
"""The shortest of the sample, 151 frames."""

LOSS_LEFT = 0.85
"""Most that training may leave of the loss on unseen clips; about two thirds are left."""


def twinband(*arguments: str | Path) -> Answer:
    with running(COMMAND, *arguments, "--json") as command:
        wait_until(command.has_ended, "the command ends", LIMIT_S)
        return command.answer()


@pytest.fixture
def sample(m3svd: Path, tmp_path: Path) -> Path:
    """M3SVD without its two longest videos: every layout, every site that has frames."""
    folder = tmp_path / "M3SVD"
    shutil.copytree(m3svd / "val", folder / "val")
    for band in ("infrared", "visible"):
        video = Path("Video", "test", band, f"{VIDEO}.mp4")
        (folder / video).parent.mkdir(parents=True)
        shutil.copyfile(m3svd / video, folder / video)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_m3svd_travels_from_import_to_a_fused_video(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, work, out = tmp_path / "catalog.yaml", tmp_path / "work", tmp_path / "published"

    adopted = twinband("import", "m3svd", sample, "--catalog", catalog)
    built = twinband("build", "-c", catalog, "--work", work)
    released = twinband("release", "v0.1.0", "-c", catalog, "--work", work)
    published = twinband("publish", "v0.1.0", "--to", out, "--work", work)
    run = tmp_path / "run"
    trained = twinband("train", "v0.1.0", "--work", work, "--steps", "5", "--out", run)

    assert len(adopted.document["recordings"]) == 5
    assert (built.code, built.document["built"], built.document["rejected"]) == (0, 5, [])
    assert released.document["clips"] == 5
    assert published.code == 0
    assert (trained.code, trained.document["steps"]) == (0, 5)
    _check_clean_frames_are_the_sources(sample, work)
    reported = twinband("report", "v0.1.0", "--work", work)
    page = Path(reported.document["report"]).read_text()
    for clip in read_release(work / "releases" / "v0.1.0").clips:
        assert f"{clip.split} · {clip.site} · {clip.pairs} pairs" in page
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, clips in released.document["splits"].items():
        rows = datasets.load_dataset(str(out), split=split, cache_dir=str(tmp_path / "cache"))
        assert len(rows) == clips
        for row in rows:
            assert {"clip", "recording", "site", "split", "pairs", "fps", "store"} <= set(row)
            opened = zarr.open_array(out / row["store"] / "infrared", mode="r")
            assert opened.shape[0] == row["pairs"]


def _check_clean_frames_are_the_sources(sample: Path, work: Path) -> None:
    (video,) = (work / "clips" / "0111-1716-video-000000").glob("*.zarr")
    (frames,) = (work / "clips" / "0115-1831-frames-000000").glob("*.zarr")

    group, attributes = open_clip(video)
    for band in ("infrared", "visible"):
        source = sample / "Video" / "test" / band / f"{VIDEO}.mp4"
        stored = read_pairs(group, band, 0, attributes.pairs)
        read = read_frames(source, "infrared" if band == "infrared" else "visible")
        assert all(np.array_equal(*pair) for pair in zip(stored, read, strict=True))
    group, _ = open_clip(frames)
    for stream, folder in (
        ("infrared", "infrared_Enhance"),
        ("infrared_degraded", "infrared_noise"),
        ("visible", "visible_Enhance"),
        ("visible_degraded", "visible_Blur"),
    ):
        paths = sorted((sample / "val" / folder / "0115_1831").glob("*.png"))
        stored = read_pairs(group, stream, 0, len(paths))
        for frame, path in zip(stored, paths, strict=True):
            source_image = read_image(path)
            expected = source_image[..., 0] if stream.startswith("infrared") else source_image
            assert np.array_equal(frame, expected)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demo_makes_what_it_says(tmp_path: Path) -> None:
    answer = twinband("demo", tmp_path / "demo")

    assert answer.code == 0, answer.complaints
    made = answer.document
    for key in ("release", "clips", "picture", "checkpoint", "fused"):
        assert Path(made[key]).is_relative_to(tmp_path / "demo")
        assert Path(made[key]).exists()
    assert made["last_loss"] < LOSS_LEFT * made["first_loss"]
    picture = read_image(Path(made["picture"]))
    assert picture.std() > 30
    assert probe(Path(made["fused"])).times_s.size == FUSED_PAIRS
