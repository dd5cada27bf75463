# SPDX-License-Identifier: Apache-2.0
"""Measures handshakes: run inside the client's network, prints one JSON object.

    handshakes.py full|resumed|again VERSION COUNT ADDRESS PORT SERVER_NAME CA_FILE [PAUSE_MS]

VERSION is 1.2, 1.3, or "1.2 by id": with session ids in place of tickets. A full handshake is timed from the ClientHello to
the client's own Finished, TCP's three segments not included; a resumed one the same way, each with the newest session of the
connection before. "again": COUNT clients get a session each; when all have one it says "ready", and after a line of input they
come again, and are timed. PAUSE_MS: between one and the next of them.
"""

import json
import socket
import ssl
import sys
import time

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def one(context: ssl.SSLContext, address: str, port: int, name: str,
        session: ssl.SSLSession | None) -> tuple[float, bool, ssl.SSLSession | None]:
    """Microseconds, whether it was resumed, and the session to go on with."""
    with socket.create_connection((address, port), timeout=10) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = context.wrap_socket(tcp, server_hostname=name, do_handshake_on_connect=False, session=session)
        begin = time.perf_counter()
        tls.do_handshake()
        microseconds = (time.perf_counter() - begin) * 1e6
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        while tls.recv(65536):  # TLS 1.3 sends its tickets after the handshake
            pass
        return microseconds, bool(tls.session_reused), tls.session


def main() -> None:
    kind, version, count, address, port, name, ca_file, *more = sys.argv[1:]
    pause = float(more[0]) / 1000 if more else 0
    context = ssl.create_default_context(cafile=ca_file)
    number, _, by_id = version.partition(" ")
    context.minimum_version = context.maximum_version = VERSIONS[number]
    if by_id:
        context.options |= ssl.OP_NO_TICKET
    sessions = [one(context, address, int(port), name, None)[2] for _ in range(int(count) if kind == "again" else 1)]
    if kind == "again":
        print("ready", flush=True)
        sys.stdin.readline()
    times, reused = [], 0
    for _ in range(int(count)):
        offered = None if kind == "full" else sessions.pop(0)
        time.sleep(pause)
        microseconds, was_resumed, newest = one(context, address, int(port), name, offered)
        sessions.append(newest)
        times.append(microseconds)
        reused += was_resumed
    print(json.dumps({"microseconds": times, "resumed": reused}))


if __name__ == "__main__":
    main()
