# SPDX-License-Identifier: Apache-2.0
"""TLS over a socket whose every byte is ours: hellos that come in halves, ends that close one direction only."""

import socket
import ssl
import time

CHUNK = 65536


class Closed(Exception):
    """The other end has closed the connection: in an orderly way, or by a reset."""

    def __init__(self, what: object, orderly: bool = True) -> None:
        super().__init__(str(what))
        self.orderly = orderly


class Tls:
    """A connection. `half_hello`: so many seconds pass in the middle of the ClientHello."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None,
                 half_hello: float = 0) -> None:
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self._half_hello = half_hello
        self._refused: OSError | None = None
        while not self._step(self.tls.do_handshake)[0]:
            pass

    def _step(self, action: object, *arguments: object) -> tuple[bool, object]:
        """One try; what it has to say is sent, what it waits for is read."""
        try:
            result = action(*arguments)  # type: ignore[operator]
        except ssl.SSLWantReadError:
            self._flush()
            self._read()
            return False, None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
            raise Closed(error) from error
        self._flush()
        return True, result

    def _flush(self) -> None:
        data = self._out.read()
        if not data:
            return
        try:
            if self._half_hello:
                middle, pause, self._half_hello = len(data) // 2, self._half_hello, 0
                self.sock.sendall(data[:middle])
                time.sleep(pause)
                data = data[middle:]
            self.sock.sendall(data)
        except (ConnectionResetError, BrokenPipeError) as error:
            self._refused = error  # what came before is still to be read: mostly that the other end closes

    def _read(self) -> None:
        try:
            data = self.sock.recv(CHUNK)
        except ConnectionResetError as error:
            raise Closed(error, orderly=False) from error
        if not data:
            raise Closed(self._refused or "closed", orderly=self._refused is None)
        self._in.write(data)

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), CHUNK):
            while not self._step(self.tls.write, data[at:at + CHUNK])[0]:
                pass

    def receive(self) -> bytes:
        while True:
            done, data = self._step(self.tls.read, CHUNK)
            if done:
                if not data:
                    raise Closed("closed")
                return data  # type: ignore[return-value]

    def end_sending(self) -> None:
        """FIN: whoever is behind may still answer."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    @property
    def session(self) -> ssl.SSLSession | None:
        return self.tls.session
