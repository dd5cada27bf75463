# SPDX-License-Identifier: Apache-2.0
"""Processes that stand still for a while: their ports are open, and nobody is there."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def children(pid: int) -> list[int]:
    """Of a server's main process: its workers."""
    return [int(word) for word in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True).stdout.split()]


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
