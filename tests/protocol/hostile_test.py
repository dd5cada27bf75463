# SPDX-License-Identifier: Apache-2.0
"""Nobody fails, and nobody loses a session, by what somebody else sends or has put into the store: records that cannot
be read, names that were only seen, hellos full of names."""

import os
import re
import socket
import ssl
import struct
import subprocess
import time
from pathlib import Path

import pytest
from crafted import hello, session_id_of
from policy_test import agent, keep_back
from sites import KINDS, Site, start, visit
from tls_server import VERSIONS, Bench, Server, Store, connect, eventually, store_tool

BOTH = pytest.mark.parametrize("version", VERSIONS)
ALL = pytest.mark.parametrize("kind", KINDS)
HERE = Path(__file__).parent
REQUEST = b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"


@ALL
@BOTH
@pytest.mark.parametrize("how", ["garbage", "truncate", "version", "cipher"])
def test_a_record_that_cannot_be_read(bench: Bench, session: Path, version: str, kind: str, how: str) -> None:
    """The client makes a full handshake, and the record is gone: it would not get better."""
    store, site = bench.store("s"), Site()
    start(bench, kind, store, [site])
    assert visit(site, version, session, save=True).answer
    names = [entry["name"] for entry in store.sessions()]
    for name in names:
        store_tool("damage", store.path, name, how)
    again = visit(site, version, session)
    assert again.answer and not again.reused, again.output
    offered = session_id_of(session).hex()
    assert offered in names and offered not in [entry["name"] for entry in store.sessions()]
    assert visit(site, version, session).answer
    fresh = session.with_name("fresh")
    visit(site, version, fresh, save=True)
    assert visit(site, version, fresh).reused


@BOTH
def test_a_record_of_another_openssl(bench: Bench, session: Path, version: str) -> None:
    """One that OpenSSL 3.5 wrote, of another name (recorded: `SessionsOfOtherVersionsOfOpenssl` reads them): a full handshake."""
    store, site = bench.store("s"), Site()
    start(bench, "nginx", store, [site])
    recorded = [line.split() for line in (HERE / "sessions-openssl.txt").read_text().splitlines()]
    for _, _, _, der in (one for one in recorded if one[:2] == ["3.5", version.split()[0]]):
        visit(site, version, session, offer=False, save=True)
        for entry in store.sessions():
            store_tool("damage", store.path, entry["name"], der)
        again = visit(site, version, session)
        assert again.answer and not again.reused, again.output


def end_with(server_port: int, flight: bytes, last: bytes) -> bytes:
    """Sends a hello, and when the answer has begun something else; the answer's first bytes."""
    with socket.create_connection(("127.0.0.1", server_port), 5) as connection:
        connection.sendall(flight)
        begun = connection.recv(4096)
        connection.sendall(last)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
        return begun


@ALL
@pytest.mark.parametrize("last", [bytes.fromhex("15030300020228"), bytes.fromhex("15030300020100"), b"\x16\x03\x03\x40\x00" + b"x" * 64,
                                  bytes.fromhex("140303000101") + b"\x16\x03\x03\x00\x28" + b"y" * 40, b"GET / HTTP/1.0\r\n\r\n", b""],
                         ids=["alert", "close_notify", "half a record", "wrong Finished", "no TLS", "close"])
def test_who_saw_a_session_id_cannot_destroy_the_session(bench: Bench, session: Path, kind: str, last: bytes) -> None:
    """RFC 5246: only the Finished proves that a client has the key."""
    store, site = bench.store("s"), Site()
    start(bench, kind, store, [site])
    assert visit(site, "1.2", session, save=True).answer
    assert visit(site, "1.2", session).reused
    name = session_id_of(session)
    answer = b""
    try:
        answer = end_with(site.port, hello(session_id=name), last)
    except ConnectionResetError:
        pass
    assert not answer or name in answer, "the server was about to resume it"
    assert visit(site, "1.2", session).reused


def test_an_alert_of_the_client_itself_ends_its_session(bench: Bench, session: Path) -> None:
    """After the Finished OpenSSL's word counts, and nginx' own: see hooks_test."""
    store, site = bench.store("s"), Site()
    start(bench, "nginx", store, [site])
    visit(site, "1.2", session, save=True)
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-tls1_2", "-ign_eof", "-servername", "a.test",
             "-sess_in", session]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdin
        eventually(lambda: int(store.stats()["resumed"]) == 1, "it resumed")
        client.kill()
    assert visit(site, "1.2", session).reused, "an unclean close is none"


@ALL
@pytest.mark.parametrize("early", [False, True], ids=["plain", "early data"])
def test_a_wrong_binder_does_not_use_a_ticket_up(bench: Bench, session: Path, kind: str, early: bool) -> None:
    """Anybody who saw a ticket can send it; only its owner can bind it to a hello (RFC 8446 section 4.2.11.2)."""
    store, site = bench.store("s"), Site()
    if early:
        store.control("blade=1", "early_data")
    start(bench, kind, store, [site], {"nginx": "ssl_early_data on;", "haproxy": "allow-0rtt"}.get(kind, "") if early else "")
    assert visit(site, "1.3", session, save=True).answer
    name = session_id_of(session)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", site.port), 5) as connection:
            connection.sendall(hello(identities=[name], early_data=early))
            assert connection.recv(1) == b"\x15", "an alert: the binder is wrong"
        eventually(lambda: name.hex() in [entry["name"] for entry in store.sessions()], "it is there again")
    assert visit(site, "1.3", session).reused
    assert not visit(site, "1.3", session).reused, "once"


@pytest.mark.parametrize("groups", [("-groups", "P-256:X25519"), ()], ids=["HelloRetryRequest", "at once"])
def test_a_client_that_goes_away_early(bench: Bench, session: Path, groups: tuple[str, ...]) -> None:
    """It may cost it a resumption, but never a connection."""
    store, site = bench.store("s"), Site()
    start(bench, "nginx", store, [site], "ssl_ecdh_curve X25519;")
    assert visit(site, "1.3", session, *groups, save=True).answer
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-tls1_3", "-servername", "a.test", "-sess_in", session,
             *groups, "-msg"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdout
        next(line for line in client.stdout if line.startswith("<<<"))
        client.kill()
    assert visit(site, "1.3", session, *groups).answer
    fresh = session.with_name("fresh")
    visit(site, "1.3", fresh, *groups, save=True)
    assert visit(site, "1.3", fresh, *groups).reused


def resume_without_finished(site: Site, tcp: socket.socket) -> bytes:
    """With a session of a connection before, which the server has taken: the Finished that it waits for, and a request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with (socket.create_connection(("127.0.0.1", site.port)) as first,
          context.wrap_socket(first, server_hostname=site.name) as before):
        before.sendall(REQUEST)
        while before.recv(65536):
            pass
        session = before.session
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=site.name, session=session)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            tcp.sendall(outgoing.read())
            incoming.write(tcp.recv(65536))
        else:
            break
    assert tls.session_reused
    tls.write(REQUEST)
    return outgoing.read()


@ALL
def test_a_purge_reaches_what_comes_out_of_a_handshake(bench: Bench, kind: str) -> None:
    """However long its client takes: the tickets that it gets with its Finished are no newer than its session."""
    store, site = bench.store("s"), Site()
    start(bench, kind, store, [site])
    with socket.create_connection(("127.0.0.1", site.port), 10) as tcp:
        finished = resume_without_finished(site, tcp)
        store_tool("purge", store.path)
        tcp.sendall(finished)
        eventually(lambda: not tcp.recv(65536), "answered")
    time.sleep(0.3)
    assert store.sessions() == []
    after = bench.directory / "after"
    assert visit(site, "1.3", after, save=True).answer
    assert visit(site, "1.3", after).reused, "what is made after it"


def test_a_purge_reaches_what_is_put_back_after_a_handshake(bench: Bench, session: Path) -> None:
    """It was taken out for a hello, and not used, since the client does not come back after the HelloRetryRequest."""
    store, site = bench.store("s"), Site()
    start(bench, "nginx", store, [site], "ssl_ecdh_curve X25519;")
    assert visit(site, "1.3", session, save=True).answer
    flight = keep_back(["openssl", "s_client", "-connect", "127.0.0.1:@PORT@", "-tls1_3", "-servername", "a.test",
                        "-sess_in", session, "-groups", "P-256:X25519"])
    for purged in (False, True):
        there = len(store.sessions())
        with socket.create_connection(("127.0.0.1", site.port), 10) as tcp:
            tcp.sendall(flight)
            assert tcp.recv(65536)
            assert len(store.sessions()) == there - 1, "it is taken out"
            if purged:
                store_tool("purge", store.path)
        time.sleep(0.3)
        assert len(store.sessions()) == (0 if purged else there)


def first_answer_s(port: int, flight: bytes) -> float:
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        began = time.monotonic()
        connection.sendall(flight)
        assert connection.recv(5)
        return time.monotonic() - began


def test_names_that_are_not_there(bench: Bench, session: Path) -> None:
    """The agent is asked once for each connection, whatever its hello names, and not again soon for the same name."""
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=20000")
    here, there = bench.nginx(far), bench.nginx(near)
    for _ in range(10):
        connect(here, "1.3", session, offer=False)
    names = [bytes.fromhex(entry["name"]) for entry in far.sessions()]
    assert len(names) == 20
    with agent(near, lambda _: struct.pack("I", 1)) as asked:
        first_answer_s(there.port, hello(identities=names))
        assert asked == names[:1]
        began = time.monotonic()
        for _ in range(50):
            first_answer_s(there.port, hello(identities=names[:1]))
        assert len(asked) <= 3 + 2 * (time.monotonic() - began), "each of two workers remembers for a second"


def forged_from(name: bytes) -> list[bytes]:
    """Each bit of it changed but those of its generation, and fifty other ends of its block."""
    number = int.from_bytes(name, "big")
    return ([(number ^ 1 << bit).to_bytes(32, "big") for bit in range(248)]
            + [name[:17] + os.urandom(15) for _ in range(50)])


@BOTH
def test_forged_names_are_not_asked_for(bench: Bench, session: Path, version: str) -> None:
    """Who has seen a name cannot make others of it: names are whole. So they do not use up the connection's one question
    either: behind them the real one is still asked for."""
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=900000")
    here, there = bench.nginx(far), bench.nginx(near)
    connect(here, version, session)
    name = session_id_of(session)
    forged = forged_from(name)
    with agent(near, lambda _: struct.pack("I", 1)) as asked:
        if version != "1.3":
            for one in forged:
                first_answer_s(there.port, hello(session_id=one))
        else:
            first_answer_s(there.port, hello(identities=forged))
        assert asked == []
        if version != "1.3":
            first_answer_s(there.port, hello(session_id=name))
        else:
            first_answer_s(there.port, hello(identities=[*forged, name]))
        assert asked == [name]


def cpu_s(server: Server) -> float:
    return sum(int(Path(f"/proc/{worker}/schedstat").read_text().split()[0]) for worker in server.workers()) / 1e9


def test_what_a_forged_name_costs(bench: Bench, session: Path) -> None:
    """CPU of a server's workers for hellos that are full of forged names, less that for the same hellos without: each
    name costs less than a twentieth of the full handshake's first flight, which anybody may ask for anyway."""
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=20000")
    here, there = bench.nginx(far), bench.nginx(near)
    connect(here, "1.3", session)
    forged = forged_from(session_id_of(session))[:200]
    least = {}
    for names in (0, len(forged)) * 3:
        before = cpu_s(there)
        for _ in range(100):
            first_answer_s(there.port, hello(identities=forged[:names]))
        least[names] = min(least.get(names, 9.0), (cpu_s(there) - before) / 100)
    each = (least[200] - least[0]) / 200
    print(f"a hello without names {least[0] * 1e6:.0f} us, each forged name {each * 1e6:.2f} us")
    assert each < least[0] / 20


def test_a_store_without_a_key_is_asked_for_nothing(bench: Bench, session: Path) -> None:
    """Random names are nobody's."""
    store: Store = bench.store("s", blade=None)
    site = Site()
    start(bench, "nginx", store, [site])
    visit(site, "1.3", session, save=True)
    assert re.fullmatch(r"[0-9a-f]{64}", store.sessions()[0]["name"])
    assert visit(site, "1.3", session).reused
