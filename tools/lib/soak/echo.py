# SPDX-License-Identifier: Apache-2.0
"""What is behind a blade's server at /echo: it takes the upgrade and says everything again."""

import base64
import hashlib
import re
import socket
import sys
import threading


ACCEPTED = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"


def accept_of(request: bytes) -> str:
    """RFC 6455 section 4.2.2."""
    key = re.search(rb"(?i)sec-websocket-key: *([^\r]+)", request)
    return base64.b64encode(hashlib.sha1((key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def serve(client: socket.socket) -> None:
    with client:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := client.recv(65536)):
                return
            data += more
        client.sendall(ACCEPTED.format(accept_of(data)).encode())
        while data := client.recv(4096):
            client.sendall(data)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512)
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
