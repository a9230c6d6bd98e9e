"""Several hosts on one machine: network namespaces, joined by a bridge, whose links can be cut."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Host:
    """A network namespace with one link to the bridge."""

    name: str
    address: str
    link: str
    """The bridge's end of it."""

    def prefix(self) -> tuple[str, ...]:
        """Before a command that is to run there."""
        return ("ip", "netns", "exec", self.name)

    def connect(self, *, is_up: bool) -> None:
        """Plug the link in, or pull it out."""
        _ip("link", "set", self.link, "up" if is_up else "down")


@contextmanager
def hosts(count: int) -> Iterator[tuple[str, Sequence[Host]]]:
    """So many hosts, and the address of this one on their network; gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces are root's")
    number = os.getpid() % 60000
    network = f"10.{64 + number // 250 % 128}.{number % 250}"
    bridge = f"tb{number}"
    made = [Host(f"tb{number}-{n}", f"{network}.{n + 2}", f"tb{number}v{n}") for n in range(count)]
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{network}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for host in made:
            _ip("netns", "add", host.name)
            peer = ("peer", "name", "eth0", "netns", host.name)
            _ip("link", "add", host.link, "type", "veth", *peer)
            _ip("link", "set", host.link, "master", bridge, "up")
            for inside in (
                ("address", "add", f"{host.address}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", host.name, *inside)
        yield f"{network}.1", made
    finally:
        for host in made:
            subprocess.run(["ip", "netns", "delete", host.name], check=False)
        subprocess.run(["ip", "link", "delete", bridge], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
