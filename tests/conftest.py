"""Every test runs with the network unplugged, seeded, and on one thread, so that it gives the same everywhere."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# Before anything imports torch, tokenizers or huggingface_hub; child processes inherit these.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    PYTHONUTF8="1",
)
for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
    os.environ.pop(name, None)


class NetworkBlocked(RuntimeError):
    """A test tried to leave this machine."""


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = address[0]
    if host in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections may go to this machine only."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded(function: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise NetworkBlocked(f"a test tried to connect to {address!r}")
            return function(self, address)

        return call

    def guarded_look_up(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if not _is_local((host.decode() if isinstance(host, bytes) else host,)):
            raise NetworkBlocked(f"a test tried to look up {host!r}")
        return look_up(host, *arguments, **keywords)

    monkeypatch.setattr(socket.socket, "connect", guarded(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same random numbers in every run and every order; torch only if somebody has imported it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):
        torch.manual_seed(0)
        torch.set_num_threads(1)
    yield
