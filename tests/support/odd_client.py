# SPDX-License-Identifier: Apache-2.0
"""A client that does what TCP allows and few do. Prints `ok`, or what went wrong.

    odd_client.py CA ADDRESS PORT NAME 1.2|1.3 KIND"""

import itertools
import os
import socket
import ssl
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/lib/soak"))
from tls import Closed, Tls  # noqa: E402 - of the soak

PATIENCE = 20
TCP_FASTOPEN_NO_COOKIE = 34  # linux/tcp.h
PART = 400_000
NUMBERS = itertools.count()


class Place:
    def __init__(self, ca: str, address: str, port: int, name: str, version: str) -> None:
        self.at, self.name = (address, port), name
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.context = ssl.create_default_context(cafile=ca)
        self.context.minimum_version = self.context.maximum_version = getattr(ssl.TLSVersion, f"TLSv{version.replace('.', '_')}")

    def fresh(self, source_port: int = 0) -> socket.socket:
        sock = socket.socket(self.family)
        sock.settimeout(PATIENCE)
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", source_port))
        return sock

    def connected(self, source_port: int = 0) -> socket.socket:
        sock = self.fresh(source_port)
        sock.connect(self.at)
        return sock

    def ask(self, tls: Tls, path: str = "/", *fields: str) -> None:
        tls.send("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {self.name}", "Connection: close", *fields, "", ""]).encode())

    def fetch(self, sock: socket.socket) -> None:
        tls = Tls(sock, self.context, self.name)
        self.ask(tls)
        assert tls.receive().startswith(b"HTTP/1.1 200"), "no page"
        tls.close()


def ends(sock: socket.socket) -> None:
    """The other end closes, or resets, within its own patience."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass
    sock.close()


def fin_first(place: Place) -> None:
    sock = place.connected()
    sock.shutdown(socket.SHUT_WR)
    ends(sock)


def fin_in_the_hello(place: Place) -> None:
    sock = place.connected()
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    sock.shutdown(socket.SHUT_WR)
    ends(sock)


def own_port() -> int:
    """That no other client gets from its kernel meanwhile, nor chooses (ip_local_port_range begins above it)."""
    return 10_000 + os.getpid() % 900 * 20 + next(NUMBERS) % 20


def reset(sock: socket.socket) -> int:
    """Its port."""
    port = sock.getsockname()[1]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return int(port)


def rst_first(place: Place) -> None:
    """And the port is used again at once."""
    for _ in range(5):
        place.fetch(place.connected(reset(place.connected(own_port()))))


def rst_in_the_hello(place: Place) -> None:
    for pause in (0, 0.005, 0.1):
        sock = place.connected(own_port())
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        time.sleep(pause)
        place.fetch(place.connected(reset(sock)))


class Opening:
    """A socket whose first words go with its SYN (RFC 7413), without a cookie: who does not know it does not take them."""

    def __init__(self, place: Place) -> None:
        self.sock, self.at, self.open = place.fresh(), place.at, False
        self.sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)

    def sendall(self, data: bytes) -> None:
        if not self.open:
            self.open = True
            data = data[self.sock.sendto(data, socket.MSG_FASTOPEN, self.at):]
        self.sock.sendall(data)

    def recv(self, size: int) -> bytes:
        return self.sock.recv(size)

    def close(self) -> None:
        self.sock.close()


def syn_with_data(place: Place) -> None:
    place.fetch(Opening(place))  # type: ignore[arg-type]


class Urgent:
    """In the middle of the first words is an urgent byte (RFC 6093), which is not part of them for a server that does not ask."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.first = sock, True

    def sendall(self, data: bytes) -> None:
        if self.first:
            self.first = False
            self.sock.sendall(data[:50])
            self.sock.send(b"!", socket.MSG_OOB)
            data = data[50:]
        self.sock.sendall(data)

    def recv(self, size: int) -> bytes:
        return self.sock.recv(size)

    def close(self) -> None:
        self.sock.close()


def urgent(place: Place) -> None:
    place.fetch(Urgent(place.connected()))  # type: ignore[arg-type]


def read_whole(tls: Tls) -> int:
    data = b""
    while b"\r\n\r\n" not in data:
        data += tls.receive()
    size = len(data.partition(b"\r\n\r\n")[2])
    try:
        while True:
            size += len(tls.receive())
    except Closed as closed:
        assert closed.orderly, closed
    tls.close()
    return size


def zero_window(place: Place) -> None:
    """It reads nothing for some seconds: the server probes its window (RFC 9293 section 3.8.6.1)."""
    sock = place.fresh()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(place.at)
    tls = Tls(sock, place.context, place.name)
    place.ask(tls, "/50MB.bin", f"Range: bytes=0-{PART - 1}")
    time.sleep(8)
    assert (got := read_whole(tls)) == PART, got


def both_close(place: Place) -> None:
    """Both ends say FIN before they have heard that of the other, or nearly so."""
    for _ in range(20):
        tls = Tls(place.connected(), place.context, place.name)
        place.ask(tls)
        tls.receive()
        tls.end_sending()
        ends(tls.sock)


def slow_hello(place: Place) -> None:
    """Two bytes of it, then a second of silence, then the rest."""
    place.fetch(Slow(place.connected()))  # type: ignore[arg-type]


class Slow(Urgent):
    def sendall(self, data: bytes) -> None:
        if self.first:
            self.first = False
            self.sock.sendall(data[:2])
            time.sleep(1)
            data = data[2:]
        self.sock.sendall(data)


KINDS = {kind.__name__: kind for kind in (fin_first, fin_in_the_hello, rst_first, rst_in_the_hello, syn_with_data, urgent,
                                          zero_window, both_close, slow_hello)}


def main() -> None:
    ca, address, port, name, version, kind = sys.argv[1:]
    try:
        KINDS[kind](Place(ca, address, int(port), name, version))
        print("ok", flush=True)
    except (OSError, AssertionError, Closed) as error:
        print(f"{type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
