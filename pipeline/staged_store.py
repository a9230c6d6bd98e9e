"""A zarr store to be filled in a staging folder, which it never makes again once it is gone."""

import asyncio
import errno
import os
from pathlib import Path

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore


class StagedStore(LocalStore):
    """A store in a folder that is there.

    zarr's own makes its folder and all those above it before each write. A build that was taken
    over would so get its staging folder back (pipeline/lease.py), and go on.
    """

    async def _open(self, *, mode: object = None) -> None:  # noqa: ARG002 (zarr's signature)
        if not self.root.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.root))
        await Store._open(self)  # noqa: SLF001 (LocalStore's own makes the folder)

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file; nobody reads it before the whole store is sealed."""
        await asyncio.to_thread(_write_below, self.root, key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one file where there is none, as zarr does with the groups above an array."""
        if not (self.root / key).exists():
            await self.set(key, value)


def _write_below(root: Path, key: str, value: Buffer) -> None:
    path = root / key
    try:
        file = path.open("wb")
    except FileNotFoundError:
        for folder in reversed(Path(key).parents[:-1]):
            (root / folder).mkdir(exist_ok=True)
        file = path.open("wb")
    with file:
        file.write(value.as_buffer_like())
