"""Claims and tables of the benchmarks, and the page of docs/ that shows them."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tests.benchmarks.measuring import Spread, significant

SHOWN_PACKAGES = ("numpy", "torch", "zarr", "numcodecs", "opencv-python-headless", "av")


@dataclass(frozen=True)
class Claim:
    """A figure that is promised, and what was measured."""

    what: str
    measured: Spread
    sense: Literal[">=", "<="]
    bound: float
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        value = self.measured.median
        return value >= self.bound if self.sense == ">=" else value <= self.bound

    def cells(self) -> tuple[str, ...]:
        promised = f"{self.sense} {significant(self.bound)} {self.unit}"
        return self.what, promised, str(self.measured), "met" if self.is_met else "**missed**"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.header, tuple("---" for _ in self.header), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Section:
    """What one benchmark found."""

    title: str
    method: str
    claims: tuple[Claim, ...]
    tables: tuple[Table, ...]

    def markdown(self) -> str:
        parts = [f"## {self.title}", self.method]
        if self.claims:
            header = ("claim", "promised", "measured, median (lowest..highest)", "")
            parts.append(Table(header, tuple(claim.cells() for claim in self.claims)).markdown())
        return "\n\n".join([*parts, *(table.markdown() for table in self.tables)])


def page(sections: Sequence[Section], rounds: int) -> str:
    """The whole of docs/benchmarks.md."""
    head = (
        "# Benchmarks\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}; every figure is the median of "
        f"{rounds} rounds that alternate between the alternatives, with the lowest and the "
        "highest. CPU time is that of all processes taking part. Compare ratios, which hold from "
        f"machine to machine, rather than rates.\n\nMachine: {machine()}."
    )
    return "\n\n".join([head, *(section.markdown() for section in sections)]) + "\n"


def machine() -> str:
    """Processor, memory, system and versions, in words."""
    cores, memory = os.cpu_count(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ", ".join(f"{name} {version(name)}" for name in SHOWN_PACKAGES)
    return (
        f"{processor()}, {cores} cores, {memory / 2**30:.0f} GiB of memory, "
        f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}, {packages}"
    )


def processor() -> str:
    """The processor's name, family and model: names alone are often vague."""
    found: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    family, model = found.get("cpu family", "?"), found.get("model", "?")
    return f"{found.get('model name', platform.processor())} (family {family}, model {model})"
