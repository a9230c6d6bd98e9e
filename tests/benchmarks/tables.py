"""Claims and tables of the benchmarks, and the page of docs/ that shows them."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import TypeAdapter

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


@dataclass(frozen=True)
class Measurement:
    """A section of the page as it was measured, kept as JSON so that others can be added to it."""

    section: Section
    measured_on: date
    rounds: int
    machine: str
    load_average: float
    """Of the last fifteen minutes: how much else the machine had to do."""

    @classmethod
    def of_today(cls, section: Section, rounds: int) -> Self:
        """What was measured just now, on this machine."""
        today = datetime.now(UTC).date()
        return cls(section, today, rounds, machine(), round(os.getloadavg()[2], 1))

    @classmethod
    def load(cls, path: Path) -> Self:
        return TypeAdapter(cls).validate_json(path.read_bytes())

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TypeAdapter(type(self)).dump_json(self, indent=1) + b"\n")

    def markdown(self) -> str:
        return (
            f"{self.section.markdown()}\n\n"
            f"Measured on {self.measured_on} in {self.rounds} rounds, under a load average of "
            f"{self.load_average:g}, on {self.machine}."
        )


def page(measurements: Sequence[Measurement]) -> str:
    """The whole of docs/benchmarks.md."""
    head = (
        "# Benchmarks\n\n"
        "Written by `make bench`, or a section at a time by `python -m tests.benchmarks NAME`. "
        "Every figure is the median of rounds that alternate between the alternatives, with the "
        "lowest and the highest. CPU time is that of all processes taking part. Compare ratios, "
        "which hold from machine to machine, rather than rates."
    )
    return "\n\n".join([head, *(measured.markdown() for measured in measurements)]) + "\n"


def machine() -> str:
    """GPU, processor, memory, system and versions, in words."""
    cores, memory = os.cpu_count(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ", ".join(f"{name} {version(name)}" for name in SHOWN_PACKAGES)
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return (
        f"{gpu}{processor()}, {cores} cores, {memory / 2**30:.0f} GiB of memory, "
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
