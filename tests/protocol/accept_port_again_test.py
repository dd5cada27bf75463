# SPDX-License-Identifier: Apache-2.0
"""A client uses a port again while the blade still has its old connection: the new one must not hang."""

import errno
import itertools
import random
import socket
import struct
import threading
import time

import pytest
from accept_lab import EITHER, PORT, VIP4, VIP6, Lab
from cookie_dispatcher import ACK, SYN, Segment, checksum, inside
from tls_server import eventually

RTO = 0.19  # s: the least that Linux waits before it sends a segment again
FIN, PSH = 1, 8
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


def in_time_wait(lab: Lab, port: int) -> bool:
    return bool(lab.on("blade", "ss", "-Htn", "state", "time-wait", f"sport = :{PORT} and dport = :{port}").stdout)


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


class Crafted:
    """A client whose numbers we choose, behind the dispatcher; the real client's kernel knows nothing of it."""

    def __init__(self, lab: Lab, vip: str, port: int, isn: int | None = None, stamps: int | None = None) -> None:
        self.lab, self.vip, self.port = lab, vip, port
        self.family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        self.source = socket.inet_pton(self.family, "2001:db8:1::99" if ":" in vip else "192.0.2.99")
        self.destination = socket.inet_pton(self.family, vip)
        self.isn = random.getrandbits(32) if isn is None else isn
        self.stamps = stamps  # its clock; None: no timestamps
        self.answers: list[Segment] = []
        lab.dispatcher.returned = self._note
        options = bytes([2, 4, 5, 180]) + (b"" if stamps is None else b"\x01\x01" + struct.pack("!BBII", 8, 10, stamps, 0))
        isn_there, given = lab.dispatcher.cookies.answer(Segment(bytes(12) + self._kind() + self._packet(SYN, self.isn, 0, options, b"")))
        self.seq, self.ack = self.isn + 1, isn_there + 1
        at = given.find(b"\x08\x0a")
        self.echo = None if stamps is None else struct.unpack("!I", given[at + 2:at + 6])[0]

    def _kind(self) -> bytes:
        return b"\x86\xdd" if self.family == socket.AF_INET6 else b"\x08\x00"

    def _note(self, segment: Segment) -> bool:
        if segment.dport != self.port:
            return True
        self.answers.append(segment)
        return False

    def _packet(self, flags: int, seq: int, ack: int, options: bytes, data: bytes) -> bytes:
        tcp = struct.pack("!HHIIBBHHH", self.port, PORT, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (20 + len(options)) // 4 << 4, flags,
                          60000, 0, 0) + options + data
        pseudo = self.source + self.destination + struct.pack("!IHBB", len(tcp), 0, 0, 6)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        if self.family == socket.AF_INET6:
            return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + self.source + self.destination + tcp
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + self.source + self.destination
        return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp

    def send(self, data: bytes, flags: int = ACK | PSH) -> None:
        options = b"" if self.stamps is None else b"\x01\x01" + struct.pack("!BBII", 8, 10, self.stamps, self.echo)
        self.lab.dispatcher.to_blade(self._packet(flags, self.seq, self.ack, options, data))

    def heard(self, what: str) -> None:
        """Waits until the blade has sent data for this connection, and closed it."""
        eventually(lambda: any(s.data and s.seq == self.ack for s in self.answers), what)

    def finish(self) -> None:
        """Acknowledges all and closes: the blade has it in TIME_WAIT."""
        fin = eventually(lambda: next((s for s in self.answers if s.flags & FIN), None), "the server closed")
        self.seq, self.ack = fin.ack, fin.seq + len(fin.data) + 1
        if self.stamps is not None:
            self.echo = struct.unpack("!I", fin.option(8)[:4])[0]
        self.send(b"", ACK | FIN)
        eventually(lambda: in_time_wait(self.lab, self.port), "TIME_WAIT")


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
