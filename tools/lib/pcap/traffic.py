# SPDX-License-Identifier: Apache-2.0
"""tools/pktgen/capture: what a generator replays. Connections of many clients, packet by packet, as a capture file.

A capture may be replayed for ever: each connection begins with a SYN again, and the dispatcher reads its hello again."""

import argparse
import ipaddress
import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pcap import hello

FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10
MSS = 1448
# Of a Linux client's SYN: MSS 1460, SACK permitted, timestamps, window scale 7.
SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a 0000004d 00000000 01 030307")
IMIX = (64,) * 7 + (594,) * 4 + (1518,)  # the usual "simple IMIX": RFC 6985 says why its sizes must be named
SIZES = range(64, 1519)  # with FCS
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class End:
    mac: bytes
    address: Address
    port: int


@dataclass
class Stream:
    """One direction of a connection: makes its segments, keeps its sequence number."""

    source: End
    target: End
    seq: int
    ack: int = 0

    def segment(self, flags: int, payload: bytes = b"") -> bytes:
        options = SYN_OPTIONS if flags == SYN else b""
        tcp = struct.pack("!HHIIBBHHH", self.source.port, self.target.port, self.seq, self.ack if flags & ACK else 0,
                          (20 + len(options)) // 4 << 4, flags, 0xFFFF, 0, 0) + options
        self.seq = (self.seq + len(payload) + bool(flags & (SYN | FIN))) % 2**32
        pair = self.source.address.packed + self.target.address.packed
        size = len(tcp) + len(payload)
        total = checksum(pair + struct.pack("!II", 6, size) + tcp + payload)
        tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
        if len(pair) == 32:
            ip, kind = struct.pack("!IHBB", 6 << 28, size, 6, 64) + pair, 0x86DD
        else:
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 6, 0)
            ip, kind = head[:10] + struct.pack("!H", checksum(head + pair)) + pair, 0x0800
        frame = self.target.mac + self.source.mac + struct.pack("!H", kind) + ip + tcp + payload
        return frame.ljust(60, b"\0")


def tls13_psk(random: Random) -> hello.Hello:
    """517 bytes, as OpenSSL and browsers padded it before they had post-quantum shares: a returning client of TLS 1.3."""
    made = hello.Hello(random.randbytes(32), random.randbytes(32), extensions=[
        hello.server_name(b"www.keyrail.test"), hello.alpn([b"h2", b"http/1.1"]), (hello.PSK_MODES, b"\1\1"),
        hello.groups([hello.X25519]), hello.versions([hello.TLS13, hello.TLS12]),
        hello.key_shares([(hello.X25519, random.randbytes(32))])], psk_identities=[random.randbytes(32)])
    made.extensions.append((hello.PADDING, bytes(512 - 4 - len(hello.message(made)))))
    return made


def tls12_id(random: Random) -> hello.Hello:
    """A returning client of TLS 1.2, by its session id."""
    return hello.Hello(random.randbytes(32), random.randbytes(32),
                       extensions=[hello.server_name(b"www.keyrail.test"), hello.groups([hello.X25519])])


def new_client(random: Random) -> hello.Hello:
    return hello.Hello(random.randbytes(32), extensions=[hello.server_name(b"www.keyrail.test")])


def post_quantum(random: Random) -> hello.Hello:
    """Two segments: a returning client of today."""
    return hello.post_quantum(random, b"www.keyrail.test", [random.randbytes(32)])


Kind = Callable[[Random], hello.Hello]
MIXED: tuple[Kind, ...] = (post_quantum, post_quantum, tls13_psk, tls12_id, new_client)
STORM: dict[str, Kind] = {"X25519MLKEM768": post_quantum, "X25519": tls13_psk}  # by its key share


@dataclass
class Maker:
    """What the command line says, and how connections follow from it."""

    wanted: argparse.Namespace
    random: Random
    hellos: int = 0

    def client(self, number: int) -> tuple[Stream, Stream]:
        """Towards the service, and back; the same ones for every kind of capture."""
        near, far = (bytes.fromhex(mac.replace(":", "")) for mac in (self.wanted.source_mac, self.wanted.mac))
        network = self.wanted.sources
        address = network[1 + number % (network.num_addresses - 2)]
        random = Random(number)
        start, answer = random.getrandbits(32), random.getrandbits(32)
        ends = (address, 1024 + number % 64000), (self.wanted.vip, self.wanted.port)
        to, back = ends if self.wanted.kind != "return" else ends[::-1]
        sender, target = End(near, *to), End(far, *back)
        there = Stream(sender, target, start, answer + 1 & 0xFFFFFFFF)
        return there, Stream(sender, target, answer, start + 1 & 0xFFFFFFFF)

    def hello(self, stream: Stream) -> Iterator[bytes]:
        kinds = MIXED if self.wanted.kind == "mixed" else (STORM[self.wanted.key_share],)
        content = hello.records(hello.message(self.random.choice(kinds)(self.random)))
        self.hellos += 1
        for at in range(0, len(content), MSS):
            yield stream.segment(ACK | PSH, content[at:at + MSS])

    def syns(self, number: int) -> Iterator[bytes]:
        stream, _ = self.client(number)
        yield stream.segment(SYN)

    def storm(self, number: int) -> Iterator[bytes]:
        stream, _ = self.client(number)
        yield stream.segment(SYN)
        yield stream.segment(ACK)
        yield from self.hello(stream)

    def mixed(self, number: int) -> Iterator[bytes]:
        """A request, an upload of a few segments, acknowledgements of what comes; every tenth is a SYN and no more."""
        stream, _ = self.client(number)
        yield stream.segment(SYN)
        if number % 10 == 9:
            return
        yield stream.segment(ACK)
        yield from self.hello(stream)
        for size in (64, 400, *[MSS] * self.random.randrange(3)):
            yield stream.segment(ACK | PSH, self.random.randbytes(size))
            yield stream.segment(ACK)
        yield stream.segment(ACK | FIN)

    def back(self, number: int) -> Iterator[bytes]:
        """What the blades send meanwhile."""
        _, stream = self.client(number)
        yield stream.segment(SYN | ACK)
        for size in (300, MSS, MSS, 64):
            yield stream.segment(ACK | PSH, self.random.randbytes(size))
        yield stream.segment(ACK | FIN)

    def established(self, number: int) -> Iterator[bytes]:
        """One packet of --size bytes a connection: of plain layer 4, or of one that is known already."""
        stream, _ = self.client(number)
        headers = 54 if self.wanted.vip.version == 4 else 74
        size = self.wanted.size[number % len(self.wanted.size)]
        yield stream.segment(ACK, self.random.randbytes(max(0, size - 4 - headers)))

    def packets(self) -> list[bytes]:
        """Of all connections, mingled; each one's own in their order."""
        make = {"syns": self.syns, "storm": self.storm, "mixed": self.mixed, "return": self.back, "established": self.established}
        placed = []
        for number in range(self.wanted.clients):
            begin = self.random.random() * self.wanted.clients
            placed += [(begin + 64 * step, frame) for step, frame in enumerate(make[self.wanted.kind](number))]
        placed.sort(key=lambda entry: entry[0])
        return [frame for _, frame in placed]


def _mac(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no MAC address")
    if int(text[:2], 16) & 1:
        raise argparse.ArgumentTypeError(f"{text} is for many; give the dispatcher's port's own: 'ip link show' of its "
                                         "kernel interface says it")
    return text


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from {least} to {most}")
        return int(text)
    return read


def _sizes(text: str) -> tuple[int, ...]:
    return IMIX if text == "imix" else (_number(SIZES[0], SIZES[-1])(text),)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/pktgen/capture", description=(
        "Writes a capture for pktgen (-s PORT:FILE) or testpmd (net_pcap0,rx_pcap=FILE,infinite_rx=1), and beside it "
        "FILE.json, which says what is in it."))
    top.add_argument("kind", choices=("syns", "storm", "mixed", "return", "established"),
                     help="syns: a SYN of each client, with a Linux client's options; storm: SYN, ACK, ClientHello; mixed: whole connections of several kinds, client's side; "
                          "return: the blades' side; established: one packet of each connection")
    top.add_argument("--out", type=Path, metavar="FILE", help="default: KIND.pcap")
    top.add_argument("--clients", type=_number(1, 1 << 20), default=8192, metavar="N", help="connections (default: 8192)")
    top.add_argument("--vip", type=ipaddress.ip_address, default="198.51.100.1", metavar="ADDRESS",
                     help="the service's address, IPv4 or IPv6 (default: 198.51.100.1)")
    top.add_argument("--port", type=_number(1, 65535), default=443, metavar="N", help="the service's port (default: 443)")
    top.add_argument("--sources", type=ipaddress.ip_network, metavar="NETWORK",
                     help="the clients' addresses (default: for benchmarks, 198.18.0.0/15 or 2001:2::/48)")
    top.add_argument("--mac", type=_mac, required=True,
                     help="of the dispatcher's port that gets this; it drops what is for another one")
    top.add_argument("--source-mac", type=_mac, default="02:00:00:00:00:02", metavar="MAC", help="of the generator's port")
    top.add_argument("--key-share", default="X25519MLKEM768", choices=STORM,
                     help="storm: of its hellos; X25519MLKEM768, as clients send today, takes two segments, X25519 one "
                          "(default: X25519MLKEM768)")
    top.add_argument("--size", type=_sizes, default=(64,), metavar="BYTES",
                     help="established: size with FCS, 64 to 1518 (RFC 2544 wants 64, 128, 256, 512, 1024, 1280, 1518), or "
                          "imix: 64, 594 and 1518 as 7 to 4 to 1 (default: 64)")
    top.add_argument("--seed", type=int, default=1, metavar="N", help="another one draws other connections")
    return top


def main(words: Sequence[str]) -> int:
    wanted = parser().parse_args(words)
    wanted.sources = wanted.sources or ipaddress.ip_network("198.18.0.0/15" if wanted.vip.version == 4 else "2001:2::/48")
    if wanted.sources.version != wanted.vip.version:
        parser().error(f"--sources {wanted.sources} and --vip {wanted.vip} are of different kinds")
    if wanted.sources.num_addresses < 4:
        parser().error(f"--sources {wanted.sources} has no room for clients; give a network of four addresses or more")
    file = wanted.out or Path(f"{wanted.kind}.pcap")
    maker = Maker(wanted, Random(wanted.seed))
    packets = maker.packets()
    records = (struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in packets)
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    facts = {"kind": wanted.kind, "connections": wanted.clients, "packets": len(packets),
             "bytes": sum(map(len, packets)), "hellos": maker.hellos}
    Path(f"{file}.json").write_text(json.dumps(facts) + "\n")
    print(f"{file} {json.dumps(facts)}")
    return 0
