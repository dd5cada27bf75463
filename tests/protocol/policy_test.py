# SPDX-License-Identifier: Apache-2.0
"""libkeyrail-tls.so does what the service of a connection wants of its sessions: single use or not, early data,
lifetime, id context; it measures handshakes, asks the agent on a miss, and renews tickets of live connections."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tls_server import NAME_KEY, VERSIONS, Answer, Bench, Server, Store, connect, eventually, store_tool

sys.path.append(str(Path(__file__).parents[1]))
from support.core_image import found_in  # noqa: E402
from support.first_flight import answered, keep_back, recorder, replay  # noqa: E402

BOTH = pytest.mark.parametrize("version", VERSIONS)
NGINX_EARLY = "ssl_early_data on;"


def early_server(bench: Bench, kind: str, store: Store) -> Server:
    return bench.nginx(store, NGINX_EARLY) if kind == "nginx" else bench.haproxy(store, "allow-0rtt")


def early_connect(server: Server, session: Path, save: bool = True, port: int = 0) -> Answer:
    """Sends a request as early data (RFC 8446 section 2.3), and another one later, so that tickets have come."""
    request = session.with_name("request")
    request.write_text("GET /early HTTP/1.1\r\nHost: a.test\r\n\r\n")
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port or server.port}", "-tls1_3", "-ign_eof", "-servername",
             "a.test", "-sess_in", session, "-early_data", request, *(["-sess_out", session] if save else [])]
    done = subprocess.run(words, capture_output=True, text=True, input="GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", timeout=20,
                          check=False)
    return Answer(done.stdout + done.stderr)


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_early_data_moves_and_is_accepted_once(bench: Bench, session: Path, kind: str) -> None:
    here_store, there_store = bench.store("here", 1), bench.store("there", 2)
    for store in (here_store, there_store):
        store.control("blade=1", "early_data")
    here, there = early_server(bench, kind, here_store), early_server(bench, kind, there_store)
    connect(here, "1.3", session)
    assert early_connect(here, session).early, "on the blade that made it"
    here_store.move_all_to(there_store)
    with recorder("127.0.0.1", there.port) as relay:
        answer = early_connect(there, session, port=relay.port)
    assert answer.reused and answer.early, answer.output
    for server in (there, here, there):
        assert not replay(relay.flight, "127.0.0.1", server.port), "a byte-identical replay"
    assert early_connect(there, session).early, "the renewed ticket allows early data, too"


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_early_data_only_where_the_service_allows_it(bench: Bench, session: Path, kind: str) -> None:
    """The server would take it; its service does not."""
    store = bench.store("s")
    server = early_server(bench, kind, store)
    connect(server, "1.3", session)
    assert "Max Early Data: 0" in subprocess.run(["openssl", "sess_id", "-in", session, "-noout", "-text"], check=True,
                                                 capture_output=True, text=True).stdout
    assert connect(server, "1.3", session).reused, "OpenSSL's own replay protection must not stand in the way"
    store.control("blade=1", "early_data")
    connect(server, "1.3", session, offer=False)
    store.control("blade=1")  # a ticket of a time when it did
    answer = early_connect(server, session)
    assert answer.reused and not answer.early, answer.output


def test_early_data_of_a_session_from_the_repository(bench: Bench, session: Path) -> None:
    store, restored = bench.store("s"), bench.store("r")
    for each in (store, restored):
        each.control("blade=1", "early_data")
    one, two = bench.nginx(store, NGINX_EARLY), bench.nginx(restored, NGINX_EARLY)
    connect(one, "1.3", session)
    store.move_all_to(restored, "spent")
    answer = early_connect(two, session)
    assert answer.reused and not answer.early, answer.output
    assert early_connect(two, session).early, "what it was renewed to is as good as any"


def test_reusable_tickets(bench: Bench, session: Path) -> None:
    store = bench.store("s")
    store.control("blade=1", "reusable", "early_data")
    server = bench.nginx(store, NGINX_EARLY)
    connect(server, "1.3", session)
    assert all(connect(server, "1.3", session, save=False).reused for _ in range(3))
    assert {entry["single_use"] for entry in store.sessions()} == {"false"}
    assert not early_connect(server, session, save=False).early, "it could be replayed"


def kept_flight(session: Path) -> bytes:
    """A first flight with a request as early data, whose answer is long; no server has seen it."""
    request = session.with_name("request")
    request.write_text("GET /early HTTP/1.1\r\nHost: a.test\r\n\r\n")
    return keep_back(["openssl", "s_client", "-connect", "127.0.0.1:@PORT@", "-tls1_3", "-ign_eof", "-servername",
                      "a.test", "-sess_in", session, "-early_data", request])


def test_a_first_flight_is_answered_once(bench: Bench, session: Path) -> None:
    """Its very bytes, at two workers of two servers, at another blade, out of the repository: nginx answers early data
    at once, and does so once."""
    stores = [bench.store(name, 1) for name in ("here", "there", "restored")]
    for store in stores:
        store.control("blade=1", "early_data_once")
    here, other, there, restored = (early_server(bench, "nginx", stores[which]) for which in (0, 0, 1, 2))
    connect(here, "1.3", session)
    flights = [kept_flight(session) for _ in range(2)]
    assert connect(here, "1.3", session, save=False).reused, "a use without early data spends none"
    with ThreadPoolExecutor(12) as pool:
        took = list(pool.map(lambda n: answered(flights[n % 2], "127.0.0.1", (here, other)[n // 2 % 2].port), range(12)))
    assert sum(took) == 1, took
    for server in (here, other):
        assert all(connect(server, "1.3", session, save=False).reused for _ in range(4)), "it still resumes"
    stores[0].move_all_to(stores[1])
    assert connect(there, "1.3", session, save=False).reused, "where it is now"
    for server in (there, here):
        assert not any(answered(flight, "127.0.0.1", server.port) for flight in flights)
    stores[1].move_all_to(stores[2], "spent")
    assert not any(answered(flight, "127.0.0.1", restored.port) for flight in flights)
    for server in (here, there):
        assert not connect(server, "1.3", session, save=False).reused, "and there only"


def test_a_first_flight_is_answered_where_the_session_went(bench: Bench, session: Path) -> None:
    """What was not spent before the move is not lost by it."""
    here_store, there_store = bench.store("here", 1), bench.store("there", 2)
    for store in (here_store, there_store):
        store.control("blade=1", "early_data_once")
    here, there = early_server(bench, "nginx", here_store), early_server(bench, "nginx", there_store)
    connect(here, "1.3", session)
    flight = kept_flight(session)
    here_store.move_all_to(there_store)
    assert not answered(flight, "127.0.0.1", here.port)
    assert answered(flight, "127.0.0.1", there.port)
    assert not answered(flight, "127.0.0.1", there.port)


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_one_ticket_many_connections_and_its_early_data_once(bench: Bench, session: Path, kind: str) -> None:
    store = bench.store("s", 1)
    store.control("blade=1", "early_data_once")
    servers = [early_server(bench, kind, store) for _ in range(2)]
    connect(servers[0], "1.3", session)
    assert all(connect(servers[n % 2], "1.3", session, save=False).reused for n in range(4))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: early_connect(servers[n % 2], session, save=False), range(12)))
    assert all(answer.reused for answer in answers), "as with one server"
    assert sum(answer.early for answer in answers) == 1
    assert early_connect(servers[1], session).reused
    assert early_connect(servers[0], session).early, "a new ticket has early data of its own"


def test_sessions_that_stay_have_their_own_key_exchange(bench: Bench, session: Path) -> None:
    """Also with a server that was told to do without."""
    store = bench.store("s")
    store.control("blade=1", "early_data_once")
    server = bench.nginx(store, "ssl_conf_command Options AllowNoDHEKEX;")
    connect(server, "1.3", session)
    answer = connect(server, "1.3", session, "-allow_no_dhe_kex", "-trace", save=False)
    assert answer.reused
    server_hello = answer.output.split("ServerHello, Length", 1)[1].split("Received Record", 1)[0]
    assert "extension_type=key_share" in server_hello, server_hello


@BOTH
def test_each_use_moves_the_digest_on(bench: Bench, session: Path, version: str) -> None:
    store = bench.store("s")
    store.control("blade=1", "reusable")
    server = bench.nginx(store)
    connect(server, version, session)
    seen = {entry["name"]: entry["digest"] for entry in store.sessions()}
    assert len(set(seen.values())) == 1, "the tickets of one handshake have one history"
    digests = set(seen.values())
    for uses in range(1, 5):
        assert connect(server, version, session, save=False).reused
        used = [entry for entry in store.sessions() if entry["name"] in seen and entry["uses"] == str(uses)]
        assert len(used) == 1, (uses, store.sessions())
        assert used[0]["digest"] not in digests
        digests.add(used[0]["digest"])


@BOTH
def test_lifetime_that_became_shorter(bench: Bench, session: Path, version: str) -> None:
    store = bench.store("s")
    server = bench.nginx(store)
    connect(server, version, session)
    store.control("blade=1", "lifetime_s=0")
    assert not connect(server, version, session, save=False).reused


@BOTH
def test_sites_of_a_group_share_sessions(bench: Bench, session: Path, version: str) -> None:
    store = bench.store("s")
    one, other, stranger = bench.nginx(store), bench.nginx(store, name="b.test"), bench.nginx(store, name="b.test")
    store.control("blade=1", "group=7", f"port={one.port}", f"port={other.port}", "group=8", f"port={stranger.port}")
    connect(one, version, session)
    for server in (other, one):
        assert connect(server, version, session).reused
    assert not connect(stranger, version, session, save=False).reused, "another group"


@BOTH
@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_handshakes_are_measured(bench: Bench, session: Path, kind: str, version: str) -> None:
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    store.control("blade=1", f"port={server.port}")
    connect(server, version, session)
    for _ in range(3):
        assert connect(server, version, session).reused
    costs = {cost["resumed"]: {key: int(cost[key], 16 if key == "service" else 10)
                               for key in ("service", "count", "cpu_ns", "wall_ns")} for cost in store.costs()}
    assert {cost["tls13"] for cost in store.costs()} == {str(version == "1.3").lower()}
    assert (costs["false"]["count"], costs["true"]["count"]) == (1, 3)
    assert all(cost["service"] != 0 for cost in costs.values())
    assert all(0 < cost["cpu_ns"] < cost["wall_ns"] for cost in costs.values()), costs


@BOTH
@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_checks_of_keyraild_are_not_counted(bench: Bench, session: Path, kind: str, version: str) -> None:
    """They resume as clients do, and leave one session, for ten seconds."""
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    store.control("blade=1", "early_data_once", "checker", f"port={server.port}")
    connect(server, version, session)
    for _ in range(3):
        assert connect(server, version, session, save=False).reused
    stats = store.stats()
    assert (stats["full"], stats["resumed"]) == (0, 0)
    assert not any(int(cost["count"]) for cost in store.costs()), store.costs()
    assert len(store.sessions()) == 1, store.sessions()
    store.control("blade=1", "early_data_once", f"port={server.port}")
    connect(server, version, session)
    assert sum(store.stats()[kind] for kind in ("full", "resumed")) == 1, "a client is"


@contextlib.contextmanager
def agent(store: Store, answer: Callable[[bytes], bytes | None], user: int = 0) -> Iterator[list[bytes]]:
    """Listens for the servers of a store; `answer` gets the session's name."""
    asked: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"\0keyrail-pull-{store.pull_socket()}")
    os.seteuid(user)  # listen(2) notes who will be the peer
    listener.listen(64)
    os.seteuid(0)
    kept = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            kept.append(connection)
            request = connection.recv(100)
            if not request:
                continue
            version, _tls, _slot, name = struct.unpack("IHH32s", request)
            assert version == 1
            asked.append(name)
            reply = answer(name)
            with contextlib.suppress(BrokenPipeError):  # a server that does not wait any longer
                if reply is not None:
                    connection.send(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in [listener, *kept]:
            each.close()


@BOTH
def test_pull_on_a_miss(bench: Bench, session: Path, version: str) -> None:
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=900000")
    here, there = bench.nginx(far), bench.nginx(near)

    def fetch(name: bytes) -> bytes:
        store_tool("move", far.path, near.path, name.hex())
        return struct.pack("I", 0)

    connect(here, version, session)
    with agent(near, fetch) as asked:
        assert connect(there, version, session).reused
        assert len(asked) == 1
        assert connect(there, version, session).reused
        assert len(asked) == 1, "what is here is not asked for"
    assert not connect(here, version, session, save=False).reused


@pytest.mark.parametrize("reply", [struct.pack("I", 1), struct.pack("I", 0), b"", b"\0" * 100, None])
def test_pull_that_brings_nothing(bench: Bench, session: Path, reply: bytes | None) -> None:
    """Not there, a lie, nonsense, silence: a full handshake."""
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=20000")
    connect(bench.nginx(far), "1.3", session)
    server = bench.nginx(near)
    with agent(near, lambda _: reply) as asked:
        assert not connect(server, "1.3", session, save=False).reused
        eventually(lambda: len(asked) == 1, "it was asked for")
    assert not connect(server, "1.3", session, save=False).reused, "and without an agent"


def test_pull_asks_only_the_agent_and_only_for_our_names(bench: Bench, session: Path) -> None:
    far, near = bench.store("far", 1), bench.store("near", 2)
    near.control("blade=2", "pull_budget_us=20000")
    connect(bench.nginx(far), "1.3", session)
    server = bench.nginx(near)
    with agent(near, lambda _: struct.pack("I", 0), user=65534) as asked:
        assert not connect(server, "1.3", session, save=False).reused
    assert not asked, "somebody else had the socket's name"
    stranger = bench.nginx(None, "ssl_session_cache builtin; ssl_session_tickets off;", hooks=False)
    foreign = session.with_name("foreign")
    connect(stranger, "1.2", foreign)
    with agent(near, lambda _: struct.pack("I", 0)) as asked:
        assert not connect(server, "1.2", foreign, save=False).reused
    assert not asked, "a random id is nobody's"


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_live_connections_get_a_fresh_ticket(bench: Bench, session: Path, kind: str) -> None:
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "a.test", "-tls1_3", "-sess_out",
             session]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          bufsize=1) as client:
        assert client.stdin and client.stdout

        def request() -> None:
            client.stdin.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            client.stdin.flush()
            for line in client.stdout:
                if "HTTP/1.1 " in line:  # HAProxy's body has no end of line
                    return
            raise AssertionError("the connection was closed")

        request()
        eventually(lambda: len(store.sessions()) == 2, "the first two tickets")
        store.control("blade=1", "renew_tickets")
        request()
        eventually(lambda: len(store.sessions()) == 3, "a fresh one")
        request()
        assert len(store.sessions()) == 3, "one is enough"
        eventually(lambda: session.exists() and session.read_text().endswith("PARAMETERS-----\n"), "the client has it")
        client.stdin.close()
        client.terminate()
    assert connect(server, "1.3", session).reused


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_a_core_dump_of_a_server_has_no_sessions(bench: Bench, session: Path, kind: str) -> None:
    """While a connection lives OpenSSL has its keys; afterwards they are in the store only, which no dump shows."""
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    connect(server, "1.2", session)
    assert connect(server, "1.2", session).reused
    text = subprocess.run(["openssl", "sess_id", "-in", session, "-noout", "-text"], check=True, capture_output=True,
                          text=True).stdout
    master_secret = bytes.fromhex(re.search(r"Master-Key: ([0-9A-F]+)", text)[1])
    for secret in (master_secret, bytes.fromhex(NAME_KEY)):
        processes = [server.process.pid, *server.workers()]
        assert any(found_in(pid, secret)[1] for pid in processes), "the search finds nothing: it should be in the store"
        for pid in processes:
            eventually(lambda pid=pid, secret=secret: not found_in(pid, secret)[0], f"wiped: {found_in(pid, secret)}", 3)
    # Of the name key its tag key is made, each time anew.
    tag_key = subprocess.run(["openssl", "enc", "-aes-128-ecb", "-nopad", "-K", NAME_KEY], input=b"Keyrail name tag",
                             check=True, capture_output=True).stdout
    for pid in processes:
        eventually(lambda pid=pid: not any(found_in(pid, tag_key)), f"wiped: {found_in(pid, tag_key)}", 3)
