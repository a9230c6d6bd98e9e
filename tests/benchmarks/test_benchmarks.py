"""Every benchmark runs on a few tiny frames, and all loaders read the same pixels."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.image_files import write_image
from pipeline.video_files import write_video
from schemas.base import BANDS
from tests.benchmarks import (
    bench_build,
    bench_calibration,
    bench_degrade,
    bench_loader,
    bench_metrics,
    bench_network,
    bench_sync,
    release_claims,
)
from tests.benchmarks.__main__ import ALTERNATIVES_PYTHON, KEPT, PAGE, SECTIONS, kept
from tests.benchmarks.footage import STREAMS, Footage, prepare
from tests.benchmarks.loaders import draw_places, memory_maps
from tests.benchmarks.measuring import Spread
from tests.benchmarks.tables import Claim, Measurement, Section, page

CLIPS, FRAMES, PAIRS = ("dawn", "dusk"), 9, 20
HEIGHT, WIDTH = 144, 160


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    folder, rng = tmp_path_factory.mktemp("footage"), np.random.default_rng(3)
    for clip in CLIPS:
        for stream, name in STREAMS.items():
            (folder / "val" / name / clip).mkdir(parents=True)
            for number in range(FRAMES):
                frame = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
                if stream.startswith("infrared"):
                    frame[...] = frame[..., :1]
                write_image(folder / "val" / name / clip / f"{number:04d}.png", frame)
    return prepare(folder / "val", folder / "laid-out", pairs=PAIRS)


def test_all_loaders_read_the_same_pixels(footage: Footage) -> None:
    limit, places = memory_maps(footage), draw_places(footage, 128, 12)
    loaders = {name: opened(footage) for name, opened in bench_loader.plain_loaders().items()}

    for place in places:
        expected = limit(place)
        for name, load in loaders.items():
            for stream, frames in load(place).items():
                levels = frames.numpy()
                if levels.dtype == np.float32:
                    levels = np.rint(255 * levels[:, : expected[stream].shape[1]])
                assert np.array_equal(levels, expected[stream].numpy()), (name, stream, place)


@pytest.mark.slow
def test_the_loaders_are_measured(footage: Footage) -> None:
    effort = bench_loader.Effort(
        rounds=1, min_cpu_s=0.01, warm_cpu_s=0.01, worker_batches=1, sides=(128,)
    )
    python = ALTERNATIVES_PYTHON if ALTERNATIVES_PYTHON.exists() else None

    section = bench_loader.section(footage, python, effort)

    assert len(section.claims) == 6
    rows = [row for table in section.tables for row in table.rows]
    assert {bench_loader.PNG, bench_loader.MEMMAP, *bench_loader.OURS.values()} <= {
        row[0] for row in rows
    }


@pytest.mark.slow
def test_the_build_is_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for band in BANDS:
        folder = tmp_path / bench_build.VIDEOS / band
        folder.mkdir(parents=True)
        small = rng.integers(0, 256, (FRAMES, 6, 8), np.uint8)
        frames = small.repeat(16, axis=1).repeat(16, axis=2)
        write_video(folder / f"{bench_build.CLIP}.mp4", frames, fps=25, codec="h264")

    section = bench_build.section(
        tmp_path, tmp_path / "build", bench_build.Effort(rounds=1, longer=2)
    )

    steps = {row[0] for row in section.tables[0].rows}
    assert {"warped: decode alone", "warped: shard", "warped: encode alone"} <= steps
    assert [f"MB at {n * FRAMES} pairs" in section.tables[1].header for n in (1, 2)] == [True, True]


@pytest.mark.slow
def test_calibration_is_measured() -> None:
    footage = bench_calibration.footages(1, lenses=["usual"], levels=["noise"])

    section = bench_calibration.section(list(bench_calibration.measured(footage)))

    assert all(claim.is_met for claim in section.claims)
    assert [row[2] for row in section.tables[0].rows] == 2 * list(bench_calibration.METHODS)


def test_degrading_is_measured_beside_both_alternatives() -> None:
    section = bench_degrade.section(bench_degrade.Effort(rounds=1, cpu_s=0.01))

    assert [claim.bound for claim in section.claims] == [3, 3]
    assert [row[0] for row in section.tables[0].rows] == ["infrared", "visible", "both"]
    assert section.tables[0].header[-2:] == tuple(f"over {other}" for other in bench_degrade.OTHERS)


def test_the_network_is_measured_beside_its_specification() -> None:
    section = bench_network.section(bench_network.Effort(1, frames=2, height=16, width=24))

    assert [row[0] for row in section.tables[0].rows][:2] == ["literal, restoring", "literal"]
    assert section.claims[-1].is_met, "the results are the same"


def test_metrics_are_measured_beside_plain_forms_of_equal_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name in ("infrared_Enhance", "visible_Enhance"):
        for number in range(2):
            frame = rng.integers(0, 256, (64, 80, 3), np.uint8)
            write_image(tmp_path / name / "dawn" / f"{number:04d}.png", frame)

    made = bench_metrics.section(tmp_path, bench_metrics.Effort("dawn", rounds=1, cpu_s=0.01))

    assert [claim.what for claim in made.claims][-2:] == ["flowD", "all"]
    assert all(claim.measured.median > 0 for claim in made.claims)


def test_releases_are_measured() -> None:
    section = release_claims.section((40, 80), rounds=1)

    assert {row[0] for row in section.tables[0].rows} >= {"release", "diff"}


def test_an_accepted_clock_that_is_wrong_is_counted_and_a_refused_one_is_not() -> None:
    right, wrong, refused = (
        bench_sync.RealDraw("clip", "still", 7, reason, error_frames, 0.6, error_px, 10.0)
        for reason, error_frames, error_px in (
            (None, 0.2, 0.5),
            (None, 40.0, 0.5),
            ("in doubt", 40.0, None),
        )
    )

    section = bench_sync.section_of([right, wrong, refused], [], [], "in doubt")

    claims = {claim.what: claim for claim in section.claims}
    assert claims["clock and homography both solved"].measured.median == pytest.approx(1 / 3)
    assert claims["accepted and wrong"].measured.median == pytest.approx(1 / 3)
    assert claims["still scenes accepted"].is_met


def test_a_claim_that_does_not_hold_is_kept_and_shown_as_missed(tmp_path: Path) -> None:
    claims = (
        Claim("speed of walking", Spread((2.0, 3.0, 50.0)), ">=", 3),
        Claim("size of a mouse", Spread((0.66,)), "<=", 0.65),
    )

    measured = Measurement.of_today(Section("Animals", "By eye.", claims, ()), rounds=3)
    measured.save(tmp_path / "docs" / "animals.json")
    again = Measurement.load(tmp_path / "docs" / "animals.json")
    text = page([again])

    assert again == measured
    assert "| speed of walking | >= 3 x | 3 (2..50) | met |" in text
    assert "| size of a mouse | <= 0.65 x | 0.66 (0.66..0.66) | **missed** |" in text


def test_the_page_shows_what_was_measured_and_nothing_else() -> None:
    assert {path.stem for path in KEPT.iterdir()} <= SECTIONS.keys()
    assert PAGE.read_text() == page(list(kept()))
