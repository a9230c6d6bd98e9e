"""What every subcommand of `twinband` has in common: options, and answers in text or JSON."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import click

from schemas.errors import TwinbandError

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
ANYTHING = click.Path(path_type=Path)

catalog_option = click.option(
    "-c",
    "--catalog",
    type=FILE,
    default="catalog.yaml",
    show_default=True,
    help="The catalog.",
)


class WorkPlace(click.ParamType[Path | str]):
    """A folder of this machine, or an address of an object store."""

    name = "place"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """A path for a folder, and the address as it is."""
        if isinstance(value, Path) or "://" not in value:
            folder: Path = FOLDER.convert(value, param, ctx)
            return folder
        from schemas.base import is_object_address

        if not is_object_address(value):
            self.fail(f"{value} is none of s3://, gs:// and az:// with a place in it", param, ctx)
        return value.rstrip("/")


work_option = click.option(
    "--work",
    type=WorkPlace(),
    default="work",
    show_default=True,
    help="The workspace: a folder, or s3://bucket/path and the like.",
)
work_folder_option = click.option(
    "--work", type=FOLDER, default="work", show_default=True, help="The workspace's folder."
)


@dataclass(frozen=True)
class Answer:
    """What a command has to say: to scripts, and to people."""

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    refused: bool = False


def answering(run: Callable[..., Answer]) -> click.Command:
    """Make `run` a command that answers in text or JSON and refuses without a traceback."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @wraps(run)
    def answer_as_asked(as_json: bool, **arguments: Any) -> None:  # noqa: FBT001 (click passes it)
        try:
            answer = run(**arguments)
        except TwinbandError as error:
            answer = _refusal(str(error))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            reason = error.strerror or str(error)
            answer = _refusal(f"{place}{reason}; give room, access or a connection, then rerun")
        if as_json:
            click.echo(json.dumps(answer.document, allow_nan=False))
        else:
            for line in answer.lines:
                click.echo(line, err=answer.refused)
        if answer.refused:
            raise click.exceptions.Exit(1)

    name = run.__name__.removesuffix("_command").replace("_", "-")
    return click.command(name)(answer_as_asked)


def _refusal(reason: str) -> Answer:
    return Answer({"error": reason.splitlines()}, reason.splitlines(), refused=True)
