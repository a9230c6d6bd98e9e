"""Recordings during which the rig was bumped: whole M3SVD videos with a warp that sets in midway.

From one pair on, the visible frames are warped. The cut has to lie there, and both homographies
have to differ by that warp. The untouched videos, whose rigs kept still, must not be cut.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from pipeline.geometry import distance_of_corners
from pipeline.register_descriptors import View
from pipeline.register_estimate import views_of
from pipeline.register_stretches import Held, Read, estimate_stretches
from pipeline.video_files import probe, read_frames_at
from schemas.errors import RegisterError
from schemas.recipe import RegisterRecipe
from tests.benchmarks.measuring import Spread
from tests.benchmarks.registration_draws import Warp, by_corners
from tests.benchmarks.tables import Claim, Section, Table
from tests.conftest import M3SVD

REACH_PX = 16.0
"""Furthest that a bump moves a corner in either direction."""

MOST_LOST = 6
"""Pairs at a bump that may belong to no stretch."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BumpDraw:
    """What became of one recording."""

    clip: str
    pairs: int
    bump: int | None
    """First pair after it; None: the rig kept still."""
    moved_px: float
    """By the bump, mean of the corners."""
    cuts: tuple[tuple[int, int], ...]
    """Last pair before and first pair after each cut that was made."""
    error_px: float | None
    """Between the warp planted and the one between both homographies."""
    seconds: float

    @property
    def is_right(self) -> bool:
        if self.bump is None:
            return not self.cuts
        return len(self.cuts) == 1 and (
            self.bump - MOST_LOST <= self.cuts[0][0] < self.bump <= self.cuts[0][1]
            and self.cuts[0][1] <= self.bump + MOST_LOST
        )


def filmed(source: Path, clip: str, warp_at: dict[bool, Warp], bump: int | None) -> Read:
    """Views of pairs of a video, warped from the bump on."""

    def read(pairs: Sequence[int]) -> tuple[View, View]:
        folder = source / "Video" / "test"
        infrared = read_frames_at(folder / "infrared" / f"{clip}.mp4", "infrared", pairs)
        visible = read_frames_at(folder / "visible" / f"{clip}.mp4", "visible", pairs)
        warped = [
            cv2.warpPerspective(
                frame,
                warp_at[bump is not None and pair >= bump],
                (frame.shape[1], frame.shape[0]),
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for frame, pair in zip(visible, pairs, strict=True)
        ]
        return views_of(
            [np.asarray(frame, np.uint8) for frame in infrared],
            [np.asarray(frame, np.uint8) for frame in warped],
        )

    return read


def measured(source: Path, bumps: int, seed: int = 0) -> Iterator[BumpDraw]:
    """Every whole video untouched, and with as many bumps, one at a time."""
    for number, path in enumerate(sorted((source / "Video" / "test" / "infrared").glob("*.mp4"))):
        found = probe(path)
        shape, count = (found.height, found.width), int(found.times_s.size)
        yield _drawn(source, path.stem, (shape, count), np.eye(3), None)
        for turn in range(bumps):
            rng = np.random.default_rng([seed, number, turn])
            bump = int(rng.uniform(0.2, 0.8) * count)
            warp = by_corners(REACH_PX)(rng, *shape)
            yield _drawn(source, path.stem, (shape, count), warp, bump)


def _drawn(
    source: Path, clip: str, size: tuple[tuple[int, int], int], warp: Warp, bump: int | None
) -> BumpDraw:
    shape, count = size
    begin = time.process_time()
    held: list[Held] = []
    try:
        read = filmed(source, clip, {False: np.eye(3), True: warp}, bump)
        held = estimate_stretches(read, count, RegisterRecipe())
    except RegisterError as error:
        logger.info("%s: %s", clip, error)
    seconds = time.process_time() - begin
    error_px = None
    if len(held) > 1:
        before, after = (np.array(held[place].fit.homography) for place in (0, -1))
        error_px = distance_of_corners(after @ warp, before, shape)
    return BumpDraw(
        clip=clip,
        pairs=count,
        bump=bump,
        moved_px=distance_of_corners(warp, np.eye(3), shape),
        cuts=tuple((one.end_pair - 1, two.first_pair) for one, two in pairwise(held)),
        error_px=error_px,
        seconds=seconds,
    )


def table(draws: Sequence[BumpDraw]) -> Table:
    """Every recording."""
    header = ("clip", "pairs", "bump before pair", "moved px", "cuts", "error px", "CPU s", "")
    rows = [
        (
            draw.clip, str(draw.pairs), "none" if draw.bump is None else str(draw.bump),
            f"{draw.moved_px:.1f}",
            ", ".join(f"{last}..{first}" for last, first in draw.cuts) or "none",
            "" if draw.error_px is None else f"{draw.error_px:.2f}", f"{draw.seconds:.1f}",
            "right" if draw.is_right else "**wrong**",
        )
        for draw in draws
    ]  # fmt: skip
    return Table(header, tuple(rows))


def claims(draws: Sequence[BumpDraw]) -> tuple[Claim, ...]:
    """What is promised of recordings."""
    right = float(np.mean([draw.is_right for draw in draws]))
    seconds = [draw.seconds for draw in draws if draw.bump is None]
    return (
        Claim(
            "recordings cut where they were bumped, and only there", Spread((right,)), ">=", 1.0, ""
        ),
        Claim("a still recording, decoding included", Spread(tuple(seconds)), "<=", 6.0, "CPU s"),
    )


def section(bumps: int) -> Section:
    """For docs/benchmarks.md."""
    cv2.setNumThreads(1)
    draws = list(measured(M3SVD, bumps))
    method = " ".join((__doc__ or "").split())
    return Section("Bumped rigs", method, claims(draws), (table(draws),))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_registration_bumps", description=__doc__
    )
    parser.add_argument("--bumps", type=int, default=2, help="of each video")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    draws = []
    for draw in measured(M3SVD, given.bumps):
        logger.info("%s", draw)
        draws.append(draw)
    logger.info("%s", table(draws).markdown())
    for claim in claims(draws):
        logger.info("%s", " | ".join(claim.cells()))


if __name__ == "__main__":
    main()
