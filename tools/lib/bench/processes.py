# SPDX-License-Identifier: Apache-2.0
"""Processes of a bench, and network namespaces without a name: they end with the bench, even with a killed one."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from common.shell import ToolError, run, tail
from lab.namespaces import wait_until

GRACE_SECONDS = 20
_commands: dict[str, None] = {}  # in their order, each once
PASSING = re.compile(r"(?<=/proc/)\d+|/tmp/keyrail-bench-\w+")  # names that are others in each run


def note(command: Sequence[str | Path]) -> None:
    """For the report: the command lines of this run."""
    _commands[PASSING.sub(".", shlex.join(map(str, command)))] = None


def commands() -> list[str]:
    return list(_commands)


class Child:
    """A process in the background, its output in a log file."""

    def __init__(self, command: Sequence[str | Path], log: Path, *, stdin: int = subprocess.DEVNULL,
                 stdout: int | None = None, environment: Mapping[str, str] | None = None) -> None:
        note(command)
        self.command = [str(word) for word in command]
        self.name = log.stem
        self.log = log
        with log.open("ab") as file:
            # The kernel ends it when we die, whatever we die of.
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *self.command], stdin=stdin,
                                            stdout=file if stdout is None else stdout, stderr=file,
                                            env={**os.environ, **(environment or {})})

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Until the condition holds; an error if the process ends before, or the time."""
        good = wait_until(lambda: not self.alive or condition(), seconds, every=0.02)
        if not self.alive:
            raise ToolError(f"{self.name} has ended; its last words ({' '.join(self.command)}):\n{self.last_words()}")
        if not good:
            raise ToolError(f"{self.name}: not {what} after {seconds:.0f} s; its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        return tail(self.log.read_text(errors="replace")) or "    (its log is empty)"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.alive:
            self.process.send_signal(how)
        if self.process.stdin:
            with suppress(BrokenPipeError):  # it is gone
                self.process.stdin.close()
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class Network:
    """A network namespace that lives as long as the process that holds it, and those inside."""

    def __init__(self, scratch: Path) -> None:
        self._holder = Child(["unshare", "--net", "sleep", "infinity"], scratch / "network.log")
        ours = Path("/proc/self/ns/net").readlink()
        self._holder.wait_for(lambda: self.path.readlink() != ours, 5, "in a network of its own")

    @property
    def pid(self) -> int:
        """For `ip link ... netns PID`."""
        return self._holder.process.pid

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    def inside(self, *command: str | Path) -> list[str]:
        """The same command, run in this network."""
        return ["nsenter", f"--net={self.path}", "--", *map(str, command)]

    def stop(self) -> None:
        self._holder.stop(signal.SIGKILL)


def measured(command: Sequence[str | Path], **how: object) -> "subprocess.CompletedProcess[str]":
    """A program that runs to its end; its command line goes into the report."""
    note(command)
    return run(command, **how)  # type: ignore[arg-type]
