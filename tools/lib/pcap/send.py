# SPDX-License-Identifier: Apache-2.0
"""Sends bytes over TCP in pieces of one size: run inside the stage's network, the bytes as hex on stdin.

    send.py ADDRESS PORT SIZE
"""

import fcntl
import socket
import struct
import sys
import time

SIOCOUTQ = 0x5411  # bytes not acknowledged yet, tcp(7)


def all_acknowledged(wire: socket.socket) -> None:
    """What waits to be sent would go in one segment with the next piece."""
    deadline = time.monotonic() + 2
    while struct.unpack("i", fcntl.ioctl(wire, SIOCOUTQ, bytes(4)))[0] and time.monotonic() < deadline:
        time.sleep(0.0001)


def main(address: str, port: str, size: str) -> None:
    stream, piece = bytes.fromhex(sys.stdin.read()), int(size)
    with socket.create_connection((address, int(port)), timeout=10) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at in range(0, len(stream), piece):
                wire.sendall(stream[at:at + piece])
                all_acknowledged(wire)
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(1 << 16):
                pass
        except ConnectionError:  # the server did not like it, and did not wait for the end
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
