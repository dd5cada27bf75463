# SPDX-License-Identifier: Apache-2.0
"""ClientHellos of somebody who has seen a session's name and nothing else (RFC 8446 section 4.1.2)."""

import os
import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path


def ticket_of(session: Path) -> bytes:
    return ticket_in(subprocess.run(["openssl", "sess_id", "-in", session, "-text", "-noout"], capture_output=True,
                                    text=True, check=True).stdout)


def ticket_in(text: str) -> bytes:
    """Of what OpenSSL says of a session. Empty: it has none."""
    dump = re.search(r"TLS session ticket:\n((?:\s+[0-9a-f]{4} - .*\n)+)", text)
    lines = dump[1].splitlines() if dump else []
    return bytes.fromhex("".join(re.sub(r"[^0-9a-f]", "", line.split(" - ")[1][:48]) for line in lines))


def session_id_of(session: Path) -> bytes:
    """The name that a client offers: its ticket, of which a name is the beginning, else its session id."""
    if ticket := ticket_of(session):
        return ticket[:32]
    text = subprocess.run(["openssl", "sess_id", "-in", session, "-text", "-noout"], capture_output=True, text=True,
                          check=True).stdout
    found = re.search(r"Session-ID: ([0-9A-F]+)", text)
    assert found, text
    return bytes.fromhex(found[1])


def _extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def hello(identities: Sequence[bytes] | None = None, session_id: bytes = b"", host: bytes = b"a.test", early_data: bool = False,
          ticket: bytes | None = None) -> bytes:
    """TLS 1.3 (with these identities, and wrong binders), or TLS 1.2 where a session id is given, and perhaps a ticket."""
    tls13 = not session_id
    extensions = (_extension(0, struct.pack(">HBH", len(host) + 3, 0, len(host)) + host) + _extension(23, b"")
                  + _extension(0xff01, b"\0") + _extension(10, struct.pack(">HHH", 4, 29, 23)) + _extension(11, b"\x01\x00")
                  + _extension(13, struct.pack(">HHHH", 6, 0x0403, 0x0804, 0x0401)))
    if ticket is not None:
        extensions += _extension(35, ticket)
    if tls13:
        share = os.urandom(31) + b"\x01"  # any 32 bytes are a point of x25519
        extensions += (_extension(43, b"\x02\x03\x04") + _extension(45, b"\x01\x01")
                       + _extension(51, struct.pack(">HHH", 36, 29, 32) + share))
        if early_data:
            extensions += _extension(42, b"")
    if identities:
        ids = b"".join(struct.pack(">H", len(name)) + name + b"\0\0\1\0" for name in identities)
        binders = b"".join(b"\x30" + os.urandom(48) for _ in identities)
        extensions += _extension(41, struct.pack(">H", len(ids)) + ids + struct.pack(">H", len(binders)) + binders)
    suites = b"\x13\x02\x13\x01" if tls13 else b"\xc0\x2c\xc0\x30\xc0\x2b\xc0\x2f\xcc\xa9"
    body = (b"\x03\x03" + os.urandom(32) + bytes([len(session_id)]) + session_id + struct.pack(">H", len(suites)) + suites
            + b"\x01\x00" + struct.pack(">H", len(extensions)) + extensions)
    message = b"\x01" + struct.pack(">I", len(body))[1:] + body
    pieces = [message[i:i + 16000] for i in range(0, len(message), 16000)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece for piece in pieces)
