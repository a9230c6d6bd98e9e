"""Progress on the terminal; silent where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Show = Callable[[int, int, str], None]
"""Takes how much is done, of how much, and a word on the latest."""


def silence(_done: int, _total: int, _latest: str) -> None:
    """Show nothing."""


@contextmanager
def progress(title: str) -> Iterator[Show]:
    """Yield a function that moves a bar on the error stream, where that is a terminal."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[latest]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None, latest="")
        yield lambda done, total, latest: bar.update(
            task, completed=done, total=total, latest=latest
        )
