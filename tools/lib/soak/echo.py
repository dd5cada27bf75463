# SPDX-License-Identifier: Apache-2.0
"""What is behind a blade's nginx at /echo: it takes the upgrade and says everything again."""

import socket
import sys
import threading


def serve(client: socket.socket) -> None:
    with client:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := client.recv(65536)):
                return
            data += more
        client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := client.recv(4096):
            client.sendall(data)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512)
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
