# SPDX-License-Identifier: Apache-2.0
"""A TLS client behind a balancer that says whose connection it is, in front of its first byte (PROXY protocol, version 1 or
2): run inside the client's network.

    proxied.py CA ADDRESS PORT SERVER_NAME VERSION v1|v2 with|before TIMES
        "with": header and hello in one segment; prints "resumed" or "full" and the blade, for each connection
"""

import socket
import ssl
import sys
from ipaddress import ip_address

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def header(kind: str, tcp: socket.socket) -> bytes:
    (source, source_port), (target, port) = tcp.getsockname()[:2], tcp.getpeername()[:2]
    ipv6 = ":" in source
    if kind == "v1":
        return f"PROXY TCP{6 if ipv6 else 4} {source} {target} {source_port} {port}\r\n".encode()
    body = (ip_address(source).packed + ip_address(target).packed + source_port.to_bytes(2, "big")
            + port.to_bytes(2, "big"))
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + (b"\x21" if ipv6 else b"\x11") + len(body).to_bytes(2, "big") + body


def one(context: ssl.SSLContext, where: tuple[str, int], name: str, session: ssl.SSLSession | None, kind: str,
        together: bool) -> tuple[bool, str, ssl.SSLSession | None]:
    with socket.create_connection(where, 10) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
        first = header(kind, tcp)
        if not together:
            tcp.sendall(first)
            first = b""
        answer = b""

        def step(act, *words):
            nonlocal first
            while True:
                try:
                    return act(*words)
                except ssl.SSLWantReadError:
                    pass
                finally:
                    if ready := outgoing.read():
                        tcp.sendall(first + ready)
                        first = b""
                data = tcp.recv(65536)
                if not data:
                    raise ConnectionError("closed by the server")
                incoming.write(data)

        step(tls.do_handshake)
        step(tls.write, f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        while b"blade" not in answer.partition(b"\r\n\r\n")[2]:
            answer += step(tls.read, 65536)
        return bool(tls.session_reused), answer.split()[-1].decode(), tls.session


def main(ca: str, address: str, port: str, name: str, version: str, kind: str, how: str, times: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    session = None
    for _ in range(int(times)):
        resumed, blade, session = one(context, (address, int(port)), name, session, kind, how == "with")
        print("resumed" if resumed else "full", blade, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
