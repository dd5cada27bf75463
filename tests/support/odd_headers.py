# SPDX-License-Identifier: Apache-2.0
"""A TLS client whose packets carry IPv4 options or IPv6 extension headers: run inside the client's network.

    odd_headers.py CA ADDRESS PORT    prints the blade that answered
"""

import socket
import ssl
import sys

NOPS = bytes([1] * 8)  # RFC 791
PADDING = bytes([0, 0, 1, 4, 0, 0, 0, 0])  # one extension header with nothing but PadN, RFC 8200 section 4.2


def main(ca: str, address: str, port: str) -> None:
    ipv6 = ":" in address
    with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET) as wire:
        if ipv6:
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, PADDING)
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, PADDING)
        else:
            wire.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, NOPS)
        wire.settimeout(10)
        wire.connect((address, int(port)))
        with ssl.create_default_context(cafile=ca).wrap_socket(wire, server_hostname=address) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n")
            answer = b""
            while more := tls.recv(65536):
                answer += more
    print(answer.split()[-1].decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
