# SPDX-License-Identifier: Apache-2.0
"""When is the lab up? When a real TLS request through the VIP is answered, on IPv4 and on IPv6.
And when it is not: which part is missing, and what did it last say?"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.say import Progress
from common.shell import ToolError, run
from lab.namespaces import enter, in_host
from lab.plan import (BINARIES, CLIENT, CONTROL_SOCKET, DATAPLANE_SOCKET, DISPATCH, PORT, SERVER_NAME, VIP4, VIP6,
                      WEB_CA, Options, blades)
from lab.processes import Process, ended

DEADLINE = 40.0
LISTENING = "00010000"  # __SO_ACCEPTCON in the flags of /proc/net/unix


@dataclass(frozen=True)
class Answer:
    blade: str = ""
    error: str = ""


def request(host: str, vip: str, seconds: float = 2) -> Answer:
    """One HTTPS request, made in the network of `host`."""
    address = f"[{vip}]" if ":" in vip else vip
    done = run([*enter(host), "curl", "--silent", "--show-error", "--max-time", str(seconds), "--cacert", WEB_CA,
                "--resolve", f"{SERVER_NAME}:{PORT}:{address}", f"https://{SERVER_NAME}/"], check=False)
    if done.returncode == 0 and done.stdout.startswith("blade"):
        return Answer(blade=done.stdout.strip())
    return Answer(error=(done.stderr or f"an answer that is not a blade's: {done.stdout[:60]!r}").strip())


def listens(path: Path) -> bool:
    """Whether a process of the dispatcher listens on this unix socket. Looked up, not tried: keyrail-dp takes
    every new connection for its new control daemon."""
    sockets = in_host(DISPATCH, ["cat", "/proc/net/unix"]).splitlines()
    return any(line.endswith(f" {path}") and line.split()[3] == LISTENING for line in sockets)


def serves(process: Process) -> bool:
    """Whether this very process listens where clients come."""
    return f"pid={process.pid}," in in_host(process.host, ["ss", "-Hltnp", "sport", "=", f":{PORT}"])


def wait_for_socket(process: Process, path: Path) -> None:
    _wait_until_it_listens(process, lambda: listens(path), str(path))


def wait_for_server(process: Process) -> None:
    """Not only for whoever asks it something next: nginx whose parent (this tool) ended before nginx looked who that is
    takes itself for one that was upgraded already, and ignores SIGUSR2 for ever."""
    _wait_until_it_listens(process, lambda: serves(process), f"port {PORT}")


def _wait_until_it_listens(process: Process, listening: Callable[[], bool], where: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not listening():
        if not process.alive:
            raise ended(process)
        if time.monotonic() > deadline:
            raise ToolError(f"{process.name} does not listen on {where} after {seconds:.0f} s. Its last words:\n"
                            f"{process.last_lines()}")
        time.sleep(0.05)


def wait(options: Options, processes: list[Process]) -> None:
    """Returns when both VIPs answer; else a ToolError that says what is missing."""
    progress = Progress("the lab")
    begin = time.monotonic()
    waiting = {VIP4: Answer(), VIP6: Answer()}
    while waiting:
        for process in processes:
            if not process.alive:
                raise ended(process)
        for vip in list(waiting):
            waiting[vip] = request(CLIENT, vip)
            if waiting[vip].blade:
                del waiting[vip]
        if waiting and time.monotonic() - begin > DEADLINE:
            raise ToolError(explain(options, processes, waiting))
        progress.update(f"waiting for an answer from {' and '.join(waiting)}")
        time.sleep(0.1)
    progress.done()


def explain(options: Options, processes: list[Process], waiting: dict[str, Answer]) -> str:
    """What was tried, part by part, from the client to the blades."""
    lines = [f"no answer through the VIP after {DEADLINE:.0f} s:"]
    lines += [f"  client -> {vip}: {answer.error}" for vip, answer in waiting.items()]
    neighbours = run([*enter(CLIENT), "ip", "neighbour", "show", "dev", "c0"], check=False).stdout
    lines += ["  the client's neighbours: " + (", ".join(neighbours.strip().splitlines()) or "none")]
    lines += [f"  {blade.host}, asked at home: {answer.blade or answer.error}"
              for blade in blades(options) for answer in [request(blade.host, VIP4)]]
    lines += [f"  {path.name}: {'somebody listens' if listens(path) else 'nobody listens'}"
              for path in (DATAPLANE_SOCKET, CONTROL_SOCKET)]
    status = keyrail("status", check=False)
    lines += ["  keyrail status: " + status.strip().replace("\n", "\n    ")]
    for process in processes:
        lines += [f"  last words of {process.name} on {process.host}:", process.last_lines(6)]
    return "\n".join(lines)


def keyrail(*words: str, check: bool = True) -> str:
    """The operator's command, as on the dispatcher."""
    done = run([*enter(DISPATCH), BINARIES / "keyrail", "--socket", CONTROL_SOCKET, *words], check=check)
    return done.stdout or done.stderr


def keyrail_json(*words: str) -> object:
    text = keyrail(*words, "--json")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ToolError(f"'keyrail {' '.join(words)} --json' printed no JSON: {text[:200]}") from error
