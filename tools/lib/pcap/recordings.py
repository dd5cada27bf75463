# SPDX-License-Identifier: Apache-2.0
"""The captures, one line each: what the server is told, and what the client does."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from common.debian import has_program
from pcap import clients
from pcap.clients import Act, openssl, sent
from pcap.hello import SECP384R1_MLKEM1024
from pcap.stage import ADDRESSES

ALPNS = "h2,http/1.1,acme-tls/1,h3,spdy/3.1,ftp,imap,pop3,managesieve,coap"


@dataclass(frozen=True)
class Recording:
    name: str
    about: str
    act: Act
    server: tuple[str, ...] = ("-www",)
    device: str = "lo"  # "any": Linux cooked frames
    installed: Callable[[], bool] = lambda: True
    bring: str = ""  # how to have a client that tools/packages.txt does not bring


RECORDINGS = (
    Recording("openssl-tls12-id", "TLS 1.2, full and resumed by session id", openssl("-no_ticket"),
              ("-www", "-tls1_2", "-no_ticket")),
    Recording("openssl-tls12-ticket", "TLS 1.2, full and resumed by RFC 5077 ticket", openssl(), ("-www", "-tls1_2")),
    Recording("openssl-tls13", "TLS 1.3, full and resumed by PSK", openssl()),
    Recording("openssl-tls13-stateful", "TLS 1.3, stateful tickets: PSK identities of 32 bytes", openssl(),
              ("-www", "-no_ticket")),
    Recording("openssl-psk-ke", "TLS 1.3, resumed with psk_ke too", openssl("-allow_no_dhe_kex"),
              ("-www", "-allow_no_dhe_kex")),
    Recording("openssl-ipv6", "TLS 1.3 over IPv6, full and resumed", openssl(address=ADDRESSES[1])),
    Recording("openssl-cooked", "TLS 1.3, Linux cooked frames", openssl(), device="any"),
    Recording("openssl-alpn", "ten application protocols", openssl("-alpn", ALPNS), ("-www", "-alpn", ALPNS)),
    Recording("openssl-early-data", "TLS 1.3, resumed with early data", clients.openssl_early_data, ("-early_data",)),
    Recording("openssl-hello-retry", "HelloRetryRequest, full and resumed: two hellos a connection", openssl(),
              ("-www", "-groups", "P-384")),
    Recording("gnutls-tls12", "gnutls-cli, TLS 1.2, full and resumed", clients.gnutls("1.2")),
    Recording("gnutls-tls13", "gnutls-cli, TLS 1.3, full and resumed", clients.gnutls("1.3")),
    Recording("curl", "curl, three connections with TLS 1.2 and three with TLS 1.3", clients.curl),
    Recording("curl-debian-13", "curl with OpenSSL 3.5 and its defaults: X25519MLKEM768, two segments; full and resumed",
              clients.curl_of_debian_13, installed=partial(has_program, clients.DEBIAN_13, "curl"),
              bring="tools/test --on trixie makes the root that has it"),
    Recording("chromium", "Chromium, headless: X25519MLKEM768, GREASE, ECH, two segments; full and resumed",
              clients.chromium, ("-WWW",), installed=clients.chromium_is_installed, bring="apt-get install chromium"),
    Recording("post-quantum", "generated: X25519MLKEM768 (1.2 KB share), GREASE, PSK identity in the second segment",
              sent(clients.post_quantum(1))),
    Recording("post-quantum-large", "the same with SecP384r1MLKEM1024 (1.7 KB share)",
              sent(clients.post_quantum(2, group=SECP384R1_MLKEM1024))),
    Recording("post-quantum-three", "the same as the first with three PSK identities",
              sent(clients.post_quantum(3, 3))),
    Recording("post-quantum-records", "the same in TLS records of 1, 3, 700, 2 and more bytes",
              sent(clients.post_quantum(4, records=(1, 3, 700, 2)))),
    Recording("post-quantum-pieces", "the same, sent 100 bytes at a time", sent(clients.post_quantum(5), 100)),
    Recording("hello-12k", "a hello of 12 KB", sent(clients.post_quantum(6, padding=10_500))),
    Recording("one-byte", "a hello sent byte by byte", sent(clients.small(7), 1)),
)
