# SPDX-License-Identifier: Apache-2.0
"""ClientHellos byte by byte (RFC 8446 section 4.1.2): those that no client installed here would send."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

SERVER_NAME, GROUPS, SIGNATURES, ALPN, PADDING, TICKET = 0, 10, 13, 16, 21, 35
PSK, EARLY_DATA, VERSIONS, PSK_MODES, KEY_SHARE = 41, 42, 43, 45, 51
TLS12, TLS13 = 0x0303, 0x0304
X25519, X25519_MLKEM768, SECP384R1_MLKEM1024 = 0x1D, 0x11EC, 0x11ED
SHARES = {X25519_MLKEM768: 1184 + 32, SECP384R1_MLKEM1024: 97 + 1568}  # bytes: elliptic curve and ML-KEM together
RECORD_MAX = 16384


@dataclass
class Hello:
    """What a hello says; `extensions` in their order, without the PSK, which is always the last one."""

    random: bytes = bytes(32)
    session_id: bytes = b""
    ciphers: tuple[int, ...] = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F)
    extensions: list[tuple[int, bytes]] = field(default_factory=list)
    psk_identities: list[bytes] = field(default_factory=list)


def vector(data: bytes, width: int) -> bytes:
    """A TLS vector: its length in `width` bytes, then the data."""
    return len(data).to_bytes(width, "big") + data


def server_name(name: bytes) -> tuple[int, bytes]:
    return SERVER_NAME, vector(b"\0" + vector(name, 2), 2)


def alpn(names: Iterable[bytes]) -> tuple[int, bytes]:
    return ALPN, vector(b"".join(vector(name, 1) for name in names), 2)


def versions(offered: Iterable[int]) -> tuple[int, bytes]:
    return VERSIONS, vector(b"".join(struct.pack("!H", version) for version in offered), 1)


def groups(offered: Iterable[int]) -> tuple[int, bytes]:
    return GROUPS, vector(b"".join(struct.pack("!H", group) for group in offered), 2)


def key_shares(shares: Iterable[tuple[int, bytes]]) -> tuple[int, bytes]:
    return KEY_SHARE, vector(b"".join(struct.pack("!H", group) + vector(key, 2) for group, key in shares), 2)


def grease(random: Random) -> int:
    """One of the sixteen values of RFC 8701."""
    return 0x0A0A + 0x1010 * random.randrange(16)


def _pre_shared_key(identities: Iterable[bytes]) -> bytes:
    """Binders of SHA-256's size that nobody can verify: a server that looks for one of these finds no key."""
    offered = [vector(identity, 2) + bytes(4) for identity in identities]
    return vector(b"".join(offered), 2) + vector(vector(bytes(32), 1) * len(offered), 2)


def message(hello: Hello) -> bytes:
    """The handshake message, its header included."""
    extensions = list(hello.extensions)
    if hello.psk_identities:
        extensions.append((PSK, _pre_shared_key(hello.psk_identities)))
    body = struct.pack("!H", TLS12) + hello.random + vector(hello.session_id, 1)
    body += vector(b"".join(struct.pack("!H", cipher) for cipher in hello.ciphers), 2) + vector(b"\0", 1)
    if extensions:
        body += vector(b"".join(struct.pack("!H", kind) + vector(data, 2) for kind, data in extensions), 2)
    return b"\x01" + vector(body, 3)


def records(content: bytes, sizes: Iterable[int] = ()) -> bytes:
    """As handshake records: of these sizes first, what is left in as few as can be."""
    out, at, wanted = b"", 0, iter(sizes)
    while at < len(content):
        part = content[at:at + next(wanted, RECORD_MAX)]
        out += b"\x16\x03\x01" + vector(part, 2)
        at += len(part)
    return out


def post_quantum(random: Random, name: bytes, psk_identities: list[bytes], padding: int = 0,
                 group: int = X25519_MLKEM768) -> Hello:
    """What a browser sends: GREASE first and near the end, a post-quantum share beside the small one."""
    greased = grease(random)
    extensions = [(grease(random), b""), server_name(name), alpn([b"h2", b"http/1.1"]), (PSK_MODES, b"\1\1"),
                  groups([greased, group, X25519, 0x17]), (SIGNATURES, vector(b"\4\3\x08\4\4\1", 2)),
                  key_shares([(greased, b"\0"), (group, random.randbytes(SHARES[group])),
                              (X25519, random.randbytes(32))]),
                  versions([grease(random), TLS13, TLS12]), (PADDING, bytes(padding)), (grease(random), b"\0")]
    return Hello(random.randbytes(32), random.randbytes(32), (grease(random), 0x1301, 0x1302, 0x1303), extensions,
                 psk_identities)
