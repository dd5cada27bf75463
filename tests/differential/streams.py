# SPDX-License-Identifier: Apache-2.0
"""What clients send: random ClientHellos, good ones and bad ones, and all else that a stream may hold."""

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from string import ascii_letters, digits

from differential.wire import Conversation, Endpoint, Flight
from pcap import hello
from pcap.hello import Hello, vector

CHANGE_CIPHER_SPEC = b"\x14\3\3\0\1\1"
HELLO_RETRY_REQUEST = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
SERVERS = ("198.51.100.1", "2001:db8:100::1")
NOT_TLS = (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-client\r\n")
LONG = (0,) * 20 + (20_000,)  # more than fits in one TLS record: rarely
LABEL = ascii_letters + digits + "-_"


@dataclass(frozen=True)
class Case:
    """A conversation, how many good ClientHellos are in it, and whether there is a bad one."""

    conversation: Conversation
    good: int
    bad: bool = False

    @property
    def client(self) -> str:
        return str(self.conversation.client)


def _name(random: Random, longest: int) -> bytes:
    return "".join(random.choices(LABEL, k=random.randint(1, longest))).encode()


def _extensions(random: Random) -> list[tuple[int, bytes]]:
    """Those that mean something to us and those that do not, in any order."""
    offered = [
        hello.server_name(_name(random, random.choice((20, 63, 253, 1000)))),
        hello.alpn(_name(random, 30) for _ in range(random.randint(1, 10))),
        hello.versions([hello.grease(random), *random.sample([hello.TLS13, hello.TLS12, 0x0302, 0x0301], 2)]),
        hello.groups([hello.grease(random), hello.X25519_MLKEM768, hello.X25519]),
        hello.key_shares([(hello.X25519, random.randbytes(32))]),
        hello.key_shares([(hello.grease(random), b"\0"), (hello.X25519_MLKEM768, random.randbytes(1216))]),
        (hello.PSK_MODES, vector(random.choice((b"\0", b"\1", b"\0\1")), 1)),
        (hello.TICKET, random.randbytes(random.choice((0, 32, 176, 600)))),
        (hello.PADDING, bytes(random.choice((0, 100, 400, 3000, *LONG)))),
        (random.randrange(0x6000, 0x9000), random.randbytes(random.randint(0, 60))),
        (hello.grease(random), b""), (0xFF01, b"\0"), (23, b""), (5, b"\1\0\0\0\0")]
    chosen = random.sample(offered, random.randint(0, len(offered)))
    return list(dict(chosen).items())  # each at most once, RFC 8446 section 4.2


def random_hello(random: Random) -> Hello:
    session_id = random.randbytes(random.choice((0, 32, 32, random.randint(1, 31))))
    ciphers = tuple(random.randrange(1 << 16) for _ in range(random.randint(1, 80)))
    made = Hello(random.randbytes(32), session_id, ciphers, _extensions(random))
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        made.psk_identities.append(random.randbytes(random.choice((1, 32, 32, 113, 256, 1500))))
    if made.psk_identities and random.random() < 0.3:
        made.extensions.append((hello.EARLY_DATA, b""))
    return made


def _record_sizes(random: Random, size: int) -> list[int]:
    """At most 64 records to a hello."""
    cuts = random.choice((0, 0, 0, 1, 2, 5, 40))
    return [random.randint(1, random.choice((1, 3, max(1, size // 4)))) for _ in range(cuts)]


def _stream(random: Random, message: bytes, in_records: bool) -> bytes:
    return hello.records(message, _record_sizes(random, len(message)) if in_records else ())


def _hello_retry() -> bytes:
    body = struct.pack("!H", hello.TLS12) + HELLO_RETRY_REQUEST + b"\0\x13\1\0"
    body += vector(struct.pack("!6H", hello.VERSIONS, 2, hello.TLS13, hello.KEY_SHARE, 2, 0x18), 2)
    return b"\x16\3\3" + vector(b"\2" + vector(body, 3), 2)


def good_flights(random: Random, in_records: bool) -> list[Flight]:
    """One hello with or without data after it, or two. How they lie in records is drawn last, so that the messages
    are the same either way."""
    retried, first = random.random() < 0.1, hello.message(random_hello(random))
    if retried:
        second, before = hello.message(random_hello(random)), random.choice((b"", CHANGE_CIPHER_SPEC))
        return [Flight(True, _stream(random, first, in_records)), Flight(False, _hello_retry()),
                Flight(True, before + _stream(random, second, in_records))]
    data = random.randbytes(random.choice((0, 0, 100, 2000)))
    after = CHANGE_CIPHER_SPEC + b"\x17\3\3" + vector(data, 2) if data else b""
    return [Flight(True, _stream(random, first, in_records) + after)]


def bad_message(random: Random) -> bytes:
    """A ClientHello that breaks a rule: which one is drawn."""
    made = random_hello(random)
    match random.randrange(5):
        case 0:
            made.session_id = random.randbytes(33)  # at most 32
        case 1:
            made.extensions.append((0x7777, b""))
            made.psk_identities = []
            whole = hello.message(made)  # the last extension says that it has a byte more than there is
            return whole[:-1] + b"\1"
        case 2:
            made.extensions.insert(0, (hello.SERVER_NAME, b"\0\x09\0\0\7name"))  # a name longer than its list
        case 3:
            made.extensions.insert(0, (hello.ALPN, b"\0\5\6name"))
        case 4:
            whole = hello.message(made)  # extensions end after the message does
            return whole[:1] + (len(whole) - 5).to_bytes(3, "big") + whole[4:-1]
    return hello.message(made)


def case(seed: int, number: int, in_records: bool) -> Case:
    """The same seed and number: the same case, but for how its messages lie in records."""
    random = Random(f"{seed}/{number}")
    six = random.random() < 0.3
    address = ip_address("2001:db8::") + number if six else ip_address("10.0.0.0") + number
    client = Endpoint(str(address), random.randrange(1024, 65536))
    start = random.choice((random.randrange(1 << 32), (1 << 32) - random.randint(1, 1000)))
    has_syn, kind = random.random() < 0.9, random.random()
    if kind < 0.9:
        flights = good_flights(random, in_records)
    elif kind < 0.95:
        flights = [Flight(True, hello.records(bad_message(random)))]
    else:
        flights = [Flight(True, random.choice((*NOT_TLS, random.randbytes(300))))]
    good = sum(flight.from_client for flight in flights) if kind < 0.9 else 0
    conversation = Conversation(client, Endpoint(SERVERS[six], 443), start, has_syn, tuple(flights))
    return Case(conversation, good, 0.9 <= kind < 0.95)
