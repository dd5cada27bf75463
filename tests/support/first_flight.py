# SPDX-License-Identifier: Apache-2.0
"""What a TLS 1.3 client sends before the server speaks: recorded by a relay, and sent again byte by byte.
Also a command, for other network namespaces:

  first_flight.py record ADDRESS PORT FILE SOURCE COMMAND...   the command connects to 127.0.0.1:@PORT@
  first_flight.py replay ADDRESS PORT FILE SOURCE              prints "resumed" or "refused"
  first_flight.py keep ADDRESS PORT FILE SOURCE COMMAND...     like record, but no server gets it
  first_flight.py send ADDRESS PORT FILE SOURCE                prints "answered" or "not answered" """

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HANDSHAKE, SERVER_HELLO, PRE_SHARED_KEY = 22, 2, 41  # RFC 8446: B.1, B.3, 4.2
PATIENCE = 10.0


class Recorder:
    """A relay for one connection on loopback; `flight` is what the client sent before the first answer."""

    def __init__(self, address: str, port: int, source: str = "") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._server = (address, port)
        self._source = (source, 0) if source else None
        self.flight = b""
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self) -> None:
        self._listener.settimeout(PATIENCE)
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._server, PATIENCE, self._source) as server:
            client.settimeout(0.3)  # the whole first flight is there long before
            try:
                while data := client.recv(65536):
                    self.flight += data
            except TimeoutError:
                pass
            client.settimeout(PATIENCE)
            server.sendall(self.flight)
            back = threading.Thread(target=self._pump, args=(server, client))
            back.start()
            self._pump(client, server)
            back.join()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@contextmanager
def recorder(address: str, port: int, source: str = "") -> Iterator[Recorder]:
    made = Recorder(address, port, source)
    try:
        yield made
    finally:
        made.close()


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the server said too little")
        data += more
    return data


def resumes(server_hello: bytes) -> bool:
    """Whether the server took the session: its hello says so in the clear. Early data needs that."""
    at = 4 + 2 + 32
    at += 1 + server_hello[at] + 2 + 1  # legacy_session_id, cipher suite, compression
    end = at + 2 + int.from_bytes(server_hello[at:at + 2], "big")
    at += 2
    while at < end:
        if int.from_bytes(server_hello[at:at + 2], "big") == PRE_SHARED_KEY:
            return True
        at += 4 + int.from_bytes(server_hello[at + 2:at + 4], "big")
    return False


def replay(flight: bytes, address: str, port: int, source: str = "") -> bool:
    """Sends a first flight once more; True if the server resumes the session."""
    with socket.create_connection((address, port), PATIENCE, (source, 0) if source else None) as connection:
        connection.sendall(flight)
        kind, _, _, *length = _read(connection, 5)
        record = _read(connection, int.from_bytes(bytes(length), "big"))
        assert (kind, record[0]) == (HANDSHAKE, SERVER_HELLO), (kind, record[:1])
        return resumes(record)


def keep_back(command: list[str | Path]) -> bytes:
    """The first flight of a client that no server ever gets; `command` connects to 127.0.0.1:@PORT@."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with subprocess.Popen([str(word).replace("@PORT@", port) for word in command], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            listener.settimeout(PATIENCE)
            connection, _ = listener.accept()
            flight = b""
            with connection:
                connection.settimeout(0.5)  # the whole first flight is there long before
                try:
                    while data := connection.recv(65536):
                        flight += data
                except TimeoutError:
                    pass
            client.kill()
    return flight


def answered(flight: bytes, address: str, port: int, source: str = "") -> bool:
    """Sends a first flight with a request as early data; True if the server answers that. Its own flight is shorter
    than 180 bytes after its hello when it resumes (no certificate), and then it waits for the client's Finished."""
    with socket.create_connection((address, port), PATIENCE, (source, 0) if source else None) as connection:
        connection.sendall(flight)
        kind, _, _, *length = _read(connection, 5)
        record = _read(connection, int.from_bytes(bytes(length), "big"))
        assert (kind, record[0]) == (HANDSHAKE, SERVER_HELLO), (kind, record[:1])
        if not resumes(record):
            return False
        connection.settimeout(1)
        size = 0
        try:
            while data := connection.recv(65536):
                size += len(data)
        except TimeoutError:
            pass
        return size > 180


if __name__ == "__main__":
    what, address, port, file, source, *command = sys.argv[1:]
    if what == "record":
        with recorder(address, int(port), source) as relay:
            subprocess.run([word.replace("@PORT@", str(relay.port)) for word in command], check=False)
        Path(file).write_bytes(relay.flight)
    elif what == "keep":
        Path(file).write_bytes(keep_back(list(command)))
    elif what == "send":
        print("answered" if answered(Path(file).read_bytes(), address, int(port), source) else "not answered")
    else:
        print("resumed" if replay(Path(file).read_bytes(), address, int(port), source) else "refused")
