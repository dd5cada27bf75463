# SPDX-License-Identifier: Apache-2.0
"""DPDK's own testpmd: the generator of the wire benches, and what Keyrail is compared to. Its counters are asked for
over DPDK's telemetry socket."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.processes import Child
from common import hugepages
from common.shell import ToolError
from lab.namespaces import wait_until

MEGABYTES = 256
PATIENCE = 10  # seconds
PAIRED_PORTS = ("--portmask=0xf", "--port-topology=paired")  # 0 <-> 1, 2 <-> 3


def per_second(counter: Callable[[], int], seconds: float) -> float:
    """How fast it grows, over this time, after a third of it to warm up; longer where nothing comes for so long."""
    time.sleep(seconds / 3)
    begin, before = time.monotonic(), counter()
    time.sleep(seconds)
    if not wait_until(lambda: counter() > before, PATIENCE):
        raise ToolError(f"no packet came through in {PATIENCE} s")
    return (counter() - before) / (time.monotonic() - begin)


class Testpmd:
    """Forwards until it is told to pause; made by running()."""

    def __init__(self, process: Child, telemetry: Path, ports: int) -> None:
        self.process, self._ports = process, ports
        process.wait_for(lambda: telemetry.exists() and "testpmd>" in process.log.read_text(), 20, "forwarding")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(5)
        self._socket.connect(str(telemetry))
        self._room = json.loads(self._socket.recv(1024))["max_output_len"]

    def stats(self, port: int) -> dict[str, int]:
        """"ipackets", "opackets", "imissed", ..."""
        return self._ask(f"/ethdev/stats,{port}")

    def wait_linked(self, seconds: float = 20) -> None:
        """Until all its devices have their other ends."""
        self.process.wait_for(lambda: all(self._ask(f"/ethdev/link_status,{port}")["status"] == "UP"
                                          for port in range(self._ports)), seconds, "connected at all ports")

    def received(self, port: int) -> int:
        return self.stats(port)["ipackets"]

    def sent(self, port: int) -> int:
        return self.stats(port)["opackets"]

    def _ask(self, what: str) -> dict:
        self._socket.send(what.encode())
        return next(iter(json.loads(self._socket.recv(self._room)).values()))

    def pause(self) -> None:
        """Sends no more; the links stay."""
        assert self.process.process.stdin
        self.process.process.stdin.write(b"stop\n")
        self.process.process.stdin.flush()
        counters: list[list[dict[str, int]]] = [[]]

        def quiet() -> bool:
            counters.append([self.stats(port) for port in range(self._ports)])
            return counters[-1] == counters[-2]

        self.process.wait_for(quiet, 10, "pausing")

    def close(self) -> None:
        self._socket.close()


@contextmanager
def running(name: str, scratch: Path, devices: Sequence[str], mode: str, core: int,
            options: Sequence[str] = ()) -> Iterator[Testpmd]:
    """`devices` are DPDK's vdev strings, ports 0, 1, ... in their order; `mode` is testpmd's --forward-mode."""
    command = ["dpdk-testpmd", f"--lcores=(0,1)@{core}", "-m", str(MEGABYTES), "--in-memory",
               "--single-file-segments", f"--file-prefix={name}", "--no-pci",
               *(word for device in devices for word in ("--vdev", device)), "--", "-i", "--auto-start",
               "--no-mlockall", "--total-num-mbufs=32768", "--no-flush-rx", f"--forward-mode={mode}", *options]
    with ExitStack() as undo:
        undo.callback(hugepages.give_back, hugepages.add(MEGABYTES))
        process = Child(command, scratch / f"{name}.log", stdin=subprocess.PIPE,
                        environment={"RUNTIME_DIRECTORY": str(scratch)})
        undo.callback(process.stop, signal.SIGINT)
        made = Testpmd(process, scratch / "dpdk" / name / "dpdk_telemetry.v2", len(devices))
        undo.callback(made.close)
        yield made
