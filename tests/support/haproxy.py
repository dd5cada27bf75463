# SPDX-License-Identifier: Apache-2.0
"""The blades' HAProxy with something behind it, and with the patience that this needs; as it was, afterwards."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.plan import blades, directory
from support.chassis import Chassis, lab


def with_backend(text: str, path: str, port: int) -> str:
    """The lab's configuration, but what is asked for at `path` comes from this port."""
    text = re.sub(r"timeout (client|server) 30s", r"timeout \1 300s", text)
    text = re.sub(r"( +http-request return .*?)( if \{ ssl_fc_is_resumed \})?$",
                  lambda found: f"{found[1]}{found[2] or ' if'} !{{ path {path} }}", text, flags=re.MULTILINE)
    return (f"{text}    use_backend behind if {{ path {path} }}\n\nbackend behind\n    timeout tunnel 300s\n"
            f"    http-response set-header X-Blade @BLADE@\n    server behind 127.0.0.1:{port}\n")


@contextmanager
def haproxy_with(chassis: Chassis, path: str, port: int) -> Iterator[None]:
    good: dict[Path, str] = {}
    try:
        for blade in blades(chassis.options):
            file = directory(blade.host) / "haproxy.cfg"
            good[file] = file.read_text()
            file.write_text(with_backend(good[file], path, port).replace("@BLADE@", blade.host))
            lab("restart", blade.host, "haproxy")
        chassis.wait_for_states("up")
        yield
    finally:
        for file, text in good.items():
            file.write_text(text)
            lab("restart", file.parent.name, "haproxy")
