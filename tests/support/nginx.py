# SPDX-License-Identifier: Apache-2.0
"""The lab's nginx with something else in its configuration, for as long as a test wants that."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.plan import blades, directory
from support.chassis import Chassis, eventually

LAST_DIRECTIVE = "ssl_early_data on;"


def _workers(master: int) -> set[str]:
    return set(Path(f"/proc/{master}/task/{master}/children").read_text().split())


def _reload(masters: list[int]) -> None:
    """Until the workers with the configuration before this one are gone, on every blade."""
    old = {master: _workers(master) for master in masters}
    for master in masters:
        os.kill(master, signal.SIGHUP)
    for master in masters:
        eventually(lambda: (now := _workers(master)) and not now & old[master], 15, f"nginx {master} has reloaded")


@contextmanager
def configured(chassis: Chassis, directive: str) -> Iterator[None]:
    """Every blade's server has one more directive; at the end it is as it was."""
    files = [directory(blade.host) / "nginx.conf" for blade in blades(chassis.options)]
    before = [file.read_text() for file in files]
    masters = [chassis.pid(blade.host, "nginx") for blade in blades(chassis.options)]
    try:
        for file, text in zip(files, before, strict=True):
            assert LAST_DIRECTIVE in text
            file.write_text(text.replace(LAST_DIRECTIVE, f"{LAST_DIRECTIVE} {directive}"))
        _reload(masters)
        yield
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)
        _reload(masters)
