# SPDX-License-Identifier: Apache-2.0
"""TCP conversations as frames in a capture file: in order, or as a bad network would deliver them."""

import ipaddress
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from support.segments import ACK, PSH, SYN, checksum

FIN = 0x01
ETHERNET = bytes(6) + b"\x02\0\0\0\0\1"
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}

# How a packet lies in a frame: pcap's link type, and what stands before the packet.
Framing = tuple[int, Callable[[int], bytes]]
FRAMINGS: dict[str, Framing] = {
    "ethernet": (1, lambda version: ETHERNET + ETHERTYPES[version]),
    "vlan": (1, lambda version: ETHERNET + b"\x81\0\0\x07" + ETHERTYPES[version]),
    "qinq": (1, lambda version: ETHERNET + b"\x88\xa8\0\x09\x81\0\0\x07" + ETHERTYPES[version]),
    "raw": (101, lambda version: b""),
    "cooked": (113, lambda version: b"\0\0\0\1\0\6" + bytes(8) + ETHERTYPES[version]),
    "cooked2": (276, lambda version: ETHERTYPES[version] + b"\0\0\0\0\0\2\0\1\0\6" + bytes(8)),
}


@dataclass(frozen=True)
class Endpoint:
    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def packed(self) -> bytes:
        return ipaddress.ip_address(self.address).packed


@dataclass(frozen=True)
class Packet:
    """One TCP segment in IP."""

    source: Endpoint
    target: Endpoint
    sequence: int
    flags: int
    payload: bytes = b""

    @property
    def version(self) -> int:
        return 6 if ":" in self.source.address else 4

    def encoded(self) -> bytes:
        tcp = struct.pack("!HHIIBBHHH", self.source.port, self.target.port, self.sequence % 2**32, 1, 5 << 4,
                          self.flags, 64240, 0, 0) + self.payload
        addresses = self.source.packed + self.target.packed
        pseudo = addresses + struct.pack("!BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        if self.version == 6:
            return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + addresses + tcp
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + addresses
        return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


@dataclass(frozen=True)
class Flight:
    """Bytes that one side sends before it waits for the other."""

    from_client: bool
    data: bytes


@dataclass(frozen=True)
class Conversation:
    client: Endpoint
    server: Endpoint
    start: int  # the sequence number of the client's first byte
    has_syn: bool  # else the capture began later
    flights: tuple[Flight, ...]

    def packets(self, cut: Callable[[bytes, bool], Iterable[tuple[int, bytes]]]) -> Iterator[Packet]:
        """`cut` says which pieces of a client's flight are sent, as (offset, bytes); the server's stay whole. Where
        no SYN says so, only their order tells what the first byte is."""
        at = [1, self.start]  # the next sequence number of the server and of the client
        if self.has_syn:
            yield Packet(self.client, self.server, self.start - 1, SYN)
            yield Packet(self.client, self.server, self.start - 1, ACK, b"\0")  # keep-alive, RFC 9293 section 3.8.4
        for flight in self.flights:
            ends = (self.client, self.server) if flight.from_client else (self.server, self.client)
            for offset, piece in cut(flight.data, self.has_syn) if flight.from_client else uncut(flight.data):
                yield Packet(*ends, at[flight.from_client] + offset, PSH | ACK, piece)
            at[flight.from_client] += len(flight.data)
        yield Packet(self.client, self.server, at[1], FIN | ACK)


def uncut(data: bytes, _any_order: bool = True) -> list[tuple[int, bytes]]:
    return [(0, data)]


def mangled(random: Random, data: bytes, any_order: bool) -> list[tuple[int, bytes]]:
    """Cut at random, each piece perhaps reaching into its neighbours, some sent twice, in any order."""
    count = random.choice((1, 2, 2, 3, 5, 8, 20, 100))
    edges = sorted({0, len(data), *(random.randrange(1, len(data)) for _ in range(count - 1))})
    reach = random.choice((0, 0, 1, 40))
    spans = [(max(0, begin - random.randint(0, reach)), min(len(data), end + random.randint(0, reach)))
             for begin, end in zip(edges, edges[1:])]
    spans += [span for span in spans if random.random() < 0.1]
    if any_order and random.random() < 0.7:
        random.shuffle(spans)
    return [(begin, data[begin:end]) for begin, end in spans]


def interleaved(random: Random, lanes: Iterable[Iterator[Packet]], width: int = 16) -> Iterator[Packet]:
    """As packets of several conversations at a time follow each other on a wire; each one's keep their order."""
    waiting = iter(lanes)
    under_way = list(islice(waiting, width))
    while under_way:
        lane = random.choice(under_way)
        if packet := next(lane, None):
            yield packet
        else:
            under_way.remove(lane)
            under_way += islice(waiting, 1)


def write_capture(file: Path, packets: Iterable[Packet], framing: Framing = FRAMINGS["ethernet"]) -> None:
    """Ten microseconds from frame to frame."""
    link_type, header = framing
    with file.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, link_type))
        for number, packet in enumerate(packets):
            frame = header(packet.version) + packet.encoded()
            out.write(struct.pack("<IIII", number // 100_000, number % 100_000 * 10, len(frame), len(frame)) + frame)
