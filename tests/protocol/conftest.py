# SPDX-License-Identifier: Apache-2.0
"""Servers and a session for one test, in a network namespace of this process."""

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from accept_lab import Lab
from tls_server import Bench

CLONE_NEWNET = 0x40000000


@pytest.fixture(scope="session")
def own_network() -> None:
    """Ports of other programs do not matter, and it goes when we go."""
    assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0, "needs root"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.fixture
def bench(own_network: None) -> Iterator[Bench]:
    made = Bench()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return tmp_path / "session"


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """The lab, as it was at first."""
    assert shared.dispatcher
    shared.dispatcher.cookies.__init__()
    shared.dispatcher.answers = True
    shared.dispatcher.seen = shared.dispatcher.returned = lambda segment: True
    shared.dispatcher.by_ring = False
    shared.attach()
    for name in ("timestamps", "sack", "window_scaling"):
        shared.on("client", "sysctl", "-qw", f"net.ipv4.tcp_{name}=1")
    if not shared.server:
        shared.start_server()
    return shared
