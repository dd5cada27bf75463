# SPDX-License-Identifier: Apache-2.0
"""A client uses a port again while the blade still has its old connection: the new one must not hang."""

import errno
import itertools
import socket
import threading
import time

import pytest
from accept_crafted import Crafted, in_time_wait
from accept_lab import EITHER, PORT, VIP4, VIP6, Lab
from cookie_dispatcher import RST, SYN, inside
from tls_server import eventually

RTO = 0.19  # s: the least that Linux waits before it sends a segment again
FRESH = itertools.count(30000)  # ports of which the blade has nothing


def connected(lab: Lab, vip: str, port: int) -> socket.socket:
    """From that port, as soon as the client's own kernel has finished with the connection before."""
    with inside(lab.names["client"]):
        client = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.settimeout(5)
    client.bind(("", port))
    eventually(lambda: client.connect_ex((vip, PORT)) != errno.EADDRNOTAVAIL, "the port is free")
    client.getpeername()
    return client


def fetch(lab: Lab, vip: str, port: int) -> float:
    """The page, from that port; the server closes first. Returns how long it took."""
    with connected(lab, vip, port) as client:
        start = time.monotonic()
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
        assert answer.endswith(b"hello")
        return time.monotonic() - start


@EITHER
@pytest.mark.parametrize("without", ["nothing", "timestamps"])
@pytest.mark.parametrize("rfc1337", [0, 1])
def test_time_wait_makes_room(lab: Lab, vip: str, without: str, rfc1337: int) -> None:
    if without != "nothing":
        lab.on("client", "sysctl", "-qw", f"net.ipv4.tcp_{without}=0")
    lab.on("blade", "sysctl", "-qw", f"net.ipv4.tcp_rfc1337={rfc1337}")
    before = lab.counters()
    for port in itertools.islice(FRESH, 10):
        fetch(lab, vip, port)
        eventually(lambda port=port: in_time_wait(lab, port), "the blade has it in TIME_WAIT")
        assert fetch(lab, vip, port) < RTO, "nothing had to be sent again"
    after = lab.counters()
    assert after["taken_over"] == before["taken_over"] + 10
    assert after["assigned"] == before["assigned"] + 20


GET = b"GET / HTTP/1.0\r\n\r\n"


@EITHER
@pytest.mark.parametrize("stamps", [None, 5000])
def test_what_seems_older_takes_over_when_it_comes_again(lab: Lab, vip: str, stamps: int | None) -> None:
    """RFC 6191's rule does not let it in at once; a client that means it sends again."""
    port = next(FRESH)
    first = Crafted(lab, vip, port, 0x50000000, stamps)
    first.send(GET)
    first.heard("the page")
    first.finish()
    second = Crafted(lab, vip, port, 0x40000000, stamps and stamps - 1000)
    before = lab.counters()
    second.send(GET)
    second.send(GET)  # a copy, at once
    eventually(lambda: lab.counters()["in_the_way"] >= before["in_the_way"] + 2, "it is dropped")
    assert in_time_wait(lab, port) and not second.answers
    time.sleep(0.2)
    second.send(GET)
    second.heard("the page, once more")
    assert lab.counters()["taken_over"] == before["taken_over"] + 1


@EITHER
def test_a_late_copy_of_the_old_connection_does_not_open_it_again(lab: Lab, vip: str) -> None:
    """Its first segment's cookie is as good as it was. The server would get the request twice."""
    port = next(FRESH)
    client = Crafted(lab, vip, port, stamps=7000)
    client.send(GET)
    client.heard("the page")
    seq, ack, echo = client.seq, client.ack, client.echo
    client.finish()
    client.seq, client.ack, client.echo = seq, ack, echo
    before = lab.counters()
    client.send(GET)
    eventually(lambda: lab.counters()["in_the_way"] > before["in_the_way"], "it is dropped")
    assert lab.counters()["assigned"] == before["assigned"] and in_time_wait(lab, port)


@EITHER
def test_half_open_connection_makes_room(lab: Lab, vip: str) -> None:
    """The old client went without a word (RFC 9293 section 3.5.1): the server is told, the new one gets the place."""
    port = next(FRESH)
    first = Crafted(lab, vip, port, 1000)
    first.send(b"GET / HT")
    eventually(lambda: first.answers, "acknowledged")
    others = (Crafted(lab, vip, port, isn) for isn in itertools.count(0x30000000))
    second = next(other for other in others if (first.ack - other.ack) % (1 << 32) > 1 << 24)
    before = lab.counters()
    second.send(GET)
    eventually(lambda: lab.counters()["in_the_way"] > before["in_the_way"], "not at once")
    time.sleep(0.2)
    second.send(GET)
    second.heard("the page")


def in_handshake(lab: Lab, port: int) -> bool:
    return bool(lab.on("blade", "ss", "-Htn", "state", "syn-recv", f"sport = :{PORT} and dport = :{port}").stdout)


@EITHER
@pytest.mark.parametrize("stamps", [None, 5000])
def test_a_handshake_that_its_client_has_given_up_makes_room(lab: Lab, vip: str, stamps: int | None) -> None:
    """The blade's kernel has answered a SYN (of a flow that was known, of a small MSS), and nobody came; the next SYN from that
    port was answered by the dispatcher."""
    port = next(FRESH)
    Crafted(lab, vip, port, 0x20000000).send_syn()
    eventually(lambda: in_handshake(lab, port), "it waits for the handshake's last packet")
    before = lab.counters()
    newer = Crafted(lab, vip, port, 0x30000000, stamps)
    newer.send(GET)
    newer.heard("the page")
    assert lab.counters()["taken_over"] == before["taken_over"] + 1
    assert not any(answer.flags & RST for answer in newer.answers)


@EITHER
def test_an_older_connection_does_not_end_a_handshake_at_once(lab: Lab, vip: str) -> None:
    """It may be a late copy from the network. What is meant comes again."""
    port = next(FRESH)
    Crafted(lab, vip, port, 0x30000000).send_syn()
    eventually(lambda: in_handshake(lab, port), "it waits for the handshake's last packet")
    older = Crafted(lab, vip, port, 0x20000000)
    before = lab.counters()
    older.send(GET)
    eventually(lambda: lab.counters()["in_the_way"] > before["in_the_way"], "it is dropped")
    assert in_handshake(lab, port)
    time.sleep(0.2)
    older.send(GET)
    older.heard("the page")


@EITHER
def test_a_native_handshake_is_its_own(lab: Lab, vip: str) -> None:
    """Its last packet, with the request: nothing makes room for itself."""
    port = next(FRESH)
    client = Crafted(lab, vip, port, 0x20000000)
    before = lab.counters()
    client.send_syn()
    answer = eventually(lambda: next((s for s in client.answers if s.flags & SYN), None), "SYN-ACK")
    client.ack = answer.seq + 1
    client.send(GET)
    client.heard("the page")
    assert lab.counters() == before


def test_segments_of_a_connection_that_lives_are_its_own(lab: Lab) -> None:
    """Its first segment again, with the same good cookie, and all that follows: nothing makes room for itself."""
    port = next(FRESH)
    client = Crafted(lab, VIP4, port)
    before = lab.counters()
    client.send(b"GET / HT")
    eventually(lambda: client.answers, "acknowledged")
    for _ in range(3):
        time.sleep(0.15)
        client.send(b"GET / HT")
    client.seq += 8
    client.send(b"TP/1.0\r\n\r\n")
    client.heard("the page")
    after = lab.counters()
    assert (after["taken_over"], after["in_the_way"]) == (before["taken_over"], before["in_the_way"])


def test_many_ports_used_again_at_once(lab: Lab) -> None:
    """The copies of several segments are received in any order."""
    failures: list[str] = []

    def user(port: int) -> None:
        for _ in range(4):
            try:
                fetch(lab, VIP6 if port % 2 else VIP4, port)
                eventually(lambda: in_time_wait(lab, port), "TIME_WAIT")
            except (OSError, AssertionError) as error:
                failures.append(f"{port}: {error!r}")

    threads = [threading.Thread(target=user, args=(port,)) for port in range(32000, 32032)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
