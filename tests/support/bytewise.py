# SPDX-License-Identifier: Apache-2.0
"""A TLS client that sends byte by byte, or slowly in pieces: run inside the client's network.

    bytewise.py CA ADDRESS PORT SERVER_NAME TIMES [SIZE PAUSE]
        prints "resumed" or "full" and the blade, for each connection; pieces of SIZE bytes (1), PAUSE ms after each (0)
"""

import socket
import ssl
import sys
import time


class Bytewise:
    """One connection: the TLS is between two memory buffers, we carry the bytes."""

    def __init__(self, context: ssl.SSLContext, where: tuple[str, int], name: str, session: ssl.SSLSession | None,
                 size: int = 1, pause: float = 0):
        self.size, self.pause = size, pause
        self.wire = socket.create_connection(where, 20)
        self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)

    def send_pending(self) -> None:
        data = self.outgoing.read()
        for start in range(0, len(data), self.size):
            self.wire.sendall(data[start:start + self.size])
            if self.pause:
                time.sleep(self.pause)

    def until_done(self, step, *words):
        while True:
            try:
                return step(*words)
            except ssl.SSLWantReadError:
                self.send_pending()
                data = self.wire.recv(65536)
                if not data:
                    raise ConnectionError("closed by the server") from None
                self.incoming.write(data)
            finally:
                self.send_pending()


def main(ca: str, address: str, port: str, name: str, times: str, size: str = "1", pause: str = "0") -> None:
    context = ssl.create_default_context(cafile=ca)
    session = None
    for _ in range(int(times)):
        client = Bytewise(context, (address, int(port)), name, session, int(size), int(pause) / 1000)
        client.until_done(client.tls.do_handshake)
        client.tls.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        client.send_pending()
        answer = b""
        while b"blade" not in answer.partition(b"\r\n\r\n")[2]:
            answer += client.until_done(client.tls.read, 65536)
        print("resumed" if client.tls.session_reused else "full", answer.split()[-1].decode(), flush=True)
        session = client.tls.session
        client.wire.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
