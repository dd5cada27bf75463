# SPDX-License-Identifier: Apache-2.0
"""TCP segments in Ethernet frames, and captures of them for net_pcap."""

import ipaddress
import struct
from collections.abc import Iterable
from pathlib import Path

ACK, PSH = 0x10, 0x08
HEADERS = 14 + 20 + 20


def segment(number: int, size: int, destination: str, port: int) -> bytes:
    """A frame of `size` bytes with data of client `number`, as of a connection that has long been made."""
    addresses = (ipaddress.ip_address("10.0.0.0") + (number >> 8)).packed + ipaddress.ip_address(destination).packed
    payload = bytes(size - HEADERS)
    tcp = struct.pack("!HHIIBBHHH", 1024 + (number & 0xff), port, 1, 1, 5 << 4, ACK | PSH, 65535, 0, 0) + payload
    tcp = _with_checksum(tcp, 16, addresses + struct.pack("!HH", 6, len(tcp)))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + addresses
    return bytes.fromhex("020000000002 020000000001 0800") + _with_checksum(ip, 10, b"") + tcp


def _with_checksum(header: bytes, at: int, pseudo: bytes) -> bytes:
    """RFC 1071."""
    data = pseudo + header + b"\0" * (len(header) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return header[:at] + struct.pack("!H", ~total & 0xffff) + header[at + 2:]


def write_pcap(file: Path, frames: Iterable[bytes]) -> None:
    with file.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 16, 1))
        for frame in frames:
            out.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
