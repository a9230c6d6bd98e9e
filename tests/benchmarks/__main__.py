"""`python -m tests.benchmarks`: measure the claims and write docs/benchmarks.md."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import (
    bench_build,
    bench_degrade,
    bench_loader,
    bench_releases,
    bench_sync,
    release_claims,
)
from tests.benchmarks.footage import prepare
from tests.benchmarks.tables import Section, page
from tests.conftest import M3SVD

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
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


def sync(setting: Setting) -> Section:
    return bench_sync.section(M3SVD, draws=2 * setting.rounds, foreign=10 * setting.rounds)


SECTIONS: dict[str, Callable[[Setting], Section]] = {
    "loader": loader,
    "build": build,
    "degrade": degrade,
    "releases": releases,
    "sync": sync,
}


def main() -> None:
    """Measure what was asked for; the page is written where that was everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep what is laid out there, for another run")
    given = parser.parse_args()
    if unknown := set(given.names) - SECTIONS.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    if not M3SVD.is_dir():
        parser.error(f"{M3SVD} is not there; put the sample of M3SVD beside the repository")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    python = ALTERNATIVES_PYTHON if ALTERNATIVES_PYTHON.exists() else None
    with TemporaryDirectory() as temporary:
        setting = Setting(given.folder or Path(temporary), python, given.rounds)
        sections = [SECTIONS[name](setting) for name in given.names or SECTIONS]
    text = page(sections, given.rounds)
    if given.names:
        logger.info("%s", text)
    else:
        PAGE.write_text(text)
        logger.info("wrote %s", PAGE)


if __name__ == "__main__":
    main()
