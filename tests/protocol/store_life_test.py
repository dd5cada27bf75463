# SPDX-License-Identifier: Apache-2.0
"""Servers, and a store that comes late, is replaced, or is held by a process that does not give it back."""
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tls_server import Bench, connect, eventually

BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])
KINDS = pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
GROUP = {"nginx": "nogroup", "haproxy": "www-data", "apache": "www-data"}  # of their workers here


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def session(bench: Bench) -> Path:
    return bench.directory / "session"


@BOTH
@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_a_server_that_was_first_finds_the_store(bench: Bench, session: Path, kind: str, version: str) -> None:
    """Without a reload. (HAProxy in its chroot finds it by a reload.)"""
    server = getattr(bench, kind)(bench.directory / "s")
    connect(server, version, session)
    assert connect(server, version, session, save=False).reused, "as it would without us"
    store = bench.store("s", group=GROUP[kind])

    def kept() -> bool:
        connect(server, version, session, offer=False)
        return bool(store.sessions())

    eventually(kept, "sessions go into the store")
    # Each of a server's processes looks for itself, five times a second at most.
    eventually(lambda: connect(server, version, session).reused, "and come from there")


def test_many_handshakes_without_a_store_are_not_slower(bench: Bench, session: Path) -> None:
    """The store is looked for by a handshake now and then, and no more often."""
    server = bench.nginx(bench.directory / "s")
    connect(server, "1.2", session)
    pid = server.workers()[0]
    with subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=openat", "-p", str(pid)], stderr=subprocess.PIPE,
                          text=True) as trace:
        begin = time.monotonic()
        for _ in range(30):
            connect(server, "1.2", session, offer=False, save=False)
        seconds = time.monotonic() - begin
        trace.terminate()
        assert trace.stderr
        looks = sum(str(bench.directory / "s") in line for line in trace.stderr)
    assert looks <= seconds / 0.2 + 1


@BOTH
@KINDS
def test_servers_go_on_with_a_store_of_another_size(bench: Bench, session: Path, kind: str, version: str) -> None:
    """They have its sessions, its keys and its end, without a reload: also in a chroot, and as another user."""
    store = bench.store("s", group=GROUP[kind])
    server = getattr(bench, kind)(store)
    connect(server, version, session)
    before = {entry["name"] for entry in store.sessions()}
    store.create(8)
    assert {entry["name"] for entry in store.sessions()} == before, "carried over"
    assert connect(server, version, session).reused
    store.control("blade=7")
    connect(server, version, session, offer=False)
    eventually(lambda: any(entry["home"] == "7" for entry in store.sessions()), "new names, made as the agent says now")
    assert connect(server, version, session).reused
    assert store.stats()["resumed"] == 2, "the new one counts"


@BOTH
@KINDS
def test_locks_that_are_held_cost_resumption_and_no_connection(bench: Bench, session: Path, kind: str,
                                                               version: str) -> None:
    store = bench.store("s", group=GROUP[kind])
    server = getattr(bench, kind)(store)
    connect(server, version, session)
    with subprocess.Popen([os.environ["KR_STORE_TOOL"], "hold", store.path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin and holder.stdout
        assert "locks" in holder.stdout.readline()
        begin = time.monotonic()
        assert not connect(server, version, session, save=False).reused
        for _ in range(4):
            connect(server, version, session, offer=False, save=False)
        assert time.monotonic() - begin < 5
        holder.stdin.close()
        holder.wait(10)
    assert connect(server, version, session).reused, "as soon as they are free"
