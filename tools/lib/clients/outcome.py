# SPDX-License-Identifier: Apache-2.0
"""What one TLS connection of a real client came to, and how a client is run in the lab."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.shell import run
from lab.namespaces import enter
from lab.plan import CLIENT, PORT, SERVER_NAME

VERSIONS = ("1.2", "1.3")
REQUEST = f"GET / HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Outcome:
    """`resumed` is true only when client and server agree on it."""

    ok: bool
    resumed: bool = False
    blade: str = ""
    version: str = ""  # "1.2" or "1.3"
    local_port: int = 0
    error: str = ""
    certificate: str = ""  # of the client, as the server knows it: header X-Client, where its configuration says so


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def endpoint(address: str, port: int = PORT) -> str:
    return f"{bracketed(address)}:{port}"


def run_client(command: Sequence[str | Path], stdin: str = "", timeout: float = 60) -> tuple[int, str]:
    """Exit status and everything that it printed."""
    done = run([*enter(CLIENT), *command], check=False, stdin=stdin, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


def header(text: str, name: str) -> str:
    """The value of an HTTP header in a client's output; "" if it is not there."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() == name.lower():
            return value.strip()
    return ""


def resumed(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.resumed for outcome in outcomes)


def where(outcomes: Iterable[Outcome]) -> str:
    """ "blade1 20, blade3 40" """
    counts = Counter(outcome.blade or "no answer" for outcome in outcomes)
    return ", ".join(f"{blade} {count}" for blade, count in sorted(counts.items()))
