# SPDX-License-Identifier: Apache-2.0
"""The lab as the end-to-end tests see it: its commands, its processes, and Keyrail's own account of itself."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.shell import ToolError
from lab import namespaces, readiness
from lab.plan import CLIENT, CONFIG, DISPATCH, FRONT4, Options, log_directory, namespace

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tools/lab"


def eventually(condition: Callable[[], Any], seconds: float = 10, what: str = "") -> Any:
    """The first true result; an AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.05)


def lab(*words: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """tools/lab, as people run it."""
    done = subprocess.run([str(LAB), *words], capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"tools/lab {' '.join(words)}: {done.stdout}{done.stderr}"
    return done


def gateway_mac() -> str:
    """The dispatcher's, as the client's kernel knows it."""
    namespaces.in_host(CLIENT, ["ping", "-c", "1", "-W", "2", FRONT4], check=False)
    words = namespaces.in_host(CLIENT, ["ip", "neighbour", "show", FRONT4, "dev", "c0"]).split()
    return words[words.index("lladdr") + 1]


@dataclass(frozen=True)
class Chassis:
    """A lab that is up with these options."""

    options: Options

    @staticmethod
    def up(options: Options) -> "Chassis":
        words = ["up", "--no-build", "--blades", str(options.blades), "--server", options.server, "--cert",
                 options.cert, "--bind", options.bind, "--no-accept", str(options.no_accept), "--store", str(options.store_mb),
                 "--releases", options.releases, *(["--plain"] if options.plain else []), *(["--no-hooks"] if options.no_hooks else [])]
        lab(*words)
        return Chassis(options)

    # --- Keyrail's own account -------------------------------------------------------------------------------

    def keyrail(self, *words: str) -> Any:
        """The operator's command with --json."""
        return readiness.keyrail_json(*words)

    def stats(self) -> "Stats":
        return Stats(self.keyrail("stats"))

    def quiet_stats(self) -> "Stats":
        """Counters between packets: each worker's counters add up at such a moment."""
        return eventually(lambda: (stats := self.stats()).conserved and stats, 5, "conserved counters")

    def account(self) -> dict[str, Any]:
        """For a failed test: what the dispatcher did, and how the blades are."""
        try:
            raw = self.stats().raw
            return {"reasons": {name: count for name, count in raw["reasons"].items() if count}, "moves": raw["moves"],
                    "blades": self.blade_states(), "log": self._last_words()}
        except (ToolError, OSError) as error:  # keyraild may be dead
            return {"no account": str(error)}

    def _last_words(self) -> list[str]:
        """keyraild's, of moves, and who changed what."""
        lines = (log_directory(DISPATCH) / "keyraild.log").read_text(errors="replace").splitlines()
        return [line for line in lines if " moves: " in line or " (by " in line][-12:]

    def holder(self, name: str) -> str:
        """The blade that has the session, by `keyrail session where`."""
        return f"blade{self.keyrail('session', 'where', name)['holder']}"

    @contextmanager
    def drained(self, blade: str, *options: str) -> Iterator[None]:
        number = blade.removeprefix("blade")
        self.keyrail("blade", "drain", number, *options)
        try:
            yield
        finally:
            self.keyrail("blade", "resume", number)

    @contextmanager
    def configured(self, change: Callable[[str], str]) -> Iterator[None]:
        """keyraild with another configuration, and back; each time until the dispatcher has it."""
        good = CONFIG.read_text()
        assert change(good) != good
        try:
            self._configure(change(good))
            yield
        finally:
            self._configure(good)

    def _configure(self, text: str) -> None:
        before = self.keyrail("status")["snapshot_generation"]
        CONFIG.write_text(text)
        self.keyrail("config", "reload", "--yes")
        eventually(lambda: self.keyrail("status")["dataplane"].get("snapshot_generation", 0) > before, 5, "a new snapshot")

    def blade_states(self) -> dict[str, str]:
        return {f"blade{blade['id']}": blade["state"] for blade in self.keyrail("blade", "list")}

    def wait_for_states(self, state: str = "up", seconds: float = 15) -> None:
        eventually(lambda: all(now == state for now in self.blade_states().values()), seconds,
                   f"all blades {state}")

    def agents_connected(self) -> bool:
        return all(blade["agent"]["connected"] for blade in self.keyrail("blade", "list"))

    # --- its processes -----------------------------------------------------------------------------------------

    def pid(self, host: str, name: str) -> int:
        processes = json.loads(lab("status", "--json", check=False).stdout)["processes"]
        return next(entry["pid"] for entry in processes if (entry["host"], entry["name"]) == (host, name))

    def log(self, host: str, name: str) -> str:
        return Path(f"/run/keyrail-lab/{host}/log/{name}.log").read_text(errors="replace")

    @contextmanager
    def killed(self, host: str, name: str) -> Iterator[None]:
        """kill -9 of the process, and of the workers that it has; started again at the end."""
        try:
            pid = self.pid(host, name)
            victims = [pid] + [child for child in namespaces.processes_in(namespace(host))
                               if child != pid and _comm(child) == _comm(pid)]
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            yield
        finally:
            lab("restart", host, name)

    @contextmanager
    def paused(self, host: str, name: str) -> Iterator[None]:
        """It hangs, as a process that is stopped does."""
        pid = self.pid(host, name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def cpu_share(self, host: str, name: str, seconds: float) -> float:
        """Share of one core that the process uses while we wait."""
        pid = self.pid(host, name)
        before = _cpu_ns(pid)
        time.sleep(seconds)
        return (_cpu_ns(pid) - before) / seconds / 1e9


@dataclass(frozen=True)
class Stats:
    """`keyrail stats --json`."""

    raw: dict[str, Any]

    def counter(self, name: str) -> int:
        """Sum over the workers."""
        return sum(worker["counters"].get(name, 0) for worker in self.raw["workers"])

    @property
    def moves(self) -> dict[str, int]:
        return self.raw["moves"]

    @property
    def conserved(self) -> bool:
        """As Keyrail says, and as we add it up ourselves."""
        drops = sum(value for worker in self.raw["workers"] for name, value in worker["counters"].items()
                    if name.startswith("drop_"))
        ours = self.counter("rx") == self.counter("tx") + self.counter("punt") + self.counter("held") + drops
        return ours and bool(self.raw["conserved"])


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _cpu_ns(pid: int) -> int:
    """All threads of a process; the scheduler's own account, in nanoseconds."""
    return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
