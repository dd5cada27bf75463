# SPDX-License-Identifier: Apache-2.0
"""libkeyrail-tls.so in real, unmodified nginx, HAProxy and Apache: who resumes which session where."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tls_server import HOOKS, VERSIONS, Bench, Store, connect, eventually, version_flags

BOTH = pytest.mark.parametrize("version", VERSIONS)


@BOTH
def test_two_servers_share_a_store(bench: Bench, session: Path, version: str) -> None:
    store = bench.store("s", blade=5)
    one, two = bench.nginx(store), bench.nginx(store)
    assert not connect(one, version, session).reused
    for server in (two, one, one, two, two, one):
        assert connect(server, version, session).reused
    stats = store.stats()
    assert (stats["full"], stats["resumed"]) == (1, 6)
    assert {entry["home"] for entry in store.sessions()} == {"5"}, "names say which blade has the session"
    assert {entry["port"] for entry in store.sessions()} <= {str(one.port), str(two.port)}
    assert {entry["uses"] for entry in store.sessions()} >= {"6"}, "the count goes on over renewed tickets"


def test_tls13_session_is_used_once(bench: Bench, session: Path) -> None:
    store = bench.store("s")
    one, two = bench.nginx(store), bench.nginx(store)
    connect(one, "1.3", session)
    assert connect(two, "1.3", session, save=False).reused
    assert not connect(two, "1.3", session, save=False).reused
    assert not connect(one, "1.3", session, save=False).reused


def test_tls12_session_is_reusable(bench: Bench, session: Path) -> None:
    store = bench.store("s")
    server = bench.nginx(store)
    connect(server, "1.2", session)
    assert all(connect(server, "1.2", session, save=False).reused for _ in range(5))
    assert [entry["single_use"] for entry in store.sessions()] == ["false"]


@BOTH
@pytest.mark.parametrize("setting", ["", "ssl_session_cache off;", "ssl_session_cache builtin;",
                                     "ssl_session_cache shared:s:1m; ssl_session_tickets off;"])
def test_moved_session_resumes_there_and_not_here(bench: Bench, session: Path, version: str, setting: str) -> None:
    from_store, to_store = bench.store("from", blade=1), bench.store("to", blade=2)
    here, there = bench.nginx(from_store, setting), bench.nginx(to_store, setting)
    connect(here, version, session)
    assert not connect(there, version, session, save=False).reused
    from_store.move_all_to(to_store)
    assert not connect(here, version, session, save=False).reused, "a copy stayed behind"
    assert connect(there, version, session).reused
    assert connect(there, version, session).reused


@BOTH
@pytest.mark.parametrize("early", ["off", "on"])
def test_hello_retry_request(bench: Bench, session: Path, version: str, early: str) -> None:
    store = bench.store("s")
    store.control("blade=1", "early_data")
    server = bench.nginx(store, f"ssl_ecdh_curve X25519; ssl_early_data {early};")
    groups = ("-groups", "P-256:X25519")
    assert not connect(server, version, session, *groups).reused
    for _ in range(3):
        assert connect(server, version, session, *groups).reused


@BOTH
@pytest.mark.parametrize("kind, number", [("nginx", signal.SIGHUP), ("haproxy", signal.SIGUSR2), ("apache", signal.SIGHUP),
                                          ("apache", signal.SIGUSR1)])
def test_reload(bench: Bench, session: Path, version: str, kind: str, number: signal.Signals) -> None:
    """Workers come and go; they have dropped their privileges, HAProxy's are in a chroot."""
    server = getattr(bench, kind)(bench.store("s"))
    connect(server, version, session)
    server.reload(number)
    for _ in range(2):
        assert connect(server, version, session).reused


@BOTH
@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_restart(bench: Bench, session: Path, version: str, kind: str) -> None:
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    connect(server, version, session)
    server.stop()
    assert connect(getattr(bench, kind)(store), version, session).reused


@BOTH
def test_sites_stay_apart(bench: Bench, session: Path, version: str) -> None:
    """The application's session id context is kept: a session of one site is none for another (RFC 6066, 11.1)."""
    store = bench.store("s")
    one, other = bench.nginx(store), bench.nginx(store, name="b.test")
    connect(one, version, session)
    assert not connect(other, version, session, save=False).reused


@BOTH
def test_client_certificate_comes_along(bench: Bench, session: Path, version: str) -> None:
    verify = "ssl_verify_client on; ssl_client_certificate @DIR@/a.test.pem;"
    from_store, to_store = bench.store("from"), bench.store("to")
    here, there = bench.nginx(from_store, verify), bench.nginx(to_store, verify)
    client = ("-cert", f"{bench.directory}/a.test.pem", "-key", f"{bench.directory}/a.test.pem")
    assert "verify=SUCCESS dn=CN=a.test" in connect(here, version, session, *client).output
    from_store.move_all_to(to_store)
    answer = connect(there, version, session)
    assert answer.reused
    assert "verify=SUCCESS dn=CN=a.test" in answer.output


def test_cipher_that_is_forbidden_here(bench: Bench, session: Path) -> None:
    store = bench.store("s")
    lax, strict = bench.nginx(store), bench.nginx(store, "ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;")
    connect(lax, "1.2", session, "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
    both = ("-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
    assert not connect(strict, "1.2", session, *both, save=False).reused
    assert connect(lax, "1.2", session, *both, save=False).reused


@BOTH
def test_lifetime_is_capped(bench: Bench, session: Path, version: str) -> None:
    store = bench.store("s", lifetime_s=100)
    server = bench.nginx(store, "ssl_session_timeout 1d;")
    connect(server, version, session)
    assert {entry["lifetime_ms"] for entry in store.sessions()} == {"100000"}
    assert connect(server, version, session).reused
    assert all(int(entry["lifetime_ms"]) <= 100000 for entry in store.sessions())


@BOTH
def test_haproxy(bench: Bench, session: Path, version: str) -> None:
    one_store, two_store = bench.store("one"), bench.store("two")
    one, two = bench.haproxy(one_store), bench.haproxy(two_store)
    connect(one, version, session)
    assert connect(one, version, session).reused
    one_store.move_all_to(two_store)
    assert not connect(one, version, session, save=False).reused
    assert connect(two, version, session).reused
    assert one_store.stats()["resumed"] == 1


@BOTH
def test_apache(bench: Bench, session: Path, version: str) -> None:
    one_store, two_store = bench.store("one"), bench.store("two")
    one, two = bench.apache(one_store), bench.apache(two_store)
    connect(one, version, session)
    assert connect(one, version, session).reused
    one_store.move_all_to(two_store)
    assert not connect(one, version, session, save=False).reused
    assert connect(two, version, session).reused


@BOTH
@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_broken_connection_keeps_its_session(bench: Bench, session: Path, kind: str, version: str) -> None:
    """RFC 5246 section 7.2.1: an unclean close does not make a session invalid (the client's network broke)."""
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "a.test",
                               *version_flags(version), "-sess_out", str(session)],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with client:
        eventually(lambda: len(store.sessions()) == (2 if version == "1.3" else 1) and session.exists()
                   and session.read_text().endswith("END SSL SESSION PARAMETERS-----\n"), "the client has its session")
        client.kill()
    eventually(lambda: not subprocess.run(["ss", "-Htn", "state", "established", f"sport = :{server.port}"], text=True,
                                          capture_output=True, check=True).stdout, "the server has noticed")
    assert connect(server, version, session).reused


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
def test_under_load(bench: Bench, session: Path, kind: str) -> None:
    """Threads and processes at once, full handshakes and resumptions, both versions; nginx' workers are killed."""
    store = bench.store("s")
    server = getattr(bench, kind)(store)
    start = time.monotonic()  # at least 4 s, and on a busy machine until enough has been done
    enough = threading.Event()

    def client(version: str, how: str) -> None:
        while not enough.is_set() and time.monotonic() < start + 60:  # one that meets a worker's end gives up: the next one goes on
            subprocess.run(["openssl", "s_time", "-connect", f"127.0.0.1:{server.port}", "-time", "1", version, how],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    threads = [threading.Thread(target=client, args=(version, how))
               for version in ("-tls1_2", "-tls1_3") for how in ("-new", "-reuse")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if kind == "nginx":
            for worker in server.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        threads[0].join(0.1)
        stats = store.stats()
        if stats["full"] > 100 and stats["resumed"] > 100 and time.monotonic() > start + 4:
            enough.set()
    assert server.process.poll() is None, "the server died"
    stats = store.stats()
    assert stats["full"] > 100 and stats["resumed"] > 100, stats
    eventually(lambda: kind != "nginx" or len(server.workers()) == 2, "all workers")
    for version in ("1.2", "1.3"):
        connect(server, version, session, offer=False)
        assert connect(server, version, session).reused


@BOTH
def test_without_a_store_the_server_is_untouched(bench: Bench, session: Path, version: str) -> None:
    server = bench.nginx(bench.directory / "none", "ssl_session_cache shared:s:1m;")
    connect(server, version, session)
    assert connect(server, version, session).reused
    complaints = [line for line in server.log.read_text().splitlines() if "keyrail-tls" in line]
    assert len(complaints) == 1 and "start keyrail-agent" in complaints[0]


@BOTH
def test_store_that_comes_later_is_found_at_reload(bench: Bench, session: Path, version: str) -> None:
    server = bench.nginx(bench.directory / "s")
    connect(server, version, session)
    store = bench.store("s")
    server.reload()
    connect(server, version, session, offer=False)
    assert store.sessions()
    assert connect(server, version, session).reused


@BOTH
def test_without_a_name_key_names_are_random(bench: Bench, session: Path, version: str) -> None:
    store = bench.store("s", blade=None)
    server = bench.nginx(store)
    connect(server, version, session)
    assert connect(server, version, session).reused
    assert {entry["home"] for entry in store.sessions()} == {"0"}
    assert "keyrail-tls" not in server.log.read_text()


def test_failed_client_certificate_is_forgotten(bench: Bench, session: Path) -> None:
    """nginx removes the session of a client whose certificate it does not accept."""
    store = bench.store("s")
    server = bench.nginx(store, "ssl_verify_client on; ssl_client_certificate @DIR@/a.test.pem;")
    stranger = ("-cert", f"{bench.directory}/b.test.pem", "-key", f"{bench.directory}/b.test.pem")
    assert "400 The SSL certificate error" in connect(server, "1.2", session, *stranger).output
    assert not store.sessions()


def test_client_contexts_are_untouched(bench: Bench, session: Path, tmp_path: Path) -> None:
    """A preloaded client still asks for tickets, and its own sessions do not end in the store."""
    store: Store = bench.store("s")
    server = bench.nginx(None, hooks=False)
    environment = {"LD_PRELOAD": HOOKS, "KEYRAIL_STORE": str(store.path), "PATH": "/usr/bin:/bin"}
    words = [shutil.which("openssl") or "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2", "-ign_eof"]
    request = "GET / HTTP/1.0\r\n\r\n"
    first = subprocess.run([*words, "-sess_out", str(session)], input=request, capture_output=True, text=True,
                           env=environment, timeout=20, check=False)
    assert "TLS session ticket:" in first.stdout
    second = subprocess.run([*words, "-sess_in", str(session)], input=request, capture_output=True, text=True,
                            env=environment, timeout=20, check=False)
    assert "Reused, TLSv1.2" in second.stdout
    assert not store.sessions()


@BOTH
def test_python_loads_openssl_privately(bench: Bench, session: Path, version: str) -> None:
    """Python opens its ssl module with RTLD_LOCAL: libssl is in nobody's search scope."""
    store = bench.store("s")
    script = bench.directory / "server.py"
    script.write_text(
        "import socket, ssl, sys\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain('{bench.directory}/a.test.pem')\n"
        "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True:\n"
        "    with context.wrap_socket(listener.accept()[0], server_side=True) as tls:\n"
        "        tls.recv(1000); tls.sendall(b'ok'); tls.unwrap()\n")
    server = bench.start("python", "", lambda file: ["/usr/bin/python3", str(script), file.parent.name.split("-")[1]],
                          store)
    assert not connect(server, version, session).reused
    assert connect(server, version, session).reused
    assert store.sessions()
