# SPDX-License-Identifier: Apache-2.0
"""A connection that lasts: a client of one session returns and downloads or uploads slowly, or talks over a WebSocket. It
prints who answers, then, at the end, `whole` or what went wrong.

    long_client.py CA ADDRESS PORT NAME 1.2|1.3 download|upload|echo SECONDS"""

import os
import socket
import ssl
import sys
import time

PACE = 800_000  # bytes a second
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of a WebSocket's handshake: HAProxy wants to see one (RFC 6455 section 1.3)
BUFFER = 65536  # small: the server must be at it all the time


def tcp(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.settimeout(15)
    sock.connect((address, port))
    return sock


def head_of(tls: ssl.SSLSocket) -> tuple[str, bytes]:
    """Head of the answer, and what of the body came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := tls.recv(BUFFER)):
            raise ConnectionError("closed before the answer")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    print(next((line.split(":")[1].strip() for line in head.decode().split("\r\n") if line.startswith(("X-Blade", "x-blade"))),
               "nobody"), flush=True)
    return head.decode(), body


def download(tls: ssl.SSLSocket, name: str, seconds: float) -> None:
    size = int(PACE * seconds)
    tls.sendall(f"GET /50MB.bin HTTP/1.1\r\nHost: {name}\r\nRange: bytes=0-{size - 1}\r\nConnection: close\r\n\r\n".encode())
    _, body = head_of(tls)
    got, begin = len(body), time.monotonic()
    while got < size:
        if not (more := tls.recv(BUFFER)):
            raise ConnectionError(f"closed after {got} of {size} bytes")
        got += len(more)
        time.sleep(max(0, got / PACE - (time.monotonic() - begin)))


def upload(tls: ssl.SSLSocket, name: str, seconds: float) -> None:
    tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    head_of(tls)  # who it is
    size, begin, sent = int(PACE * seconds), time.monotonic(), 0
    tls.sendall(f"PUT /upload/long-{os.getpid()} HTTP/1.1\r\nHost: {name}\r\nContent-Length: {size}\r\n"
                "Connection: close\r\n\r\n".encode())
    while sent < size:
        piece = bytes(min(BUFFER, size - sent))
        tls.sendall(piece)
        sent += len(piece)
        time.sleep(max(0, sent / PACE - (time.monotonic() - begin)))
    answer = b""
    while more := tls.recv(BUFFER):
        answer += more
    assert answer.split(b" ")[1:2] in ([b"201"], [b"204"]), answer[:60]


def echo(tls: ssl.SSLSocket, name: str, seconds: float) -> None:
    tls.sendall((f"GET /echo HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n").encode())
    head, rest = head_of(tls)
    assert " 101 " in head.split("\r\n")[0] and not rest, head
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        word = f"{number}\n".encode()
        tls.sendall(word)
        answer = b""
        while len(answer) < len(word):
            if not (more := tls.recv(BUFFER)):
                raise ConnectionError(f"closed after {number} words")
            answer += more
        assert answer == word, answer
        number += 1
        time.sleep(0.2)


def main() -> None:
    ca, address, port, name, version, kind, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, f"TLSv{version.replace('.', '_')}")
    with context.wrap_socket(tcp(address, int(port)), server_hostname=name) as first:
        first.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        while first.recv(BUFFER):
            pass
        session = first.session
    try:
        with context.wrap_socket(tcp(address, int(port)), server_hostname=name, session=session) as tls:
            {"download": download, "upload": upload, "echo": echo}[kind](tls, name, float(seconds))
        print("whole", flush=True)
    except (OSError, AssertionError) as error:
        print(f"{type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
