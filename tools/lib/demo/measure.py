# SPDX-License-Identifier: Apache-2.0
"""What handshakes and moves cost, measured in the running lab."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from clients import handshakes
from clients.outcome import run_client
from common.shell import ToolError
from lab import namespaces, readiness
from lab.plan import PORT, SERVER_NAME, VIP4, WEB_CA, Options, blades, namespace

COUNT = 400  # of which the hooks measure one of sixteen, and at least sixteen say what a handshake costs


@dataclass(frozen=True)
class Cost:
    """Of one handshake, in microseconds."""

    client_wall: float  # median, ClientHello to the client's Finished
    server_cpu: float   # mean, all of the server's work for the connection
    resumed: int        # of COUNT


def server_cpu_us(options: Options) -> float:
    """CPU time that the blades' servers have used since they started."""
    total = 0
    for blade in blades(options):
        for pid in namespaces.processes_in(namespace(blade.host)):
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == options.server:
                    total += sum(int(task.joinpath("schedstat").read_text().split()[0])
                                 for task in Path(f"/proc/{pid}/task").iterdir())
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total / 1000


def handshake(options: Options, kind: str, version: str, count: int = COUNT) -> Cost:
    """`kind` is "full" or "resumed"."""
    before = server_cpu_us(options)
    status, text = run_client(["/usr/bin/python3", "-B", handshakes.__file__, kind, version, str(count), VIP4,
                               str(PORT), SERVER_NAME, WEB_CA], timeout=120)
    if status != 0:
        raise ToolError(f"the handshakes could not be measured: {text[-300:]}")
    cpu = (server_cpu_us(options) - before) / (count + 1)
    result = json.loads(text)
    return Cost(statistics.median(result["microseconds"]), cpu, result["resumed"])


def moves() -> dict[str, object]:
    """keyraild's own figures of the moves it ordered."""
    return readiness.keyrail_json("stats").get("moves", {})  # type: ignore[attr-defined,no-any-return]
