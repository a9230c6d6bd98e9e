"""Recordings on an object store: asked for by listings, fetched while they are worked on.

A file is known to be the one that was hashed by its size and e-tag: what was fetched once for an
outcome that still stands is not fetched again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.ingest import hash_files
from pipeline.object_folder import ObjectFolder
from pipeline.object_scratch import scratch
from pipeline.workspace import Workspace, load, save
from schemas.catalog import Catalog, RecordingPlan
from schemas.errors import CatalogError
from schemas.facts import RawFacts, RawFile


def raw_listing(catalog: Catalog, path: Path) -> dict[str, RawFile] | None:
    """What lies at the address of a catalog's recordings; None where they lie on this machine.

    Args:
        catalog: of which every file is looked for.
        path: of the catalog, for the message.

    Raises:
        CatalogError: files are missing, every one a line.
        WorkspaceError: the store does not answer.
    """
    if catalog.data_address is None:
        return None
    listed = ObjectFolder(catalog.data_address).files()
    raw = {
        name: RawFile(size_bytes=found.size_bytes, e_tag=found.e_tag)
        for name, found in listed.items()
    }
    folders = {str(above) for name in raw for above in Path(name).parents}
    missing = [
        f"{path}: sessions.{session.id}.{recording.id}.{place}: {catalog.data_address}/{file} "
        "does not exist; correct the path or bring the file back"
        for session, recording in catalog.recordings()
        for place, file in recording.files()
        if file.rstrip("/") not in raw and file.rstrip("/") not in folders
    ]
    if missing:
        raise CatalogError("\n".join(missing))
    return raw


def known_hashes(
    plan: RecordingPlan, workspace: Workspace, raw: Mapping[str, RawFile]
) -> dict[str, str] | None:
    """The hashes of a recording's files if none of them changed since; else None."""
    known = load(workspace.facts(plan.recording.id, "raw"), RawFacts)
    if known is None or known.address != plan.data_address or known.files != _own(plan, raw):
        return None
    return dict(known.hashes)


@contextmanager
def raw_at_hand(plan: RecordingPlan, workspace: Workspace) -> Iterator[RecordingPlan]:
    """The plan with its files on this machine, fetched for as long as the block lasts.

    Raises:
        WorkspaceError: the store does not answer, or a file changed while it was fetched.
    """
    if plan.data_address is None:
        yield plan
        return
    folder = ObjectFolder(plan.data_address)
    with scratch() as root:
        files: dict[str, RawFile] = {}
        for path in sorted({*dict(plan.recording.files()).values(), *_weights(plan)}):
            for name, found in folder.files_at(path).items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                folder.download(name, root / name, e_tag=found.e_tag)
                files[name] = RawFile(size_bytes=found.size_bytes, e_tag=found.e_tag)
        here = plan.model_copy(update={"data_root": root})
        facts = RawFacts(
            address=plan.data_address, files=_own(plan, files), hashes=hash_files(here)
        )
        save(facts, workspace.facts(plan.recording.id, "raw"), workspace)
        yield here


def _own(plan: RecordingPlan, raw: Mapping[str, RawFile]) -> dict[str, RawFile]:
    """Those files that the recording names, or that lie in folders it names."""
    named = {path.rstrip("/") for _, path in plan.recording.files()}
    return {
        name: found
        for name, found in raw.items()
        if name in named or any(str(above) in named for above in Path(name).parents)
    }


def _weights(plan: RecordingPlan) -> list[str]:
    """The file of a matcher's weights, if the recipe names one."""
    matcher = plan.recipe.register_.matcher
    return [] if matcher.kind == "edges" else [matcher.weights]
