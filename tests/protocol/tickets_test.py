# SPDX-License-Identifier: Apache-2.0
"""TLS 1.2 tickets (RFC 5077): they begin with the session's name, lead to the session where it is, and are worth nothing
without it. (That they resume, move and are refused as ids are: all tests of the others run with both. Go's and Java's clients:
pools_test.py.)"""

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from crafted import hello, session_id_of, ticket_in, ticket_of
from policy_test import agent
from sites import KINDS, Site, start, visit
from tls_server import NAME_KEY, Bench, connect, store_tool

ALL = pytest.mark.parametrize("kind", KINDS)


def answer_to(port: int, flight: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(flight)
        return connection.recv(4096)


def resumes(port: int, ticket: bytes) -> bool:
    """RFC 5077 section 3.4: who resumes by a ticket repeats the session id that the client made up."""
    made_up = os.urandom(32)
    answer = answer_to(port, hello(session_id=made_up, ticket=ticket))
    assert answer[:1] == b"\x16", "no alert"
    return made_up in answer


@ALL
def test_a_ticket_begins_with_the_name(bench: Bench, session: Path, kind: str) -> None:
    store, site = bench.store("s", blade=5), Site()
    start(bench, kind, store, [site])
    assert visit(site, "1.2", session, save=True).answer
    ticket = ticket_of(session)
    assert len(ticket) > 32
    assert [(entry["name"], entry["home"]) for entry in store.sessions()] == [(ticket[:32].hex(), "5")]
    for uses in (1, 2, 3):
        assert visit(site, "1.2", session).reused
        assert [entry["uses"] for entry in store.sessions()] == [str(uses)]
    assert resumes(site.port, ticket)


@ALL
def test_id_and_ticket_name_one_session(bench: Bench, session: Path, kind: str) -> None:
    """A client that has the id gets a ticket when it comes by and knows tickets."""
    store, site = bench.store("s"), Site()
    start(bench, kind, store, [site])
    assert visit(site, "1.2 by id", session, save=True).answer
    assert not ticket_of(session)
    name = session_id_of(session)
    with_ticket = visit(site, "1.2", session)
    assert with_ticket.reused
    ticket = ticket_in(with_ticket.output)  # s_client does not keep what a resumption brings
    assert ticket[:32] == name
    assert resumes(site.port, ticket)
    assert name in answer_to(site.port, hello(session_id=name)), "by its id"
    assert [entry["name"] for entry in store.sessions()] == [name.hex()]


@ALL
def test_no_byte_of_a_ticket_can_be_changed(bench: Bench, session: Path, kind: str) -> None:
    store, site = bench.store("s"), Site()
    start(bench, kind, store, [site])
    assert visit(site, "1.2", session, save=True).answer
    ticket = ticket_of(session)
    for at in range(len(ticket)):
        changed = bytearray(ticket)
        changed[at] ^= 1 << at % 8
        assert not resumes(site.port, bytes(changed)), at
    for size in range(0, len(ticket), 7):
        assert not resumes(site.port, ticket[:size]), size
    assert not resumes(site.port, ticket + b"\0")
    assert not resumes(site.port, ticket[:32] + os.urandom(60_000))
    assert visit(site, "1.2", session).reused


def test_the_body_of_another_session_does_not_go_with_a_name(bench: Bench, session: Path) -> None:
    store = bench.store("s")
    server = bench.nginx(store)
    tickets = []
    for _ in range(2):
        connect(server, "1.2", session, offer=False)
        tickets.append(ticket_of(session))
    assert not resumes(server.port, tickets[0][:32] + tickets[1][32:])
    assert all(resumes(server.port, ticket) for ticket in tickets)


def test_a_ticket_without_its_session_opens_nothing(bench: Bench, session: Path) -> None:
    """Moved away or purged, it is gone here, whatever key is left."""
    store, other = bench.store("s"), bench.store("other", 2)
    server, there = bench.nginx(store), bench.nginx(other)
    connect(server, "1.2", session)
    ticket = ticket_of(session)
    assert not resumes(there.port, ticket)
    store.move_all_to(other)
    assert not resumes(server.port, ticket)
    assert resumes(there.port, ticket)
    assert connect(there, "1.2", session, save=False).reused


def test_a_ticket_lives_as_long_as_its_name_key(bench: Bench, session: Path) -> None:
    store = bench.store("s")
    server = bench.nginx(store)
    connect(server, "1.2", session)
    words = ("blade=1", "lifetime_s=7200")
    store_tool("control", store.path, "key=0a" + "17" * 16, f"key=09{NAME_KEY}", *words)
    assert connect(server, "1.2", session, save=False).reused, "of the generation before"
    store_tool("control", store.path, "key=0a" + "17" * 16, *words)
    assert not connect(server, "1.2", session, save=False).reused
    connect(server, "1.2", session, offer=False)
    assert ticket_of(session)[0] == 0x0A
    assert connect(server, "1.2", session).reused


@ALL
@pytest.mark.parametrize("last", [bytes.fromhex("15030300020228"), bytes.fromhex("140303000101") + b"\x16\x03\x03\x00\x28" + b"y" * 40, b""],
                         ids=["alert", "wrong Finished", "close"])
def test_who_saw_a_ticket_cannot_destroy_sessions(bench: Bench, session: Path, kind: str, last: bytes) -> None:
    """Neither the ticket's, nor one whose name he gives as his session id."""
    store, site, victim = bench.store("s"), Site(), session.with_name("victim")
    start(bench, kind, store, [site])
    for file in (session, victim):
        assert visit(site, "1.2", file, save=True).answer
    with socket.create_connection(("127.0.0.1", site.port), 10) as connection:
        connection.sendall(hello(session_id=session_id_of(victim), ticket=ticket_of(session)))
        assert session_id_of(victim) in connection.recv(4096)
        connection.sendall(last)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    for file in (session, victim):
        assert visit(site, "1.2", file).reused


def test_forged_tickets_are_not_asked_for(bench: Bench, session: Path) -> None:
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=900000")
    here, there = bench.nginx(far), bench.nginx(near)
    connect(here, "1.2", session)
    ticket = ticket_of(session)
    with agent(near, lambda _: struct.pack("I", 1)) as asked:
        for at in range(1, 32):
            assert not resumes(there.port, ticket[:at] + bytes([ticket[at] ^ 1]) + ticket[at + 1:])
        assert asked == []
        assert not resumes(there.port, ticket)
        assert asked == [ticket[:32]]


def test_a_server_without_tickets_gives_ids(bench: Bench, session: Path) -> None:
    server = bench.nginx(bench.store("s"), "ssl_session_tickets off;")
    connect(server, "1.2", session)
    assert not ticket_of(session)
    assert connect(server, "1.2", session).reused


@pytest.mark.parametrize("most", ["1.2", "1.3"])
def test_a_client_of_both_versions(bench: Bench, session: Path, most: str) -> None:
    """The hello of one that knows TLS 1.3, too: what its ticket is, the server's version decides."""
    server = bench.haproxy(bench.store("s"), f"ssl-max-ver TLSv{most}")
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-ign_eof", "-servername", "a.test", "-sess_out", session]
    for more in ([], ["-sess_in", session]):
        done = subprocess.run([*words, *more], input="GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", capture_output=True, text=True,
                              timeout=20, check=True)
    assert f"\nReused, TLSv{most}" in done.stdout
    assert (len(ticket_of(session)) == 32) == (most == "1.3"), "stateful, both"
