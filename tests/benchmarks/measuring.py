"""CPU time and peak memory of what runs here and in child processes, in rounds that alternate."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spread:
    """One figure, measured once in every round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def over(self, other: "Spread") -> "Spread":
        """The ratio to what was measured in the same rounds."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{significant(self.median)} ({significant(low)}..{significant(high)})"


def significant(value: float) -> str:
    """Three digits, without an exponent."""
    if abs(value) < 1e-3:
        return "<0.001"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def alternating(
    candidates: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int
) -> dict[str, Spread]:
    """Measure every candidate once a round, one after the other, so that all share the weather.

    Args:
        candidates: name -> what measures it and gives figures by the name of what was measured.
        rounds: how many times.

    Returns:
        Figures by candidate and name, joined by a blank where the name is not empty.
    """
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for candidate, measure in candidates.items():
            for name, figure in measure().items():
                found.setdefault(f"{candidate} {name}".strip(), []).append(figure)
    return {name: Spread(tuple(values)) for name, values in found.items()}


def calls_per_cpu_s(
    call: Callable[[int], object], *, min_cpu_s: float, warm_cpu_s: float, warm_calls: int
) -> float:
    """How many calls one second of CPU time of this process pays for.

    Args:
        call: given the number of the call, from 0.
        min_cpu_s: for how long to measure.
        warm_cpu_s: for how long to call before, so that every page of every file is mapped.
        warm_calls: after that many calls it is warm in any case.
    """
    calls, begin = 0, time.process_time()
    while calls < warm_calls and time.process_time() - begin < warm_cpu_s:
        call(calls)
        calls += 1
    first, begin = calls, time.process_time()
    while True:
        call(calls)
        calls += 1
        spent_s = time.process_time() - begin
        if spent_s >= min_cpu_s:
            return (calls - first) / spent_s


def batches_per_cpu_s(
    batches: Iterator[object], *, min_cpu_s: float, min_batches: int, warm_batches: int
) -> float:
    """How many batches one second of CPU time pays for, of this process and of its workers.

    As many batches wait half made at the end as did at the start.
    """
    for _ in range(warm_batches):
        next(batches)
    begin, made = _cpu_s(), 0
    while True:
        next(batches)
        made += 1
        spent_s = _cpu_s() - begin
        if spent_s >= min_cpu_s and made >= min_batches:
            return made / spent_s


def _cpu_s() -> float:
    """CPU time of this process and of the live processes that multiprocessing started for it."""
    workers = [child.pid for child in multiprocessing.active_children()]
    return time.process_time() + sum(cpu_s_of(pid) for pid in workers if pid is not None)


def cpu_s_of(pid: int) -> float:
    """CPU time of a process so far, to a tick of 10 ms (Linux, proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
