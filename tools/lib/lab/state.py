# SPDX-License-Identifier: Apache-2.0
"""What the lab has made and started, on disk after every step, so that `down` works after any crash."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.shell import ToolError
from lab.plan import RUN, Options
from lab.processes import Process

FILE = RUN / "lab.json"
LOCK = Path("/run/lock/keyrail-lab.lock")


@dataclass
class State:
    options: Options
    build: str
    hugepages_added: int = 0
    made_netns_directory: bool = False
    ready: bool = False
    processes: list[Process] = field(default_factory=list)

    def save(self) -> None:
        RUN.mkdir(parents=True, exist_ok=True)
        new = FILE.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=2) + "\n")
        new.replace(FILE)

    def process(self, host: str, name: str) -> Process:
        for process in self.processes:
            if (process.host, process.name) == (host, name):
                return process
        known = ", ".join(f"{process.host} {process.name}" for process in self.processes)
        raise ToolError(f"the lab runs no {name} on {host}; it runs: {known}")


def load() -> State | None:
    """None when no lab was left."""
    try:
        data = json.loads(FILE.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ToolError(f"{FILE} cannot be read ({error}); remove it and run 'tools/lab down'") from error
    data["options"] = Options(**data["options"])
    data["processes"] = [Process(**process) for process in data["processes"]]
    return State(**data)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One `up` or `down` at a time."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # The one before us removed the file while we waited for it: wait for the one that is there now.
        if LOCK.exists() and os.fstat(handle).st_ino == LOCK.stat().st_ino:
            break
        os.close(handle)
    try:
        yield
    finally:
        LOCK.unlink(missing_ok=True)
        os.close(handle)
