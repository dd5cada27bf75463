# SPDX-License-Identifier: Apache-2.0
"""A client whose numbers a test chooses: sequence numbers, timestamps, cookies, guesses."""

import random
import socket
import struct

from accept_lab import PORT, Lab
from cookie_dispatcher import ACK, SYN, Segment, checksum
from tls_server import eventually

FIN, PSH = 1, 8


def in_time_wait(lab: Lab, port: int) -> bool:
    return bool(lab.on("blade", "ss", "-Htn", "state", "time-wait", f"sport = :{PORT} and dport = :{port}").stdout)


class Crafted:
    """A client whose numbers we choose, behind the dispatcher; the real client's kernel knows nothing of it."""

    def __init__(self, lab: Lab, vip: str, port: int, isn: int | None = None, stamps: int | None = None) -> None:
        self.lab, self.vip, self.port = lab, vip, port
        self.family = socket.AF_INET6 if ":" in vip else socket.AF_INET
        self.source = socket.inet_pton(self.family, "2001:db8:1::99" if ":" in vip else "192.0.2.99")
        self.destination = socket.inet_pton(self.family, vip)
        self.isn = random.getrandbits(32) if isn is None else isn
        self.stamps = stamps  # its clock; None: no timestamps
        self.answers: list[Segment] = []
        lab.dispatcher.returned = self._note
        options = bytes([2, 4, 5, 180]) + (b"" if stamps is None else b"\x01\x01" + struct.pack("!BBII", 8, 10, stamps, 0))
        isn_there, given = lab.dispatcher.cookies.answer(Segment(bytes(12) + self._kind() + self._packet(SYN, self.isn, 0, options, b"")))
        self.seq, self.ack = self.isn + 1, isn_there + 1
        at = given.find(b"\x08\x0a")
        self.echo = None if stamps is None else struct.unpack("!I", given[at + 2:at + 6])[0]

    def _kind(self) -> bytes:
        return b"\x86\xdd" if self.family == socket.AF_INET6 else b"\x08\x00"

    def _note(self, segment: Segment) -> bool:
        if segment.dport != self.port:
            return True
        self.answers.append(segment)
        return False

    def _packet(self, flags: int, seq: int, ack: int, options: bytes, data: bytes) -> bytes:
        tcp = struct.pack("!HHIIBBHHH", self.port, PORT, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (20 + len(options)) // 4 << 4, flags,
                          60000, 0, 0) + options + data
        pseudo = self.source + self.destination + struct.pack("!IHBB", len(tcp), 0, 0, 6)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        if self.family == socket.AF_INET6:
            return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + self.source + self.destination + tcp
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + self.source + self.destination
        return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp

    def send(self, data: bytes, flags: int = ACK | PSH) -> None:
        options = b"" if self.stamps is None else b"\x01\x01" + struct.pack("!BBII", 8, 10, self.stamps, self.echo)
        self.lab.dispatcher.to_blade(self._packet(flags, self.seq, self.ack, options, data))

    def send_syn(self) -> None:
        """To the blade itself."""
        self.lab.dispatcher.to_blade(self._packet(SYN, self.isn, 0, bytes([2, 4, 5, 180]), b""))

    def heard(self, what: str) -> None:
        """Waits until the blade has sent data for this connection, and closed it."""
        eventually(lambda: any(s.data and s.seq == self.ack for s in self.answers), what)

    def finish(self) -> None:
        """Acknowledges all and closes: the blade has it in TIME_WAIT."""
        fin = eventually(lambda: next((s for s in self.answers if s.flags & FIN), None), "the server closed")
        self.seq, self.ack = fin.ack, fin.seq + len(fin.data) + 1
        if self.stamps is not None:
            self.echo = struct.unpack("!I", fin.option(8)[:4])[0]
        self.send(b"", ACK | FIN)
        eventually(lambda: in_time_wait(self.lab, self.port), "TIME_WAIT")
