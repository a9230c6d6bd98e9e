"""A person's decisions about a recording, written into the catalog; comments and layout stay."""

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import JsonValue

from pipeline.catalog_text import (
    Place,
    as_written,
    flow,
    plain,
    says,
    with_member,
    without_member,
)
from pipeline.durable import write_whole
from schemas.catalog import CatalogFile, Recording, Session
from schemas.errors import CatalogError
from schemas.yaml_files import load_yaml, parse, read_plain

Changes = Mapping[str, JsonValue]
"""Fields of a recording as JSON values; None takes a field away."""


@dataclass(frozen=True)
class Written:
    """Where a recording stands: which file, and where in it."""

    path: Path
    place: Place
    schema: type[CatalogFile] | type[Session]


def with_changes(text: str, written: Written, changes: Changes) -> str:
    """The text of a file with fields of one recording set or taken away.

    Args:
        text: of a valid catalog or session file.
        written: where the recording stands in it.
        changes: what is to be otherwise.

    Raises:
        CatalogError: the recording would not be valid, or is written in a way (such as an alias)
            that leaves no place for the change alone.
    """
    name = str(written.path)
    changes = {key: as_written(value) for key, value in changes.items()}
    before = parse(plain(text), written.schema, name)
    expected = _expected(before, written, changes)
    after: str | None = text
    for key, value in changes.items():
        if after is not None:
            after = (
                without_member(after, written.place, key)
                if value is None
                else with_member(after, written.place, key, flow(value))
            )
    if after is None or not says(after, written.schema, expected):
        shown = ", ".join(f"{key}: {flow(value)}" for key, value in changes.items())
        raise CatalogError(
            f"{name}: {_told(written.place)} is written in a way that leaves no place for a "
            f"change of its own; write it there yourself: {shown}"
        )
    return after


def _expected(
    before: CatalogFile | Session, written: Written, changes: Changes
) -> CatalogFile | Session:
    """The whole file as it is to be."""
    document = before.model_dump(mode="json", by_alias=True, exclude_unset=True)
    here: Any = document
    for key in written.place:
        here = here[key]
    for key, value in changes.items():
        if value is None:
            here.pop(key, None)
        else:
            here[key] = value
    return parse(document, written.schema, str(written.path))


def _told(place: Place) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return "".join(parts).removeprefix(".")


def run_find(catalog: Path, recording: str) -> tuple[Written, Recording]:
    """Where a recording stands, and what is written there now.

    Raises:
        CatalogError: a file cannot be read, or none holds the recording.
    """
    for written, found in _run_walk(catalog):
        if found.id == recording:
            return written, found
    raise CatalogError(f"{catalog} has no recording {recording}; it may have been renamed")


def _run_walk(catalog: Path) -> Iterator[tuple[Written, Recording]]:
    for number, entry in enumerate(load_yaml(catalog, CatalogFile).sessions):
        above: Place = ("sessions", number, "recordings")
        session, path = entry, catalog
        if not isinstance(session, Session):
            above, path = ("recordings",), catalog.parent / session
            session = load_yaml(path, Session)
        for index, recording in enumerate(session.recordings):
            schema = CatalogFile if path == catalog else Session
            yield Written(path, (*above, index), schema), recording


def run_change(catalog: Path, recording: str, changes: Changes) -> Recording:
    """Write changes of a recording into the file that it stands in, whole or not at all.

    Returns:
        The recording as it is written now.

    Raises:
        CatalogError: see `with_changes`; nothing is written.
        OSError: the file cannot be written; it is as it was.
    """
    written, _ = run_find(catalog, recording)
    read_plain(written.path)  # with its bounds, before the text is worked on
    text = written.path.read_bytes().decode()
    content = with_changes(text, written, changes).encode()
    partial = written.path.with_name(f".{written.path.name}.{uuid4().hex}.partial")
    partial.touch(mode=0o600)
    partial.chmod(stat.S_IMODE(written.path.stat().st_mode))
    write_whole(written.path, content, partial)
    return run_find(catalog, recording)[1]
