# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: entering them and taking them away.

Commands enter by nsenter: `ip netns exec` would remount /sys and hide the programs pinned under it.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common.shell import run
from lab.plan import HERE, NETNS, PREFIX, namespace

OURS = re.compile(rf"{PREFIX}(client|dispatch|switch|blade\d+)$")


def enter(host: str) -> list[str]:
    """The words to put before a command so that it runs in the host's network."""
    return [] if host == HERE else ["nsenter", f"--net={NETNS / namespace(host)}", "--"]


def in_host(host: str, command: Sequence[str | Path], **how: object) -> str:
    """Runs a command in the host's network and returns its output."""
    return run([*enter(host), *command], **how).stdout  # type: ignore[arg-type]


def existing() -> list[str]:
    """Names of the lab's namespaces that are there now."""
    if not NETNS.is_dir():
        return []
    return sorted(entry.name for entry in NETNS.iterdir() if OURS.match(entry.name))


def processes_in(name: str) -> list[int]:
    return [int(pid) for pid in run(["ip", "netns", "pids", name], check=False).stdout.split()]


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Polls with a deadline; True as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def end_processes(name: str) -> None:
    """Whatever still runs in one of the lab's own namespaces: it would keep the network alive."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes_in(name):
            if pid != os.getpid():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        if wait_until(lambda: not processes_in(name), 3):
            return


def remove_all(with_directory: bool) -> None:
    """Takes all of the lab's namespaces away, and the directory of names if the lab was who made it."""
    for name in existing():
        end_processes(name)
        run(["ip", "netns", "delete", name], check=False)
    if with_directory and NETNS.is_dir() and not any(NETNS.iterdir()):
        run(["umount", NETNS], check=False)
        NETNS.rmdir()
