"""Reads a catalog and holds its parts against each other and against the files there are."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from schemas.base import is_object_address
from schemas.catalog import Catalog, CatalogFile, Session
from schemas.errors import CatalogError
from schemas.yaml_files import load_yaml


def load_catalog(path: Path) -> Catalog:
    """Read and check a catalog and the session files it names.

    Whether recordings that lie on an object store are there is asked by those that read them
    (pipeline/object_raw.py).

    Raises:
        CatalogError: lists every problem of all the files, one a line.
    """
    written = load_yaml(path, CatalogFile)
    named = written.dataset.data_root
    data_address = named.rstrip("/") if is_object_address(named) else None
    data_root = Path(named) if data_address else (path.parent / named).resolve()
    problems: list[str] = []
    if data_address is None and not data_root.is_dir():
        problems.append(f"{path}: dataset.data_root: {data_root} is not a folder; correct the path")
    sessions: list[Session] = []
    places: list[str] = []
    for index, entry in enumerate(written.sessions):
        where = f"{path}: sessions[{index}]"
        if isinstance(entry, Session):
            sessions.append(entry)
            places.append(where + ".")
        else:
            try:
                sessions.append(load_yaml(path.parent / entry, Session))
                places.append(f"{path.parent / entry}: ")
            except CatalogError as error:
                problems.extend(str(error).splitlines())
    catalog = Catalog(
        dataset=written.dataset,
        data_root=data_root,
        data_address=data_address,
        rigs=written.rigs,
        sessions=tuple(sessions),
        recipe=written.recipe,
        splits=written.splits,
    )
    problems.extend(catalog_problems(catalog, path, dict(enumerate(places))))
    if problems:
        raise CatalogError("\n".join(problems))
    return catalog


def catalog_problems(catalog: Catalog, path: Path, places: Mapping[int, str]) -> list[str]:
    """Faults between a catalog's parts, and of sessions by number with how each place is told."""
    told = (_session_problems(catalog.sessions[n], where, catalog) for n, where in places.items())
    return [*_repeated_ids(catalog, str(path)), *chain.from_iterable(told)]


def _repeated_ids(catalog: Catalog, file: str) -> Iterator[str]:
    named = {
        "rig": [rig.id for rig in catalog.rigs],
        "session": [session.id for session in catalog.sessions],
        "recording": [recording.id for _, recording in catalog.recordings()],
    }
    for noun, ids in named.items():
        for repeated, count in Counter(ids).items():
            if count > 1:
                yield (
                    f"{file}: {noun}s: the id {repeated} stands {count} times; "
                    f"give each {noun} an id of its own"
                )


def _session_problems(session: Session, where: str, catalog: Catalog) -> Iterator[str]:
    rigs = [rig.id for rig in catalog.rigs]
    if session.rig not in rigs:
        yield f"{where}rig: {session.rig} is no rig of this catalog; use one of {', '.join(rigs)}"
    if catalog.data_address is not None or not catalog.data_root.is_dir():
        return
    for index, recording in enumerate(session.recordings):
        for field, path in recording.files():
            at = f"{where}recordings[{index}].{field}"
            target = (catalog.data_root / path).resolve()
            if not target.is_relative_to(catalog.data_root):
                yield (
                    f"{at}: {path} leads to {target}, outside the data root {catalog.data_root}; "
                    "move the file or change dataset.data_root"
                )
            elif not target.is_file() and not target.is_dir():
                yield f"{at}: {target} does not exist; correct the path or bring the file back"
