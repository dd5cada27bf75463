# SPDX-License-Identifier: Apache-2.0
"""tools/loadgen as a bench uses it: clients and blades of one device under test, and a look at whether all went well."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import dispatcher
from bench.processes import Child, Network
from common import hugepages
from common.shell import ToolError

PROGRAM = "tools/lib/loadgen/keyrail-loadgen"  # Meson target
MEGABYTES = 256
TWO_SEGMENTS, ONE_SEGMENT = "X25519MLKEM768", "X25519"  # what hellos take with these key shares
DRAIN_SECONDS = 6  # until it has given up the last connection
WRONG = ("wrong_blade", "split", "unreadable", "no_memory")  # must be 0, whatever else is the matter


@dataclass(frozen=True)
class Load:
    front: str  # device strings
    back: str
    front_mac: str = dispatcher.blade_mac(1)  # whom clients send to; blade 1: nobody is between
    back_mac: str = dispatcher.CLIENT_MAC
    bind: str = "late"
    affinity: str = ""  # loadgen's own choice
    blades: int = 3
    tls: str = "1.3"
    key_share: str = TWO_SEGMENTS  # of TLS 1.3 hellos
    connections: int = 256  # at once
    clients: int = 65536
    rate: float = 0  # connections per second; 0: closed loop
    warm_up: float = 1
    seconds: float = 2
    core: int = 1


def command(program: Path, load: Load, report: Path) -> list[str | Path]:
    return [program, "--front", load.front, "--back", load.back, "--front-mac", load.front_mac, "--back-mac", load.back_mac,
            "--service", f"{dispatcher.VIP}:{dispatcher.PORT}", "--bind", load.bind,
            *(["--affinity", load.affinity] if load.affinity else []), "--blades", str(load.blades), "--tls", load.tls, "--key-share", load.key_share,
            "--name-key", dispatcher.NAME_KEY.hex(), "--name-generation", str(dispatcher.NAME_GENERATION),
            "--connections", str(load.connections), "--clients", str(load.clients),
            *(["--rate", str(load.rate)] if load.rate else []), "--warm-up", str(load.warm_up), "--seconds",
            str(load.seconds), "--core", str(load.core), "--megabytes", str(MEGABYTES), "--json", report, "--stay"]


class Loadgen:
    """Runs by itself; made by running(). Its links stay up until it is left."""

    def __init__(self, process: Child, load: Load, file: Path) -> None:
        self.process, self._load, self._file = process, load, file

    def report(self) -> dict:
        """When it is done. An error if a connection came to a wrong blade, or is in no counter."""
        seconds = self._load.warm_up + self._load.seconds + DRAIN_SECONDS + 30
        self.process.wait_for(self._written, seconds, "done with its load")
        report = json.loads(self._file.read_text())
        ended = report["completed"] + report["failed"] + report["unfinished"]
        wrong = {name: report[name] for name in WRONG if report[name]}
        if wrong or report["started"] != ended or not report["completed"]:
            raise ToolError(f"keyrail-loadgen: {report['started']} connections started, {ended} ended, "
                            f"{report['completed']} completed; {wrong}; its last words:\n"
                            f"{self.process.last_words()}")
        return report

    def _written(self) -> bool:
        try:
            return bool(json.loads(self._file.read_text()))
        except (FileNotFoundError, json.JSONDecodeError):
            return False  # not yet, or not all of it


@contextmanager
def running(program: Path, load: Load, scratch: Path, network: Network | None = None) -> Iterator[Loadgen]:
    """In `network`, where a veth's ends may be waiting for it, or in ours."""
    report = scratch / "loadgen.json"
    report.unlink(missing_ok=True)
    pages = hugepages.add(MEGABYTES)
    try:
        words = command(program, load, report)
        process = Child(network.inside(*words) if network else words, scratch / "loadgen.log", stdin=subprocess.PIPE)
        try:
            yield Loadgen(process, load, report)
        finally:
            process.stop()
    finally:
        hugepages.give_back(pages)
