# SPDX-License-Identifier: Apache-2.0
"""The accept program in a real kernel, with unmodified clients and servers in network namespaces."""

import hashlib
import socket
import struct
import threading
import time

import pytest
from accept_lab import ACCEPT_TOOL, EITHER, KEY0, KEY1, PORT, VIP4, Lab, run
from cookie_dispatcher import Segment, inside
from tls_server import eventually


@EITHER
def test_page(lab: Lab, vip: str) -> None:
    before = lab.counters()["assigned"]
    assert lab.curl(vip).stdout == "hello"
    assert lab.counters()["assigned"] == before + 1


@EITHER
def test_large_files_are_whole(lab: Lab, vip: str) -> None:
    there = (lab.directory / "www/big").read_bytes()
    lab.curl(vip, "/big", "-o", lab.directory / "got")
    assert hashlib.sha256((lab.directory / "got").read_bytes()).digest() == hashlib.sha256(there).digest()
    lab.curl(vip, "/up", "-T", lab.directory / "www/big")
    (kept,) = (lab.directory / "client_body").iterdir()
    assert hashlib.sha256(kept.read_bytes()).digest() == hashlib.sha256(there).digest()
    kept.unlink()


@EITHER
@pytest.mark.parametrize("missing", ["timestamps", "sack", "window_scaling"])
def test_clients_without_an_option(lab: Lab, vip: str, missing: str) -> None:
    lab.on("client", "sysctl", "-qw", f"net.ipv4.tcp_{missing}=0")
    assert lab.curl(vip).stdout == "hello"


@EITHER
def test_wrong_key(lab: Lab, vip: str) -> None:
    lab.dispatcher.cookies.key = KEY1
    before = lab.counters()
    assert lab.curl(vip, "/", "--max-time", 1, check=False).returncode == 28
    after = lab.counters()
    assert after["bad_cookie"] > before["bad_cookie"]
    assert after["assigned"] == before["assigned"]


def test_key_that_is_not_set_matches_nothing(lab: Lab) -> None:
    """Its place in the map is all zero: cookies made with a zero key must not pass."""
    lab.dispatcher.cookies.key, lab.dispatcher.cookies.key_id = bytes(16), 1
    assert lab.curl(VIP4, "/", "--max-time", 1, check=False).returncode == 28


def test_two_keys(lab: Lab) -> None:
    lab.attach(KEY0, KEY1)
    assert lab.curl(VIP4).stdout == "hello"
    lab.dispatcher.cookies.key, lab.dispatcher.cookies.key_id = KEY1, 1
    assert lab.curl(VIP4).stdout == "hello"


@EITHER
def test_native_handshake(lab: Lab, vip: str) -> None:
    lab.dispatcher.answers = False
    before = lab.counters()["assigned"]
    assert lab.curl(vip).stdout == "hello"
    assert lab.counters()["assigned"] == before


@EITHER
def test_no_server_drops_and_the_client_tries_on(lab: Lab, vip: str) -> None:
    lab.stop_server()
    before = lab.counters()["no_listener"]
    answer: list[str] = []
    client = threading.Thread(target=lambda: answer.append(lab.curl(vip).stdout))
    client.start()
    eventually(lambda: lab.counters()["no_listener"] > before, "the segment is dropped, not reset")
    lab.start_server()
    client.join(15)
    assert answer == ["hello"]


def test_stray_segment_without_server_is_reset(lab: Lab) -> None:
    """A bad cookie and no server: the kernel's business."""
    lab.stop_server()
    lab.dispatcher.cookies.key = KEY1
    assert lab.curl(VIP4, "/", check=False).returncode in (7, 52, 56)


@EITHER
def test_connection_that_nobody_has_is_reset_in_the_end(lab: Lab, vip: str) -> None:
    """The cookie stays bad: dropped at first (it could have overtaken the first segment), reset after seconds."""
    lab.dispatcher.cookies.key = KEY1
    before = lab.counters()
    assert lab.curl(vip, "/", check=False).returncode == 56, "reset by the peer, before curl's own 8 s are over"
    after = lab.counters()
    assert after["bad_cookie"] > before["bad_cookie"] and after["stray"] > before["stray"]


def answer_though_first_segment_is_lost(lab: Lab, source_port: int = 0) -> bytes:
    """The first segment is lost once, and a later one arrives at a blade that does not have the connection yet."""
    lost = threading.Event()

    def lose_first_data(segment: Segment) -> bool:
        if segment.flags & 0x02 or lost.is_set():
            return True
        if segment.data:
            lost.set()
        return False  # the bare acknowledgement before it is lost, too

    lab.dispatcher.seen = lose_first_data
    with inside(lab.names["client"]), socket.create_connection((VIP4, PORT), 5, ("", source_port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"GET / HTTP/1.0\r\n")
        assert lost.wait(5)  # before that, the kernel would put the next bytes into the same segment
        client.sendall(b"Host: x\r\n\r\n")
        client.settimeout(5)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    return answer


def test_later_segment_first(lab: Lab) -> None:
    """It is dropped, the connection lives."""
    before = lab.counters()["bad_cookie"]
    assert answer_though_first_segment_is_lost(lab).endswith(b"hello")
    assert lab.counters()["bad_cookie"] > before


def test_later_segment_first_from_a_port_that_had_a_bad_cookie(lab: Lab) -> None:
    """What an earlier connection from the same port left behind says nothing about this one."""
    source_port = 45000
    lab.dispatcher.cookies.key = KEY1
    data = threading.Event()
    lab.dispatcher.seen = lambda segment: data.set() is None if segment.data else True
    with inside(lab.names["client"]), socket.create_connection((VIP4, PORT), 5, ("", source_port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"x")
        assert data.wait(5)
    lab.dispatcher.cookies.key = KEY0
    time.sleep(3.5)  # longer than the program waits before it has a connection reset
    assert answer_though_first_segment_is_lost(lab, source_port).endswith(b"hello")


@EITHER
def test_bare_acknowledgement_is_not_needed(lab: Lab, vip: str) -> None:
    """The dispatcher keeps no state until there are data: it drops the handshake's last segment."""
    dropped: list[int] = []

    def drop_first_ack(segment: Segment) -> bool:
        if dropped or segment.data or segment.flags & 0x02:
            return True
        dropped.append(segment.seq)
        return False

    lab.dispatcher.seen = drop_first_ack
    assert lab.curl(vip).stdout == "hello"
    assert dropped


def test_ip_options(lab: Lab) -> None:
    with inside(lab.names["client"]), socket.socket() as client:
        client.settimeout(5)
        client.setsockopt(socket.IPPROTO_IP, 4, b"\x01\x01\x01\x01")  # IP_OPTIONS: NOPs
        client.connect((VIP4, PORT))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200" in client.recv(4096)


def test_many_connections_while_the_agent_restarts(lab: Lab) -> None:
    """A restarted agent replaces the program: no connection notices."""
    failures: list[str] = []

    def clients() -> None:
        for _ in range(40):
            done = lab.curl(VIP4, check=False)
            if done.stdout != "hello":
                failures.append(done.stderr)

    threads = [threading.Thread(target=clients) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        lab.attach()
    for thread in threads:
        thread.join()
    assert not failures


def test_other_ports_are_not_touched(lab: Lab) -> None:
    done = lab.on("client", "curl", "-sS", "--noproxy", "*", "--max-time", "5", f"http://{VIP4}:{PORT + 1}/", check=False)
    assert done.returncode == 7, "refused by the blade's kernel"


def test_detach_and_attach(lab: Lab) -> None:
    run(ACCEPT_TOOL, "detach", lab.bpffs)
    ours = {"accept_link", "cookie_keys", "services", "accept_stats"}
    assert not ours & {path.name for path in lab.bpffs.iterdir()}
    assert lab.curl(VIP4, "/", "--max-time", 1, check=False).returncode != 0
    run(ACCEPT_TOOL, "detach", lab.bpffs)
    lab.attach()
    assert lab.curl(VIP4).stdout == "hello"


def test_interface_that_is_not_there(lab: Lab) -> None:
    done = lab.on("blade", ACCEPT_TOOL, "attach", "nope0", lab.bpffs, "-", "-", PORT, check=False)
    assert done.returncode == 1
    assert "no network interface 'nope0'" in done.stderr


@EITHER
def test_packets_in_fragments(lab: Lab, vip: str) -> None:
    """af_packet's ring gives the kernel packets of which only the Ethernet header is linear."""
    lab.dispatcher.by_ring = True
    before = lab.counters()["assigned"]
    assert lab.curl(vip).stdout == "hello"
    assert lab.counters()["assigned"] == before + 1
    there = (lab.directory / "www/big").read_bytes()
    lab.curl(vip, "/up", "-T", lab.directory / "www/big")
    (kept,) = (lab.directory / "client_body").iterdir()
    assert kept.read_bytes() == there
    kept.unlink()


@EITHER
def test_first_segments_merged(lab: Lab, vip: str) -> None:
    """GRO: the blade's driver makes one packet, with fragments, of those that come together."""
    lab.on("blade", "ethtool", "-K", "b0", "gro", "on")
    try:
        before = lab.counters()["assigned"]
        lab.dispatcher.hold_back(4)
        with inside(lab.names["client"]), socket.create_connection((vip, PORT), 5) as client:
            client.sendall(b"GET / HTTP/1.0\r\nX: " + b"y" * 5000 + b"\r\n\r\n")
            client.settimeout(5)
            answer = b""
            while chunk := client.recv(4096):
                answer += chunk
        assert answer.endswith(b"hello")
        assert lab.counters()["assigned"] == before + 1
    finally:
        lab.on("blade", "ethtool", "-K", "b0", "gro", "off")
