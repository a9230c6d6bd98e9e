"""Proving releases and clip stores: every byte, or names, sizes and manifests alone."""

from pathlib import Path

from pipeline.clip_seals import verify_clip
from pipeline.hub import listed_files, read_release
from pipeline.publish import check_version
from pipeline.workspace import Workspace
from schemas.errors import ReleaseError
from schemas.release import MANIFEST_NAME, Release
from schemas.store import Fault


def _run_check_folder(folder: Path) -> tuple[list[Fault], Release | None]:
    """What is wrong with the files of a release itself, and the release if it can be read."""
    version = folder.name
    try:
        release = read_release(folder)
    except ReleaseError as error:
        return [Fault(clip=version, array=None, file=MANIFEST_NAME, what=str(error))], None
    listed = {file.path: file for file in release.files}
    present = {file.path: file for file in listed_files(folder) if file.path != MANIFEST_NAME}
    faults = []
    for name in sorted(listed.keys() | present.keys()):
        if present.get(name) != listed.get(name):
            what = "changed since the release was made"
            what = "missing" if name not in present else what
            what = "not listed in the manifest" if name not in listed else what
            faults.append(Fault(clip=version, array=None, file=name, what=what))
    if release.version != version:
        what = f"it is the manifest of {release.version}"
        faults.append(Fault(clip=version, array=None, file=MANIFEST_NAME, what=what))
    return faults, release


def _run_check_store(
    store: str, root_hashes: set[str], workspace: Workspace, *, quick: bool
) -> list[Fault]:
    """What is wrong with a clip store, and with it for the releases that list it so."""
    ordered = sorted(root_hashes)
    expected = ordered[0] if ordered else None
    path, sizes = workspace.root / store, workspace.found_files(store)
    if quick:
        faults = verify_clip(path, quick=True, expected_root_hash=expected, sizes=sizes)
    else:
        with workspace.at_hand(store) as path:
            faults = verify_clip(path, expected_root_hash=expected)
    for other in ordered[1:]:
        faults += verify_clip(path, quick=True, expected_root_hash=other, sizes=sizes)
    return [fault.model_copy(update={"what": workspace.told(fault.what)}) for fault in faults]


def verify_release(
    version: str | None, workspace: Workspace, *, quick: bool = False
) -> list[Fault]:
    """Everything wrong with a release and its clips, or with all that the workspace holds.

    Faults in a release's own files bear its version in place of a clip's name.

    Args:
        version: a release, or None for every release and every clip.
        workspace: where they lie.
        quick: of the clips, compare the names and sizes of all files and the hashes inside the
            manifests, but read no pixel; otherwise every byte is read.

    Raises:
        ReleaseError: there is no such release, or nothing to verify at all.
    """
    folders = sorted(workspace.root.glob("releases/*"))
    stores = workspace.root.glob("clips/*/*") if version is None else ()
    expected = {store.relative_to(workspace.root).as_posix(): set[str]() for store in stores}
    if version is not None:
        check_version(version)
        known = ", ".join(folder.name for folder in folders) or "none"
        folders = [folder for folder in folders if folder.name == version]
        if not folders:
            raise ReleaseError(
                f"{workspace.root} holds no release {version}; there is {known}; check --work"
            )
    if not folders and not expected:
        raise ReleaseError(f"{workspace.root} holds no release and no clip; check --work")
    faults: list[Fault] = []
    for folder in folders:
        found, release = _run_check_folder(folder)
        faults += found
        for clip in release.clips if release is not None else ():
            expected.setdefault(clip.store, set()).add(clip.root_hash)
    for store in sorted(expected):
        faults += _run_check_store(store, expected[store], workspace, quick=quick)
    return faults
