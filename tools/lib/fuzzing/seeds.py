# SPDX-License-Identifier: Apache-2.0
"""Where fuzzing starts: what real clients sent, taken from tests/captures. Made by `tools/fuzz --make-seeds`."""

import struct
from collections.abc import Iterator
from pathlib import Path

from common.paths import ROOT
from common.shell import run
from fuzzing.targets import SEEDS

CAPTURES = ROOT / "tests/captures"
VLAN_TAG = b"\x81\0\0\x07"
WHOLE = b"\xff\x80"  # client_hello_fuzz: the usual limits, and the prefix is one half


def frames(capture: Path) -> Iterator[bytes]:
    """Of a file of tcpdump's, which writes in this machine's byte order."""
    data, at = capture.read_bytes(), 24
    while at < len(data):
        size = struct.unpack_from("=I", data, at + 8)[0]
        yield data[at + 16:at + 16 + size]
        at += 16 + size


def flights(capture: Path) -> list[bytes]:
    """What each client sent before its first answer, up to the end of its hello."""
    fields = ("tcp.stream", "tcp.payload", "tls.handshake.type")
    lines = run(["tshark", "-n", "-r", capture, "-Y", "tcp.dstport == 443 && tcp.len > 0", "-T", "fields",
                 *(word for field in fields for word in ("-e", field))]).stdout.splitlines()
    sent, whole = dict[str, bytes](), set[str]()
    for stream, payload, kinds in (line.split("\t") for line in lines):
        if stream not in whole:
            sent[stream] = sent.get(stream, b"") + bytes.fromhex(payload)
        if "1" in kinds.split(","):
            whole.add(stream)
    return list(sent.values())


def _frames_of_every_kind() -> dict[str, bytes]:
    """The first SYN, answer to it, bare ACK and data of a connection, with a VLAN tag and without."""
    seeds = {}
    for name in ("openssl-tls13", "openssl-ipv6", "chromium"):
        for frame in frames(CAPTURES / f"{name}.pcap"):
            flags = frame[14 + (40 if frame[12:14] == b"\x86\xdd" else 20) + 13]
            seeds.setdefault(f"{name}-{flags:02x}", frame)
            seeds.setdefault(f"{name}-{flags:02x}-vlan", frame[:12] + VLAN_TAG + frame[12:])
    return seeds


def _first_flights() -> dict[str, bytes]:
    return {f"{capture.stem}-{number}": WHOLE + flight for capture in sorted(CAPTURES.glob("*.pcap"))
            for number, flight in enumerate(flights(capture))}


def _files(folder: Path, pattern: str, longest: int = 10_000) -> dict[str, bytes]:
    return {file.stem: file.read_bytes() for file in sorted(folder.glob(pattern)) if file.stat().st_size <= longest}


def _remove_made(folder: Path) -> None:
    """What was made before; what is named after no capture and no profile was written by hand, and stays."""
    sources = [file.stem for file in (*CAPTURES.glob("*.pcap"), *(ROOT / "hw/profiles").glob("*.toml"))]
    for file in folder.iterdir():
        if any(file.name == source or file.name.startswith(f"{source}-") for source in sources):
            file.unlink()


def make() -> None:
    """All of them anew; those of other targets are written by hand, and some of these."""
    made = {"headers": _frames_of_every_kind(), "client_hello": _first_flights(),
            "replay": _files(CAPTURES, "*.pcap"), "profile": _files(ROOT / "hw/profiles", "*.toml")}
    for target, seeds in made.items():
        folder = SEEDS / target
        folder.mkdir(parents=True, exist_ok=True)
        _remove_made(folder)
        for name, data in seeds.items():
            (folder / name).write_bytes(data)
        print(f"{target:14} {len(seeds)} seeds, {sum(map(len, seeds.values()))} bytes")
