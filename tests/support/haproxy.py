# SPDX-License-Identifier: Apache-2.0
"""The blades' HAProxy with something behind it; as it was, afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.plan import blades, directory
from lab.servers import haproxy_with_backend
from support.chassis import Chassis, lab


@contextmanager
def haproxy_with(chassis: Chassis, path: str, port: int) -> Iterator[None]:
    good: dict[Path, str] = {}
    try:
        for blade in blades(chassis.options):
            file = directory(blade.host) / "haproxy.cfg"
            good[file] = file.read_text()
            file.write_text(haproxy_with_backend(good[file], blade.host, path, port))
            lab("restart", blade.host, "haproxy")
        chassis.wait_for_states("up")
        yield
    finally:
        for file, text in good.items():
            file.write_text(text)
            lab("restart", file.parent.name, "haproxy")
