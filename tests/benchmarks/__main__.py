"""`python -m tests.benchmarks [NAME...]`: measure claims and write them to docs/benchmarks.md.

What each section found is kept in docs/benchmarks/, so that one can be measured without the others.
"""

import argparse
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.benchmarks import (
    bench_align,
    bench_build,
    bench_calibration,
    bench_degrade,
    bench_fidelity,
    bench_gpu,
    bench_loader,
    bench_metrics,
    bench_network,
    bench_registration,
    bench_registration_bumps,
    bench_registration_rig,
    bench_releases,
    bench_scale,
    bench_sync,
    bench_tone,
    release_claims,
)
from tests.benchmarks.footage import prepare
from tests.benchmarks.registration_draws import Effort as RegistrationEffort
from tests.benchmarks.tables import Measurement, Section, page
from tests.conftest import M3SVD

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
KEPT = ROOT / "docs" / "benchmarks"
"""A JSON file for each section, from which the page is written."""

ALTERNATIVES_PYTHON = ROOT / ".venv-bench" / "bin" / "python"

CLIP_PAIRS = 40
"""Pairs of a clip that loaders read: five chunks (STORE.md, first paragraph)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What the benchmarks need."""

    folder: Path
    """For what they write."""
    python: Path | None
    """Interpreter of the environment with the alternatives."""
    rounds: int


def loader(setting: Setting) -> Section:
    footage = prepare(M3SVD / "val", setting.folder / "footage", pairs=CLIP_PAIRS)
    effort = bench_loader.Effort(rounds=setting.rounds)
    return bench_loader.section(footage, setting.python, effort)


def build(setting: Setting) -> Section:
    effort = bench_build.Effort(rounds=setting.rounds)
    return bench_build.section(M3SVD, setting.folder / "build", effort)


def releases(setting: Setting) -> Section:
    return release_claims.section(bench_releases.CLIPS, setting.rounds)


def degrade(setting: Setting) -> Section:
    return bench_degrade.section(bench_degrade.Effort(rounds=setting.rounds))


def align(setting: Setting) -> Section:
    return bench_align.section(M3SVD, setting.rounds)


def calibration(setting: Setting) -> Section:
    footage = bench_calibration.footages(setting.rounds)
    return bench_calibration.section(list(bench_calibration.measured(footage)))


def fidelity(_: Setting) -> Section:
    return bench_fidelity.section(M3SVD / "val")


def network(setting: Setting) -> Section:
    return bench_network.section(bench_network.Effort(rounds=setting.rounds))


def gpu(setting: Setting) -> Section:
    return bench_gpu.section(bench_gpu.Effort(rounds=setting.rounds))


def metrics(setting: Setting) -> Section:
    return bench_metrics.section(M3SVD / "val", bench_metrics.Effort(rounds=setting.rounds))


def scale(setting: Setting) -> Section:
    effort = bench_scale.Effort(rounds=setting.rounds, sample_rounds=setting.rounds + 2)
    return bench_scale.section(M3SVD, effort)


def tone(_: Setting) -> Section:
    return bench_tone.section(bench_tone.Effort())


def registration(_: Setting) -> Section:
    return bench_registration.section(RegistrationEffort())


def registration_rig(_: Setting) -> Section:
    return bench_registration_rig.section(bench_registration_rig.RigEffort())


def registration_bumps(setting: Setting) -> Section:
    return bench_registration_bumps.section(setting.rounds)


def sync(setting: Setting) -> Section:
    return bench_sync.section(M3SVD, draws=2 * setting.rounds, foreign=10 * setting.rounds)


SECTIONS: dict[str, Callable[[Setting], Section]] = {
    "loader": loader,
    "build": build,
    "degrade": degrade,
    "fidelity": fidelity,
    "releases": releases,
    "tone": tone,
    "align": align,
    "calibration": calibration,
    "registration": registration,
    "registration-bumps": registration_bumps,
    "registration-rig": registration_rig,
    "sync": sync,
    "network": network,
    "gpu": gpu,
    "metrics": metrics,
    "scale": scale,
}


NEEDS_GPU = {"gpu"}
"""Measured only where torch sees one."""


def kept() -> Iterator[Measurement]:
    """What was measured of the sections so far, in their order."""
    for name in SECTIONS:
        if (path := KEPT / f"{name}.json").exists():
            yield Measurement.load(path)


def main() -> None:
    """Measure what was asked for, or everything, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep what is laid out there, for another run")
    parser.add_argument("--page", action="store_true", help="write the page from what is kept")
    given = parser.parse_args()
    if unknown := set(given.names) - SECTIONS.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    has_gpu = torch.cuda.is_available()
    if not has_gpu and (lacking := NEEDS_GPU.intersection(given.names)):
        parser.error(f"torch sees no GPU here, which {', '.join(sorted(lacking))} needs")
    if not M3SVD.is_dir():
        parser.error(f"{M3SVD} is not there; put the sample of M3SVD beside the repository")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    at_hand = [name for name in SECTIONS if has_gpu or name not in NEEDS_GPU]
    python = ALTERNATIVES_PYTHON if ALTERNATIVES_PYTHON.exists() else None
    with TemporaryDirectory() as temporary:
        setting = Setting(given.folder or Path(temporary), python, given.rounds)
        for name in () if given.page else given.names or at_hand:
            measured = Measurement.of_today(SECTIONS[name](setting), given.rounds)
            measured.save(KEPT / f"{name}.json")
            logger.info("%s", measured.markdown())
    PAGE.write_text(page(list(kept())))
    logger.info("wrote %s", PAGE)


if __name__ == "__main__":
    main()
