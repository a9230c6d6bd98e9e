"""Reading YAML safely, and saying every problem of a file as `file: place: what; what to do`."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from schemas.errors import CatalogError

MAX_BYTES = 16 * 2**20
"""A hundred thousand recordings of some 150 bytes each fit; beyond it nobody edits by hand."""

MAX_DEPTH = 32
"""The deepest catalog has eight levels; the bound keeps a hostile file off the parser's stack."""

MAX_NODES = 2_000_000
"""Values after every alias is written out; it defuses nested aliases that multiply."""

M = TypeVar("M", bound=BaseModel)

_REMEDIES = {
    "extra_forbidden": "remove it or correct its spelling",
    "missing": "add it",
    "string_pattern_mismatch": "use lower-case letters, digits and single hyphens",
}


def load_yaml(path: Path, schema: type[M]) -> M:
    """Read a YAML file into `schema`.

    Raises:
        CatalogError: the file cannot be read, is too large or too deep, or does not fit the
            schema; lists every problem, one a line.
    """
    return parse(read_plain(path), schema, str(path))


def parse(plain: object, schema: type[M], file: str) -> M:
    """Validate values read from `file` into `schema`.

    Raises:
        CatalogError: lists every problem, one a line.
    """
    try:
        return schema.model_validate(plain)
    except ValidationError as error:
        raise CatalogError(
            "\n".join(
                f"{file}: {_place(e['loc'], plain)}: {_complaint(e)}"
                for e in _telling(error.errors())
            )
        ) from error


def _telling(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without the echo of a list called too short because its items were refused."""
    places = [e["loc"] for e in errors]
    return [
        e
        for e in errors
        if e["type"] != "too_short" or not any(p[: len(e["loc"])] == e["loc"] != p for p in places)
    ]


def _place(location: Sequence[int | str], plain: object) -> str:
    """A place inside a file as people write it: `sessions[2].recordings[0].visible`.

    Pydantic's locations also name the chosen member of a union; those names are no keys of the
    file and are left out.
    """
    text = ""
    here = plain
    for depth, key in enumerate(location):
        if isinstance(key, int):
            text += f"[{key}]"
            here = here[key] if isinstance(here, list) and key < len(here) else None
        elif isinstance(here, dict) and (key in here or depth == len(location) - 1):
            text += f".{key}"
            here = here.get(key)
    return text.removeprefix(".") or "the whole file"


def read_plain(path: Path) -> object:
    """The plain values (mappings, sequences, strings, numbers) of a YAML file.

    Raises:
        CatalogError: the file is missing, not text, not YAML, or beyond the bounds of this module.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    if len(raw) > MAX_BYTES:
        raise CatalogError(
            f"{path}: larger than {MAX_BYTES} bytes; move sessions into files of their own"
        )
    try:
        return plain_of(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error


def plain_of(text: str, file: str) -> object:
    """The plain values of YAML text.

    Args:
        text: of some trustworthy length.
        file: its name, for messages.

    Raises:
        CatalogError: it is not YAML, or beyond the bounds of this module.
    """
    try:
        _check_bounds(YAML(typ="safe").parse(io.StringIO(text)), file)
        plain: object = YAML(typ="safe").load(io.StringIO(text))
    except (YAMLError, ValueError) as error:
        raise CatalogError(f"{file}: {_yaml_complaint(error)}") from error
    return plain


def _check_bounds(events: Iterable[object], path: str) -> None:
    """Refuse depth and alias growth before any value is built."""
    sizes: dict[str, int] = {}
    open_collections: list[tuple[str | None, int]] = []
    size = 0
    for event in events:
        if isinstance(event, CollectionStartEvent):
            open_collections.append((event.anchor, size))
            size = 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_collections.pop()
            sizes |= {anchor: size} if anchor is not None else {}
            size += before
        elif isinstance(event, ScalarEvent | AliasEvent):
            size += _leaf_size(event, sizes, path)
        if len(open_collections) > MAX_DEPTH:
            raise CatalogError(f"{path}: nested deeper than {MAX_DEPTH} levels; flatten it")
        if size > MAX_NODES:
            raise CatalogError(
                f"{path}: more than {MAX_NODES} values once aliases are written out; use fewer"
            )


def _leaf_size(event: ScalarEvent | AliasEvent, sizes: dict[str, int], path: str) -> int:
    """Values this event stands for; an alias counts as much as the collection it names."""
    if isinstance(event, ScalarEvent):
        sizes |= {event.anchor: 1} if event.anchor is not None else {}
        return 1
    if event.anchor not in sizes:
        raise CatalogError(f"{path}: *{event.anchor} names itself or nothing; write the value out")
    return sizes[event.anchor]


def _complaint(error: ErrorDetails) -> str:
    what = error["msg"].removeprefix("Value error, ")
    remedy = _REMEDIES.get(error["type"])
    given = error["input"]
    if isinstance(given, str | int | float) and error["type"] not in ("missing", "value_error"):
        shown = f"{given!r}" if len(repr(given)) <= 60 else f"{repr(given)[:57]}..."
        what = f"{what}, not {shown}"
    return f"{what}; {remedy}" if remedy else what


def _yaml_complaint(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{where}{problem}; correct the YAML there"
