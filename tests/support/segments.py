# SPDX-License-Identifier: Apache-2.0
"""Hand-made TCP segments on the client's wire: run inside the client's network.

    segments.py flood DEVICE GATEWAY_MAC ADDRESS PORT COUNT SECONDS    spoofed SYNs, evenly spread
    segments.py stray DEVICE GATEWAY_MAC ADDRESS PORT SOURCE           data of a connection that nobody has
    segments.py end DEVICE GATEWAY_MAC ADDRESS PORT SOURCE SOURCE_PORT rst|fin
        what somebody can send who knows a connection's addresses and ports, but no sequence number
"""

import random
import socket
import struct
import sys
import time

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
IPV4 = 0x0800


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(ethernet: bytes, source: bytes, target: bytes, ports: tuple[int, int], numbers: tuple[int, int], flags: int,
          payload: bytes = b"") -> bytes:
    """IPv4; a SYN carries an MSS option."""
    options = b"\x02\x04\x05\xb4" if flags & SYN else b""
    tcp = struct.pack("!HHIIBBHHH", *ports, *numbers, (5 + len(options) // 4) << 4, flags, 64240, 0, 0) + options
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp) + len(payload))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp + payload)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp) + len(payload), 0, 0x4000, 64, socket.IPPROTO_TCP, 0,
                     source, target)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return ethernet + ip + tcp + payload


def open_wire(device: str, gateway: str) -> tuple[socket.socket, bytes]:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV4))
    wire.bind((device, IPV4))
    own = wire.getsockname()[4]
    return wire, bytes.fromhex(gateway.replace(":", "")) + own + struct.pack("!H", IPV4)


def flood(device: str, gateway: str, address: str, port: str, count: str, seconds: str) -> None:
    wire, ethernet = open_wire(device, gateway)
    target, total, begin = socket.inet_aton(address), int(count), time.monotonic()
    for sent in range(total):
        source = struct.pack("!I", 0x64400000 | random.getrandbits(22))  # 100.64.0.0/10
        syn = frame(ethernet, source, target, (random.randrange(1024, 65536), int(port)),
                    (random.getrandbits(32), 0), SYN)
        try:
            wire.send(syn)
        except BlockingIOError:
            pass
        if sent % 64 == 63:
            ahead = begin + float(seconds) * sent / total - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    print(total)


def stray(device: str, gateway: str, address: str, port: str, source: str) -> None:
    wire, ethernet = open_wire(device, gateway)
    own_port = random.randrange(1100, 9000)  # of no connection that the dispatcher may still know
    wire.send(frame(ethernet, socket.inet_aton(source), socket.inet_aton(address), (own_port, int(port)),
                    (random.getrandbits(32), random.getrandbits(32)), PSH | ACK, b"data of a connection long gone"))


def end(device: str, gateway: str, address: str, port: str, source: str, source_port: str, kind: str) -> None:
    wire, ethernet = open_wire(device, gateway)
    wire.send(frame(ethernet, socket.inet_aton(source), socket.inet_aton(address), (int(source_port), int(port)),
                    (0x12345678, 0), {"rst": RST, "fin": FIN | ACK}[kind]))


if __name__ == "__main__":
    {"flood": flood, "stray": stray, "end": end}[sys.argv[1]](*sys.argv[2:])
