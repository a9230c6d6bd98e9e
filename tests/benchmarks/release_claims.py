"""What is promised of releases of thousands of clips, beside what their commands take."""

from collections.abc import Mapping

from tests.benchmarks.bench_releases import measure_releases
from tests.benchmarks.measuring import alternating
from tests.benchmarks.tables import Claim, Section, Table

MOST_S = 10.0
"""Bound of every command at the larger number of clips."""

NOISE = 1.1
"""A growth in step with the clips may seem this much more, by what else the machine does."""


def section(clips: tuple[int, int], rounds: int) -> Section:
    """The commands on releases of a few clips and of many."""
    few, many = clips
    times_s = alternating({"": lambda: _times_s(clips)}, rounds)
    commands = [name.removesuffix(_of(few)) for name in times_s if name.endswith(_of(few))]
    claims: list[Claim] = []
    rows: list[tuple[str, ...]] = []
    for command in commands:
        less_s, more_s = times_s[command + _of(few)], times_s[command + _of(many)]
        growth = more_s.over(less_s)
        claims.append(Claim(f"{command}, {many} clips", more_s, "<=", MOST_S, "s"))
        what = f"{command}: time at {many} clips, of that at {few}"
        claims.append(Claim(what, growth, "<=", NOISE * many / few))
        rows.append((command, str(less_s), str(more_s), str(growth)))
    header = ("command", f"seconds at {few} clips", f"seconds at {many} clips", "growth")
    return Section(
        title="Releases of many clips",
        method=(
            "Tiny clips in real sealed stores, with real catalogs and facts; CPU time of the one "
            "process. The two releases that are compared have no clip in common."
        ),
        claims=tuple(claims),
        tables=(Table(header, tuple(rows)),),
    )


def _times_s(clips: tuple[int, int]) -> Mapping[str, float]:
    return {t.command + _of(t.clips): t.seconds for t in measure_releases(clips)}


def _of(clips: int) -> str:
    return f" of {clips}"
