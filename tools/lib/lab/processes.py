# SPDX-License-Identifier: Apache-2.0
"""The lab's long-running processes, known by pid and start time, so that a reused pid is never taken for ours."""

import os
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.shell import ToolError, tail
from lab.namespaces import enter, wait_until
from lab.plan import log_directory


@dataclass
class Process:
    host: str
    name: str
    command: list[str]
    pid: int = 0
    start_time: int = 0  # clock ticks after boot, /proc/<pid>/stat

    @property
    def log(self) -> Path:
        return log_directory(self.host) / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self.pid > 0 and start_time(self.pid) == self.start_time

    def last_lines(self, lines: int = 8) -> str:
        try:
            return tail(self.log.read_text(errors="replace"), lines) or "    (its log is empty)"
        except FileNotFoundError:
            return "    (it has no log)"


def start_time(pid: int) -> int | None:
    """None when there is no such process, or all of it has ended and only waits to be reaped. A thread may outlive
    the first one, and hold files and locks, while the kernel takes the process down."""
    try:
        # The command's name may hold spaces and brackets: fields are counted after the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" and int(fields[17]) <= 1 else int(fields[19])


def start(process: Process) -> None:
    """Starts it in its host's network, in a session of its own: it outlives this tool."""
    process.log.parent.mkdir(parents=True, exist_ok=True)
    with process.log.open("ab") as log:
        child = subprocess.Popen([*enter(process.host), *process.command], stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log, start_new_session=True, cwd="/")
    process.pid = child.pid
    began = start_time(child.pid)
    if began is None:
        raise ended(process)
    process.start_time = began


def ended(process: Process) -> ToolError:
    return ToolError(f"{process.name} on {process.host} has ended. Its last words ({process.log}):\n"
                     f"{process.last_lines()}")


def _send(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        if process.alive:
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                pass


def stop(processes: list[Process], grace: float = 5) -> None:
    """Asks first, and kills what has not gone after `grace` seconds."""
    def gone() -> bool:
        return not any(process.alive for process in processes)

    _send(processes, signal.SIGTERM)
    if not wait_until(gone, grace):
        _send(processes, signal.SIGKILL)
        wait_until(gone, 3)
