# SPDX-License-Identifier: Apache-2.0
"""Where captures are made: a network namespace with nothing but a loopback that looks like an Ethernet wire."""

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.shell import ToolError, run
from lab.namespaces import wait_until

NAME = "www.keyrail.test"
ADDRESSES = ("127.0.0.1", "::1")
PORT = 443
SECONDS = 15  # longest that anything here may take


@dataclass(frozen=True)
class Stage:
    """A namespace, and a directory for what the clients keep between connections."""

    namespace: str
    home: Path

    def inside(self, command: Iterable[object]) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *map(str, command)]

    def client(self, *command: object, stdin: str = "") -> str:
        return run(self.inside(command), stdin=stdin, timeout=SECONDS * 2).stdout


@contextmanager
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="keyrail-pcap-") as home, ExitStack() as undo:
        namespace = Path(home).name
        run(["ip", "netns", "add", namespace])
        undo.callback(run, ["ip", "netns", "delete", namespace])
        made = Stage(namespace, Path(home))
        # Frames of a size and shape that a real wire would carry: no segmentation left to the "card".
        made.client("ip", "link", "set", "lo", "up", "mtu", "1500")
        made.client("ethtool", "-K", "lo", "tso", "off", "gso", "off", "gro", "off")
        made.client("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", made.home / "key", "-out", made.home / "certificate", "-days", "30",
                    "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")
        yield made


@contextmanager
def running(command: Sequence[str], cwd: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A process that ends with the block. Its input stays open, for s_server takes the end of it for a good-bye."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def server(on: Stage, options: Sequence[str]) -> Iterator[None]:
    """openssl s_server on both addresses and with the stage's files; it answers one connection after the other."""
    command = ["openssl", "s_server", "-accept", str(PORT), "-key", str(on.home / "key"),
               "-cert", str(on.home / "certificate"), "-quiet", *options]

    def listens() -> bool:
        return bool(on.client("ss", "-Hltn", f"sport = {PORT}"))

    with running(on.inside(command), on.home) as process:
        if not wait_until(lambda: listens() or process.poll() is not None, SECONDS) or process.poll() is not None:
            raise ToolError(f"openssl s_server does not listen: {' '.join(options)}")
        yield


@contextmanager
def capture(on: Stage, device: str, file: Path) -> Iterator[None]:
    """Everything on the wire goes into the file, until the end of the block."""
    command = ["tcpdump", "-i", device, "-Z", "root", "--immediate-mode", "-U", "-w", str(file), f"tcp port {PORT}"]
    with running(on.inside(command)) as process:
        assert process.stdout
        if not any("listening on" in line for line in process.stdout):
            raise ToolError(f"tcpdump could not start on {device}")
        yield
        _wait_for_quiet(file)


def _wait_for_quiet(file: Path) -> None:
    """tcpdump may have frames yet to write: until nothing came for half a second."""
    sizes = [-1]

    def quiet() -> bool:
        sizes.append(file.stat().st_size)
        return sizes[-1] == sizes[-2]

    wait_until(quiet, SECONDS, every=0.5)
