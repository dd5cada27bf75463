# SPDX-License-Identifier: Apache-2.0
"""The kinds of connection that the load is made of. Each is what real clients do; each checks every byte it gets."""

import os
import random
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tls import Closed, Tls

STALL = 20.0  # seconds without a byte: it hangs


@dataclass
class World:
    """What every client knows."""

    addresses: list[str]
    port: int
    name: str
    ca: str
    big_file: Path
    seed: int
    files: bool
    half_closed_files: bool
    sessions: dict[tuple[str, str], ssl.SSLSession] = field(default_factory=dict)
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    ports: dict[int, float] = field(default_factory=dict)  # source port -> when its connection ended

    def __post_init__(self) -> None:
        for version, value in (("1.2", ssl.TLSVersion.TLSv1_2), ("1.3", ssl.TLSVersion.TLSv1_3)):
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = context.maximum_version = value
            self.contexts[version] = context


@dataclass
class Visit:
    """One connection, as far as it has come."""

    world: World
    random: random.Random
    address: str
    version: str
    port: int = 0  # ours
    connected: bool = False
    blade: str = ""  # who has answered on it
    answers: int = 0

    def tcp(self, mss: int = 0, source_port: int = 0) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        sock.settimeout(STALL)
        if mss:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", source_port))
        try:
            sock.connect((self.address, self.world.port))
        except OSError:
            sock.close()
            raise
        self.port, self.connected = sock.getsockname()[1], True
        return sock

    def tls(self, sock: socket.socket, half_hello: float = 0) -> Tls:
        key = (self.address, self.version)
        session = self.world.sessions.get(key) if self.random.random() < 0.8 else None
        return Tls(sock, self.world.contexts[self.version], self.world.name, session, half_hello)

    def ask(self, tls: Tls, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.world.name}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        tls.send("\r\n".join([*lines, "", ""]).encode() + body)

    def answer(self, tls: Tls, pace: float = 0) -> tuple[int, bytes]:
        """Status and body; `pace`: bytes a second at most."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += tls.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.blade = fields.get("x-blade", self.blade)
        length, begin, parts, size = int(fields.get("content-length", 0)), time.monotonic(), [body], len(body)
        while size < length:
            parts.append(tls.receive())
            size += len(parts[-1])
            if pace and (ahead := size / pace - (time.monotonic() - begin)) > 0.02:
                time.sleep(ahead)
        self.answers += 1
        if tls.session:
            self.world.sessions[self.address, self.version] = tls.session
        return int(lines[0].split()[1]), b"".join(parts)

    def expect(self, tls: Tls, status: int = 200) -> bytes:
        got, body = self.answer(tls)
        assert got == status, f"status {got}"
        return body


def part_of_file(visit: Visit, tls: Tls, most: int, *fields: str, pace: float = 0, half_close: bool = False) -> None:
    """Or what else there is, from a server without files."""
    if not visit.world.files:
        visit.ask(tls, "/", *fields)
        visit.expect(tls)
        return
    size = visit.random.randrange(1000, most)
    begin = visit.random.randrange(0, visit.world.big_file.stat().st_size - size)
    visit.ask(tls, f"/{visit.world.big_file.name}", f"Range: bytes={begin}-{begin + size - 1}", *fields)
    if half_close:
        tls.end_sending()
    status, body = visit.answer(tls, pace)
    assert status == 206, f"status {status}"
    with visit.world.big_file.open("rb") as file:
        file.seek(begin)
        assert body == file.read(size), "other bytes than were sent"


def download(visit: Visit) -> None:
    tls = visit.tls(visit.tcp())
    part_of_file(visit, tls, 8_000_000, "Connection: close", pace=visit.random.choice((0, 400_000, 2_000_000)))
    tls.close()


def upload(visit: Visit) -> None:
    tls = visit.tls(visit.tcp())
    path = f"/upload/soak-{visit.random.randrange(20)}"
    visit.ask(tls, path, method="PUT", body=os.urandom(visit.random.randrange(1000, 2_000_000)))
    status, _ = visit.answer(tls)
    assert status in (201, 204), f"status {status}"
    tls.close()


def keep_alive(visit: Visit) -> None:
    tls = visit.tls(visit.tcp())
    for number in range(visit.random.randrange(2, 10)):
        try:
            visit.ask(tls, "/")
            visit.expect(tls)
        except Closed as closed:
            if number == 0 or not closed.orderly:
                raise
            return  # an idle connection may be closed (RFC 9112 section 9.3): the client takes another one
        time.sleep(visit.random.random() * 2)
    tls.close()


def websocket(visit: Visit) -> None:
    tls = visit.tls(visit.tcp())
    visit.ask(tls, "/echo", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    data = b""
    while b"\r\n\r\n" not in data:
        data += tls.receive()
    assert data.startswith(b"HTTP/1.1 101"), data[:40]
    visit.blade = next(line.split(b":")[1].strip().decode() for line in data.split(b"\r\n") if line.lower().startswith(b"x-blade"))
    visit.answers += 1
    for number in range(visit.random.randrange(3, 10)):
        word = f"{visit.world.seed} {number}\n".encode()
        tls.send(word)
        data = b""
        while len(data) < len(word):
            data += tls.receive()
        assert data == word, data
        time.sleep(visit.random.random() * 2)
    tls.close()


def half_close(visit: Visit) -> None:
    """It asks, says FIN, and hears the answer. nginx gives up what it cannot send at once then, so it is asked for little."""
    tls = visit.tls(visit.tcp())
    if visit.world.half_closed_files:
        part_of_file(visit, tls, 400_000, "Connection: close", half_close=True)
    else:
        visit.ask(tls, "/", "Connection: close")
        tls.end_sending()
        visit.expect(tls)
    tls.close()


def small_mss(visit: Visit) -> None:
    tls = visit.tls(visit.tcp(mss=visit.random.choice((216, 536, 900, 1220))))
    part_of_file(visit, tls, 100_000, "Connection: close")
    tls.close()


def half_hello(visit: Visit) -> None:
    tls = visit.tls(visit.tcp(), half_hello=visit.random.choice((0.02, 0.2, 1.0)))
    part_of_file(visit, tls, 50_000, "Connection: close")
    tls.close()


def thinking(visit: Visit) -> None:
    """SYN-ACKed, and then silent for a while; for longer the lab's nginx would not wait, either (3 s)."""
    sock = visit.tcp()
    time.sleep(visit.random.choice((0.1, 1, 2)))
    tls = visit.tls(sock)
    part_of_file(visit, tls, 50_000, "Connection: close")
    tls.close()


def port_reuse(visit: Visit) -> None:
    """A source port of 20 to 130 s ago; the server closed first, so its kernel may have it in TIME_WAIT."""
    now = time.monotonic()
    old = [port for port, ended in visit.world.ports.items() if 20 < now - ended < 130]
    port = visit.random.choice(old) if old else visit.random.randrange(20000, 20200)
    if visit.world.ports.pop(port, None) is None and old:
        return
    tls = visit.tls(visit.tcp(source_port=port))
    part_of_file(visit, tls, 20_000, "Connection: close")
    try:
        tls.receive()
    except Closed:
        pass
    tls.close()
    visit.world.ports[port] = time.monotonic()


def http2(visit: Visit) -> None:
    host = f"[{visit.address}]" if ":" in visit.address else visit.address
    urls = [f"https://{visit.world.name}:{visit.world.port}/"] * visit.random.randrange(1, 6)
    done = subprocess.run(
        ["curl", "-sS", "--http2", "--max-time", str(STALL), "--cacert", visit.world.ca, "--resolve",
         f"{visit.world.name}:{visit.world.port}:{host}", "-D", "-", "-o", "/dev/null",
         f"--tlsv{visit.version}", "--tls-max", visit.version, *urls], capture_output=True, text=True, check=False)
    blades = [line.split(":")[1].strip() for line in done.stdout.splitlines() if line.lower().startswith("x-blade:")]
    visit.blade, visit.answers = (blades[-1] if blades else ""), len(blades)
    assert done.returncode == 0 and len(blades) == len(urls), f"curl: {done.returncode} {done.stderr.strip()}"


KINDS: dict[str, tuple[int, Callable[[Visit], None]]] = {  # how many of each, among all
    "download": (4, download), "upload": (3, upload), "keep-alive": (4, keep_alive), "websocket": (4, websocket),
    "half-close": (2, half_close), "small MSS": (2, small_mss), "half hello": (2, half_hello),
    "thinking": (2, thinking), "port reuse": (3, port_reuse), "HTTP/2": (2, http2)}
