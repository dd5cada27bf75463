# SPDX-License-Identifier: Apache-2.0
"""tools/replay over captures made here: OpenSSL's hellos in frames of our own."""

import json
import os
import ssl
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.paths import ROOT

ETHERNET, LOOPBACK, RAW, COOKED, COOKED2 = 1, 0, 101, 113, 276
SYN, FIN, RST, ACK = 2, 1, 4, 16
MAGIC = 0xA1B2C3D4


def client_hello(name: str = "www.keyrail.test", padded: bool = True) -> bytes:
    context = ssl.create_default_context()
    context.set_ecdh_curve("prime256v1")  # OpenSSL 3.5's default is a post-quantum share of 1.2 KB
    if not padded:
        context.options &= ~0x10  # SSL_OP_TLSEXT_PADDING: to 512 bytes
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def packet(payload: bytes, seq: int, flags: int = ACK, ports: tuple[int, int] = (40000, 443)) -> bytes:
    """An IPv4 packet from the client; nobody checks checksums here."""
    tcp = struct.pack("!HHIIBBHHH", *ports, seq % 2**32, 1, 0x50, flags, 1000, 0, 0)
    addresses = bytes([192, 0, 2, 10, 198, 51, 100, 1])
    return struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 1, 0, 64, 6, 0) + addresses + tcp + payload


def ethernet(ip: bytes) -> bytes:
    return bytes(12) + b"\x08\x00" + ip


def write(file: Path, frames: Sequence[bytes], link_type: int = ETHERNET, snaplen: int = 65535) -> Path:
    records = [struct.pack("<IIII", 0, 0, min(len(frame), snaplen), len(frame)) + frame[:snaplen] for frame in frames]
    file.write_bytes(struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, 65535, link_type) + b"".join(records))
    return file


def replay(*arguments: str | Path, status: int = 0) -> list[dict]:
    done = subprocess.run([ROOT / "tools/replay", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == status, done.stderr
    assert bool(done.stderr) == bool(status)
    return [json.loads(line) for line in done.stdout.splitlines()]


def segments(hello: bytes, cuts: Sequence[tuple[int, int]], start: int = 1000) -> list[bytes]:
    """The bytes [from, to) of the hello, a segment each."""
    return [ethernet(packet(hello[begin:end], start + begin)) for begin, end in cuts]


SNAPSHOT = r"""
cookie_keys { key: "0123456789abcdef" current: true }
blades { id: 1 address: "\012\115\000\001" intake: INTAKE_OPEN }
blades { id: 2 address: "\012\115\000\002" intake: INTAKE_OPEN }
services {
  name: "www" port: 443 addresses: "\306\063\144\001" blade_ids: 1 blade_ids: 2 hello_limit: 400
  routes { server_name: "gone.keyrail.test" }
}
services { name: "plain" port: 8443 addresses: "\306\063\144\001" blade_ids: 1 steering: STEER_TUPLE }
"""


def test_a_snapshot_decides_as_the_dispatcher_does(tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    file.write_text(SNAPSHOT)
    new, gone = client_hello(padded=False), client_hello("gone.keyrail.test", padded=False)
    long = client_hello("a" * 60 + ".test", padded=False)
    ports = {"new": (1, 443), "gone": (2, 443), "other": (3, 80), "plain": (4, 8443)}
    assert len(new) <= 400
    frames = [ethernet(packet(hello, 1000, ports=ports[which]))
              for which, hello in (("new", new), ("gone", gone), ("other", new), ("plain", new))]
    lines = replay("--snapshot", file, write(tmp_path / "four.pcap", frames))
    assert [line["verdict"] for line in lines] == ["steer_new", "drop_no_blade", "steer_new", "steer_tuple"]
    file.write_text(SNAPSHOT.replace("hello_limit: 400", f"hello_limit: {len(long) - 1}"))
    lines = replay("--snapshot", file, write(tmp_path / "long.pcap", [ethernet(packet(long, 1000))]))
    assert [line["verdict"] for line in lines] == ["steer_too_long"]


def test_the_bytes_of_one_hello(tmp_path: Path) -> None:
    """In two segments, beside another one: what `keyrail explain --hello` takes."""
    hello, other = client_hello(), client_hello("other.keyrail.test")
    frames = [*segments(hello, [(0, 100)]), ethernet(packet(other, 5000, ports=(2, 443))), *segments(hello, [(100, len(hello))])]
    file = write(tmp_path / "two.pcap", frames)
    for frame, bytes_of in ((2, other), (3, hello)):
        done = subprocess.run([ROOT / "tools/replay", file, "--bytes", str(frame)], capture_output=True, check=True, timeout=300)
        assert done.stdout == bytes_of
    assert replay(file, "--bytes", "1", status=1) == []


def test_a_snapshot_that_is_none(tmp_path: Path) -> None:
    capture = write(tmp_path / "one.pcap", [ethernet(packet(client_hello(), 1000))])
    file = tmp_path / "snapshot"
    assert replay("--snapshot", file, capture, status=1) == []
    file.write_text("services {")
    assert replay("--snapshot", file, capture, status=1) == []
    file.write_text('services { name: "www" }')
    assert replay("--snapshot", file, capture, status=1) == []


def test_a_gap_too_wide_to_wait_behind(tmp_path: Path) -> None:
    """The segment begins where it could be held, and ends where it could not (found by fuzzing: a crash)."""
    hello, start, most = client_hello(), 1000, 64 * 1024
    frames = [ethernet(packet(b"", start - 1, SYN)), ethernet(packet(hello, start + most - 100))]
    lines = replay(write(tmp_path / "gap.pcap", frames))
    assert [(line["complete"], line["sni"]) for line in lines] == [(True, "www.keyrail.test")]


@pytest.mark.parametrize("flags", [ACK, ACK | FIN])
@pytest.mark.parametrize("ahead", [2**31 - 8, 2**31 - 1, 2**31, 2**31 + 1, 3 * 2**30])
def test_a_segment_far_away_on_the_circle_of_sequence_numbers(tmp_path: Path, ahead: int, flags: int) -> None:
    """No connection goes on a gigabyte further: it is not of this one, and costs it nothing."""
    hello, start = client_hello(), 1000
    [first, second] = segments(hello, [(0, 100), (100, len(hello))])
    frames = [ethernet(packet(b"", start - 1, SYN)), first, ethernet(packet(b"x" * 8, start + ahead, flags)), second]
    lines = replay(write(tmp_path / "far.pcap", frames))
    assert [(line["complete"], line["sni"], line["hello_bytes"]) for line in lines] == [
        (True, "www.keyrail.test", len(hello))]


def test_a_line_says_what_the_hello_says(tmp_path: Path) -> None:
    hello = client_hello()
    [line] = replay(write(tmp_path / "a", [ethernet(packet(b"", 999, SYN)), ethernet(packet(hello, 1000))]))
    assert line.pop("session_id") == hello[44:76].hex()
    assert line == {
        "frame": 2, "src": "192.0.2.10:40000", "dst": "198.51.100.1:443", "complete": True, "version": "TLS 1.3",
        "sni": "www.keyrail.test", "alpn": ["h2", "http/1.1"], "psk_identities": [], "ticket_key_name": "",
        "early_data": False, "hello_bytes": len(hello), "segments": 1, "records": 1, "verdict": "steer_new"}


TAG, QINQ = b"\x81\x00\x00\x05", b"\x88\xa8\x00\x07"
LINKS = {
    "802.1Q": (ETHERNET, bytes(12) + TAG + b"\x08\x00"),
    "QinQ": (ETHERNET, bytes(12) + QINQ + TAG + b"\x08\x00"),
    "raw IP": (RAW, b""),
    "cooked": (COOKED, bytes(14) + b"\x08\x00"),
    "cooked, 2": (COOKED2, b"\x08\x00" + bytes(18)),
    "cooked, tagged": (COOKED, bytes(14) + TAG + b"\x08\x00"),
    "loopback": (LOOPBACK, struct.pack("<I", 2)),
    "PPPoE": (ETHERNET, bytes(12) + b"\x88\x64" + b"\x11\x00\x00\x01\x00\x00\x00\x21"),
    "MPLS": (ETHERNET, bytes(12) + b"\x88\x47" + b"\x00\x01\x00\x40\x00\x02\x01\x40"),
}


@pytest.mark.parametrize("link", LINKS)
def test_link_types(tmp_path: Path, link: str) -> None:
    link_type, header = LINKS[link]
    [line] = replay(write(tmp_path / "a", [header + packet(client_hello(link), 7)], link_type))
    assert line["complete"] and line["sni"] == link


ORDERS = {
    "in order": ([(0, 100), (100, 200), (200, 517)], 3, 3),
    "backwards": ([(200, 517), (100, 200), (0, 100)], 3, 3),
    "overlapping": ([(0, 120), (100, 300), (250, 517)], 3, 3),
    "copies": ([(0, 300), (0, 300), (300, 517), (0, 300), (300, 517)], 3, 2),
    "all of it again": ([(0, 517), (0, 517)], 1, 1),
    "one byte first": ([(0, 1), (1, 2), (2, 517)], 3, 3),
    "sequence numbers wrap": ([(0, 300), (300, 517)], 2, 2),
}


@pytest.mark.parametrize("order", ORDERS)
def test_segments_in_any_order(tmp_path: Path, order: str) -> None:
    cuts, frame, count = ORDERS[order]
    hello = client_hello()
    assert len(hello) == 517, "OpenSSL pads to this size; the cuts above rely on it"
    start = 2**32 - 150 if "wrap" in order else 1000
    frames = [ethernet(packet(b"", start - 1, SYN)), *segments(hello, cuts, start)]
    [line] = replay(write(tmp_path / "a", frames))
    assert line["complete"] and (line["frame"], line["segments"]) == (frame + 1, count)


ENDS = {
    "end of file": (segments, [], "end of file"),
    "closed": (segments, [packet(b"", 1300, FIN | ACK)], "connection closed"),
    "reset": (segments, [packet(b"", 1300, RST)], "connection closed"),
    "gap": (segments, [packet(bytes(50), 1400)], "gap never filled"),
    "another connection": (segments, [packet(b"", 77, SYN)], "connection closed"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_hello_that_does_not_complete_is_told(tmp_path: Path, end: str) -> None:
    make, rest, reason = ENDS[end]
    frames = [*make(client_hello(), [(0, 300)]), *map(ethernet, rest)]
    [line] = replay(write(tmp_path / "a", frames))
    assert (line["complete"], line["reason"], line["hello_bytes"]) == (False, reason, 300)
    assert line["verdict"] == "steer_incomplete"


def test_a_frame_that_was_cut_short(tmp_path: Path) -> None:
    hello, other = client_hello(), client_hello("next.test")
    frames = [ethernet(packet(hello, 1000)), ethernet(packet(other, 1000, ports=(40001, 443)))]
    lines = replay(write(tmp_path / "a", frames, snaplen=200))
    assert [line["reason"] for line in lines] == ["frame cut short by the capture"] * 2


def test_hello_after_plaintext_and_after_a_hello_retry_request(tmp_path: Path) -> None:
    hello, change_cipher_spec = client_hello(), bytes([20, 3, 3, 0, 1, 1])
    stream = [b"EHLO there\r\n", b"STARTTLS\r\n", hello, change_cipher_spec + hello, b"\x17\x03\x03\x00\x05.....",
              b"\x16\x03\x03\x00\x28\x01" + bytes([0x99] * 39)]
    seq, frames = 1000, []
    for part in stream:
        frames.append(ethernet(packet(part, seq)))
        seq += len(part)
    assert [line["frame"] for line in replay(write(tmp_path / "a", frames))] == [3, 4]


def test_hello_behind_a_proxy_line(tmp_path: Path) -> None:
    """HAProxy's PROXY protocol, in the segment of the hello."""
    line = b"PROXY TCP4 192.0.2.10 198.51.100.1 40000 443\r\n"
    assert replay(write(tmp_path / "a", [ethernet(packet(line + client_hello(), 1000))]))[0]["sni"] == "www.keyrail.test"


def test_only_the_ports_that_are_asked_for(tmp_path: Path) -> None:
    frames = [ethernet(packet(client_hello(), 1, ports=(40000, port))) for port in (443, 853, 8443)]
    file = write(tmp_path / "a", frames)
    assert [line["frame"] for line in replay(file)] == [1, 2, 3]
    assert [line["frame"] for line in replay("--port", "853", "--port", "443", file)] == [1, 2]


def test_a_file_that_ends_too_early_gives_what_it_has(tmp_path: Path) -> None:
    file = write(tmp_path / "a", [ethernet(packet(client_hello(), 1))] * 2)
    os.truncate(file, file.stat().st_size - 10)
    assert len(replay(file, status=1)) == 1


@pytest.mark.parametrize("content", [b"", b"no capture at all, but text\n"])
def test_no_capture(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    assert replay(file, status=1) == []
    assert replay(tmp_path / "missing", status=1) == []


# --- pcapng

def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, 12 + len(body)) + body + struct.pack(f"{order}I", 12 + len(body))


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link_type: int, snaplen: int, order: str = "<") -> bytes:
    return block(1, struct.pack(f"{order}HHI", link_type, 0, snaplen), order)


def enhanced(number: int, frame: bytes, order: str = "<", size: int = 0) -> bytes:
    return block(6, struct.pack(f"{order}IIIII", number, 0, 0, len(frame), size or len(frame)) + frame, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_of_interfaces_that_differ(tmp_path: Path, order: str) -> None:
    """Link types and snap lengths, which libpcap refuses to read; sections, and blocks that are no packets."""
    hello = client_hello()
    ip = packet(hello, 1000)
    blocks = [section(order), interface(ETHERNET, 65535, order), interface(RAW, 262144, order),
              block(5, b"statistics..", order), block(0xBAD, b"", order),
              enhanced(0, ethernet(ip), order), enhanced(1, packet(hello, 1000, ports=(40001, 443)), order),
              section("<"), interface(RAW, 0),
              block(3, struct.pack("<I", len(ip)) + packet(hello, 1000, ports=(40002, 443))),
              block(2, struct.pack("<HHIIII", 0, 0, 0, 0, len(ip), len(ip)) + packet(hello, 1000, ports=(40003, 443)))]
    (tmp_path / "a.pcapng").write_bytes(b"".join(blocks))
    lines = replay(tmp_path / "a.pcapng")
    assert [(line["src"], line["frame"], line["sni"], line["complete"]) for line in lines] == [
        (f"192.0.2.10:{40000 + i}", i + 1, "www.keyrail.test", True) for i in range(4)]


def test_pcapng_cut_by_its_snap_length(tmp_path: Path) -> None:
    hello = client_hello()
    frame = ethernet(packet(hello, 1000))
    blocks = [section(), interface(ETHERNET, 100), enhanced(0, frame[:100], size=len(frame))]
    (tmp_path / "a.pcapng").write_bytes(b"".join(blocks))
    [line] = replay(tmp_path / "a.pcapng")
    assert line["reason"] == "frame cut short by the capture"


BROKEN = {
    "cut short": section() + interface(ETHERNET, 0) + enhanced(0, bytes(60))[:-6],
    "cut in its header": section() + b"\x06\0\0",
    "no such interface": section() + enhanced(3, bytes(60)),
    "longer than its block": section() + interface(ETHERNET, 0) + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99)),
    "length of nothing": section() + struct.pack("<III", 6, 4, 4),
    "gigantic": section() + struct.pack("<II", 6, 0xFFFFFFF0),
    "lengths differ": section() + struct.pack("<III", 6, 12, 16),
    "no magic": struct.pack("<III", 0x0A0D0D0A, 28, 7) + bytes(16),
    "too small an interface": section() + block(1, b""),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_pcapng_says_where(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.pcapng").write_bytes(BROKEN[what])
    done = subprocess.run([ROOT / "tools/replay", tmp_path / "a.pcapng"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a.pcapng: block at byte " in done.stderr


# --- what costs more than it should

def test_a_hello_in_too_many_segments_says_so(tmp_path: Path) -> None:
    hello = client_hello() + bytes(2000)
    hello = hello[:3] + struct.pack("!HBBH", 1500, hello[5], 0, 1496) + hello[9:]  # it goes on
    frames = [ethernet(packet(b"", 999, SYN))] + segments(hello, [(i, i + 1) for i in range(1200)])
    lines = replay(write(tmp_path / "a", frames))
    assert lines[0]["reason"] == "in more than 1024 segments"
    assert not lines[0]["complete"]


def test_held_segments_are_put_together_once(tmp_path: Path) -> None:
    """Records of one byte behind a gap, and gaps between all segments: each was put in again at each step (3 s)."""
    records = b"\x17\x03\x03\0\1x" * 200
    frames = []
    for connection in range(40):
        ports = (20000 + connection, 443)
        frames.append(ethernet(packet(b"", 999, SYN, ports)))
        frames += [ethernet(packet(records, 1000 + (i + 1) * len(records), ports=ports)) for i in range(50)]
        frames.append(ethernet(packet(records, 1000, ports=ports)))
        ports = (30000 + connection, 443)
        frames.append(ethernet(packet(b"", 999, SYN, ports)))
        frames += [ethernet(packet(b"\x16", 1001 + 2 * i, ports=ports)) for i in range(1500)]
    file = write(tmp_path / "a", frames)
    before = os.times().children_user
    replay(file)
    assert os.times().children_user - before < 1.5


PROXY = {
    "v1": b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n",
    "v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
}


@pytest.mark.parametrize("kind", PROXY)
def test_a_hello_behind_a_proxy_header(tmp_path: Path, kind: str) -> None:
    stream = PROXY[kind] + client_hello()
    for cut in (0, 1, 5, 13, len(PROXY[kind]) - 1, len(PROXY[kind]), len(PROXY[kind]) + 3):
        frames = [ethernet(packet(b"", 999, SYN))] + segments(stream, [(0, cut), (cut, len(stream))])
        [line] = replay(write(tmp_path / f"{cut}", frames))
        assert line["complete"]
        assert line["sni"] == "www.keyrail.test"
