# SPDX-License-Identifier: Apache-2.0
"""A dispatcher in a few lines, as an oracle: answers SYNs with Keyrail's cookie (written from the description in
dataplane/common/cookie.h, not from its code) and forwards all else with only the MAC addresses changed."""

import ctypes
import mmap
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET, SOL_PACKET = 0x40000000, 263
MASK = (1 << 64) - 1
MSS = {4: (536, 1220, 1440, 1460), 6: (1220, 1380, 1420, 1440)}
WSCALE, WINDOW = 7, 64240
SYN, RST, ACK = 0x02, 0x04, 0x10


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in another network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{namespace}").open() as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


def siphash24(key: bytes, data: bytes) -> int:
    """SipHash-2-4 (Aumasson, Bernstein), 64-bit result."""
    k0, k1 = struct.unpack("<QQ", key)
    v = [0x736F6D6570736575 ^ k0, 0x646F72616E646F6D ^ k1, 0x6C7967656E657261 ^ k0, 0x7465646279746573 ^ k1]

    def rotl(x: int, b: int) -> int:
        return (x << b | x >> (64 - b)) & MASK

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK; v[1] = rotl(v[1], 13) ^ v[0]; v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK; v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK; v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK; v[1] = rotl(v[1], 17) ^ v[2]; v[2] = rotl(v[2], 32)

    padded = data + b"\0" * (7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Segment:
    """A TCP segment in an Ethernet frame."""

    def __init__(self, frame: bytes) -> None:
        kind = struct.unpack("!H", frame[12:14])[0]
        self.family = {0x0800: 4, 0x86DD: 6}.get(kind, 0)
        ip = frame[14:]
        if self.family == 4:
            self.protocol, self.source, self.destination = ip[9], ip[12:16], ip[16:20]
            tcp = ip[(ip[0] & 15) * 4:struct.unpack("!H", ip[2:4])[0]]
        elif self.family == 6:
            self.protocol, self.source, self.destination = ip[6], ip[8:24], ip[24:40]
            tcp = ip[40:40 + struct.unpack("!H", ip[4:6])[0]]
        self.is_tcp = self.family != 0 and self.protocol == 6
        if not self.is_tcp:
            return
        self.sport, self.dport, self.seq, self.ack = struct.unpack("!HHII", tcp[:12])
        self.flags = tcp[13]
        header = (tcp[12] >> 4) * 4
        self.options, self.data = tcp[20:header], tcp[header:]

    def option(self, kind: int) -> bytes | None:
        rest = self.options
        while rest and rest[0] != 0:
            if rest[0] == 1:
                rest = rest[1:]
                continue
            if rest[0] == kind:
                return rest[2:rest[1]]
            rest = rest[rest[1]:]
        return None


class Cookies:
    def __init__(self) -> None:
        self.key, self.key_id = bytes(range(16)), 0
        self.clock_behind_ms = 0  # so long ago was the SYN, and is the handshake's time

    def answer(self, syn: Segment) -> tuple[int, bytes]:
        """ISN and TCP options of the SYN-ACK."""
        offered = syn.option(2)
        mss = struct.unpack("!H", offered)[0] if offered else 536
        classes = MSS[syn.family]
        size = max((i for i in range(4) if classes[i] <= mss), default=0)
        shift = syn.option(3)
        wscale = min(shift[0], 14) if shift else 15
        sack = syn.option(4) is not None
        stamp = syn.option(8)
        byte = size << 6 | (0x20 if sack else 0) | self.key_id << 4 | wscale

        def sixteen(address: bytes) -> bytes:
            return address if len(address) == 16 else b"\0" * 10 + b"\xff\xff" + address

        clock = int(time.clock_gettime(time.CLOCK_TAI) * 1000) - self.clock_behind_ms
        period = clock >> 16 & 0xFFFF
        last = struct.pack("<Q", syn.seq << 32 | syn.sport << 16 | syn.dport)
        mac = siphash24(self.key, sixteen(syn.source) + sixteen(syn.destination) + last + struct.pack("<BH", byte, period))
        options = struct.pack("!BBH", 2, 4, 1460 if syn.family == 4 else 1440)
        if sack:
            options += bytes([1, 1, 4, 2])
        if stamp:
            tsval = (mac >> 32 << 14 | clock >> 2 & 0x3FFF) & 0xFFFFFFFF
            options += struct.pack("!BBBBII", 1, 1, 8, 10, tsval, struct.unpack("!I", stamp[:4])[0])
        if shift:
            options += bytes([1, 3, 3, WSCALE])
        return mac & 0xFFFFFE00 | (period & 1) << 8 | byte, options


def build(frame: bytes, syn: Segment, isn: int, options: bytes) -> bytes:
    """The SYN-ACK: the SYN, turned round."""
    tcp = struct.pack("!HHIIBBHHH", syn.dport, syn.sport, isn, (syn.seq + 1) & 0xFFFFFFFF, (20 + len(options)) // 4 << 4,
                      SYN | ACK, WINDOW, 0, 0) + options
    pseudo = syn.destination + syn.source + struct.pack("!IHBB", len(tcp), 0, 0, 6)
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    if syn.family == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + syn.destination + syn.source
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + syn.destination + syn.source
    return frame[6:12] + frame[:6] + frame[12:14] + ip + tcp


class Ring:
    """PACKET_TX_RING (linux/if_packet.h, TPACKET_V1): all behind the Ethernet header arrives in page fragments."""

    _FRAME, _FRAMES = 2048, 64

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        size = self._FRAME * self._FRAMES
        self._socket.setsockopt(SOL_PACKET, 13, struct.pack("IIII", size, 1, self._FRAME, self._FRAMES))
        self._memory = mmap.mmap(self._socket.fileno(), size)
        self._socket.bind((interface, 0))
        self._next = 0

    def send(self, frame: bytes) -> None:
        at = self._next * self._FRAME
        self._next = (self._next + 1) % self._FRAMES
        start = at + 32  # sizeof(tpacket_hdr), aligned
        self._memory[start:start + len(frame)] = frame
        self._memory[at:at + 16] = struct.pack("QII", 1, len(frame), len(frame))  # TP_STATUS_SEND_REQUEST
        self._socket.send(b"")

    def close(self) -> None:
        self._memory.close()
        self._socket.close()


class Dispatcher:
    """Between two interfaces of its namespace, in a thread."""

    def __init__(self, namespace: str, front: str, back: str, client_mac: bytes, blade_mac: bytes, port: int) -> None:
        self.cookies = Cookies()
        self.port = port
        self.answers = True  # False: forwards SYNs too (a native handshake)
        self.seen: Callable[[Segment], bool] = lambda segment: True  # of a client; False: the segment is lost
        self.returned: Callable[[Segment], bool] = lambda segment: True  # the same, of the blade
        self._held: list[bytes] = []
        self._together = 1
        self.by_ring = False  # True: to the blade by af_packet's ring, as DPDK's net_af_packet does
        with inside(namespace):
            self._front, self._back = (self._packet_socket(name) for name in (front, back))
            self._own = {s: s.getsockname()[4] for s in (self._front, self._back)}
            self._ring = Ring(back)
        self._to = {self._front: (self._back, blade_mac), self._back: (self._front, client_mac)}
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _packet_socket(interface: str) -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        made.bind((interface, 0))
        return made

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(10)
        for descriptor in (self._stop_read, self._stop_write):
            os.close(descriptor)
        self._front.close()
        self._back.close()
        self._ring.close()

    def _run(self) -> None:
        sockets = [self._front, self._back]
        while True:
            ready, _, _ = select.select([*sockets, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            for source in ready:
                frame, address = source.recvfrom(65536)
                if address[2] != socket.PACKET_OUTGOING:
                    self._handle(source, frame)

    def _handle(self, source: socket.socket, frame: bytes) -> None:
        segment = Segment(frame)
        if not segment.is_tcp:
            return
        target, mac = self._to[source]
        if source is self._front and segment.dport == self.port and self.answers:
            if not self.seen(segment):
                return
            if segment.flags & (SYN | ACK) == SYN:
                isn, options = self.cookies.answer(segment)
                source.send(build(frame, segment, isn, options))
                return
        if source is self._back and not self.returned(segment):
            return
        self._send(target, mac + self._own[target] + frame[12:])

    def _send(self, target: socket.socket, frame: bytes) -> None:
        if target is not self._back:
            target.send(frame)
            return
        self._held.append(frame)
        if len(self._held) < self._together:
            return
        self._together = 1
        for one in self._held:
            self._ring.send(one) if self.by_ring else target.send(one)
        self._held = []

    def hold_back(self, count: int) -> None:
        """The next `count` frames to the blade go out together."""
        self._together = count

    def to_blade(self, packet: bytes) -> None:
        """An IP packet that no client sent."""
        target, mac = self._to[self._front]
        kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self._send(target, mac + self._own[target] + kind + packet)
