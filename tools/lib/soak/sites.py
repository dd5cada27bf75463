# SPDX-License-Identifier: Apache-2.0
"""What each server of the lab can do for the soak, and what is put behind it for that."""

import contextlib
from collections.abc import Iterator

from lab import lifecycle
from lab.plan import Options, blades, directory
from lab.servers import FILES, haproxy_with_backend

ECHO_PORT = 8082
SHORT = ("keep-alive", "half-close", "small MSS", "half hello", "thinking", "port reuse", "HTTP/2")
KINDS = {"nginx": (*SHORT, "download", "upload", "websocket"), "apache": (*SHORT, "download"), "haproxy": (*SHORT, "websocket")}
NATIVE_KINDS = ("download", "websocket", "thinking")
FILES_FROM = ("nginx", "apache")
FILES_TO_HALF_CLOSED = ("apache",)


@contextlib.contextmanager
def prepared(options: Options) -> Iterator[None]:
    """HAProxy gets the echo behind it; nginx has it, Apache has none."""
    if options.server != "haproxy":
        yield
        return
    good = {blade: (directory(blade.host) / FILES["haproxy"]).read_text() for blade in blades(options)}
    try:
        for blade, text in good.items():
            (directory(blade.host) / FILES["haproxy"]).write_text(
                haproxy_with_backend(text, blade.host, "/echo", ECHO_PORT))
            lifecycle.restart(blade.host, "haproxy")
        yield
    finally:
        for blade, text in good.items():
            (directory(blade.host) / FILES["haproxy"]).write_text(text)
            lifecycle.restart(blade.host, "haproxy")
