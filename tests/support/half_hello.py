# SPDX-License-Identifier: Apache-2.0
"""A client that resets its connection in the middle of its ClientHello and comes again from the same port at once: run
inside the client's network.

    half_hello.py CA ADDRESS PORT SERVER_NAME VERSION FIRST_PORT TIMES PAUSE
        PAUSE ms between the half hello and the RST; prints "resumed" or "full" and the blade, for each second connection
"""

import socket
import ssl
import struct
import sys
import time

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def connection(where: tuple[str, int], local: int) -> socket.socket:
    tcp = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
    tcp.settimeout(10)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("", local))
    tcp.connect(where)
    return tcp


def give_up_half_way(context: ssl.SSLContext, where: tuple[str, int], local: int, name: str,
                     session: ssl.SSLSession | None, pause: float) -> None:
    hello = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=name, session=session)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    data = hello.read()
    with connection(where, local) as tcp:
        tcp.sendall(data[:len(data) // 2])
        time.sleep(pause)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def one(context: ssl.SSLContext, where: tuple[str, int], local: int, name: str,
        session: ssl.SSLSession | None) -> tuple[bool, str, ssl.SSLSession | None]:
    with context.wrap_socket(connection(where, local), server_hostname=name, session=session) as tls:
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while more := tls.recv(65536):
            answer += more
        return bool(tls.session_reused), answer.split()[-1].decode(), tls.session


def main(ca: str, address: str, port: str, name: str, version: str, first: str, times: str, pause: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    where, local = (address, int(port)), int(first)
    session = one(context, where, local, name, None)[2]
    for local in range(local + 1, local + 1 + int(times)):
        give_up_half_way(context, where, local, name, session, int(pause) / 1000)
        resumed, blade, session = one(context, where, local, name, session)
        print("resumed" if resumed else "full", blade, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
