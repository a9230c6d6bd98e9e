"""Files and folders that are whole or absent, and on the disk for good once they have their name.

After each step that a power cut could separate from the next, a Python audit event is raised:
`twinband.made`, `twinband.written`, `twinband.synced`, `twinband.renamed`, each with the path it
happened to. They cost nothing where no hook listens; the fault suite kills the process at each.
"""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes, unfinished: Path) -> None:
    """Give `path` all of `content`; until then, and if that fails, it holds what it held before.

    Args:
        path: its folder is made where there is none.
        content: of the file.
        unfinished: where the file lies until it is whole, on the same file system; its folder
            must be there.

    Raises:
        OSError: the disk is full or failing.
    """
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            sys.audit("twinband.written", str(unfinished))
            os.fsync(file.fileno())
        sys.audit("twinband.synced", str(unfinished))
        make_folder(path.parent)
        rename(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(staged: Path, final: Path) -> Iterator[Path]:
    """A folder to fill that appears under its final name whole, or not at all.

    Args:
        staged: the folder to fill; must not be there, the folder it lies in must.
        final: its name once the `with` block ends well.

    Raises:
        OSError: the disk is full or failing, or the folder was taken away while it was filled.
    """
    staged.mkdir()
    descriptor = os.open(staged, os.O_RDONLY)  # while it is open, no other folder is taken for it
    try:
        yield staged
        sync_tree(staged)
        make_folder(final.parent)
        if not os.path.samestat(os.fstat(descriptor), staged.stat()):
            raise FileNotFoundError(errno.ENOENT, "was taken away while it was filled", str(staged))
        rename(staged, final)
    finally:
        os.close(descriptor)
        shutil.rmtree(staged, ignore_errors=True)


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder for good, in the place of a file or of an empty folder."""
    source.replace(target)
    sys.audit("twinband.renamed", str(target))
    sync(target.parent)
    if source.parent != target.parent:
        sync(source.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for good; one that is there is left as it is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sys.audit("twinband.made", str(folder))
        sync(folder.parent)


def sync_tree(folder: Path) -> None:
    """Bring every file and name below `folder` to the disk."""
    for inner, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(inner, name))
        sync(Path(inner))


def sync(path: Path) -> None:
    """Bring the content of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sys.audit("twinband.synced", str(path))
