# SPDX-License-Identifier: Apache-2.0
"""Clients that come back again and again, each from a few source ports of its own: run inside the client's network.

    port_reuse.py CA ADDRESS PORT SERVER_NAME VERSION CLIENTS PORTS CONNECTIONS
        each client makes CONNECTIONS connections, one after the other, from its PORTS ports in turn, and offers the newest
        session. Three of four are closed by the server first, which then has the TIME_WAIT; the fourth is reset by the
        client. Prints JSON: how many were answered, resumed, took longer than a second, and what went wrong with others.
"""

import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
FIRST_PORT = 20_000
PATIENCE = 15.0  # seconds: longer than what any retransmission takes


class Crowd:
    """All clients, and what became of their connections."""

    def __init__(self, ca: str, where: tuple[str, int], name: str, version: str):
        self.where, self.name = where, name
        self.context = ssl.create_default_context(cafile=ca)
        self.context.minimum_version = self.context.maximum_version = VERSIONS[version]
        self.seen: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._lock = threading.Lock()

    def connect(self, local: int, session: ssl.SSLSession | None, reset: bool) -> tuple[bool, ssl.SSLSession | None]:
        """Whether it was resumed, and the session to go on with."""
        with socket.socket(socket.AF_INET6 if ":" in self.where[0] else socket.AF_INET) as tcp:
            tcp.settimeout(PATIENCE)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("", local))
            tcp.connect(self.where)
            with self.context.wrap_socket(tcp, server_hostname=self.name, session=session) as tls:
                close = "keep-alive" if reset else "close"
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {self.name}\r\nConnection: {close}\r\n\r\n".encode())
                answer = b""
                while b"blade" not in answer.partition(b"\r\n\r\n")[2] or not reset:
                    more = tls.recv(65536)
                    if not more:
                        break
                    answer += more
                if b"X-Blade" not in answer:
                    raise ConnectionError("closed without an answer")
                if reset:
                    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return bool(tls.session_reused), tls.session

    def client(self, number: int, ports: int, connections: int) -> None:
        session = None
        for turn in range(connections):
            begin = time.monotonic()
            found, error = Counter(connections=1), ""
            try:
                resumed, session = self.connect(FIRST_PORT + number * ports + turn % ports, session, turn % 4 == 3)
                found["answered"] += 1
                found["resumed"] += resumed
                found["first"] += turn == 0
                found["slow"] += time.monotonic() - begin > 1
            except OSError as problem:
                error = f"{type(problem).__name__}: {problem}"
            with self._lock:
                self.seen += found
                if error:
                    self.errors[error] += 1


def main(ca: str, address: str, port: str, name: str, version: str, clients: str, ports: str, connections: str) -> None:
    crowd = Crowd(ca, (address, int(port)), name, version)
    threads = [threading.Thread(target=crowd.client, args=(number, int(ports), int(connections)))
               for number in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({**crowd.seen, "errors": crowd.errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
