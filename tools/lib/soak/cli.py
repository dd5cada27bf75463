# SPDX-License-Identifier: Apache-2.0
"""tools/soak: mixed load and a random operator, and what came of it."""

import argparse
import contextlib
import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.say import say
from common.shell import ToolError
from lab import lifecycle
from lab.namespaces import enter
from lab.plan import BINDINGS, CLIENT, PORT, SERVER_NAME, VIP4, VIP6, WEB_CA, Options, blades
from lab.servers import BIG_FILE
from soak.judge import Outcome, failures
from soak.operations import OPERATIONS, wait_until_whole

HERE = Path(__file__).parent
PYTHON = ["/usr/bin/python3", "-B", "-u"]
ECHO_PORT = "8082"
END = 120  # seconds that the last connections get
SHOWN = 20


class Load:
    """A load process in the client's network, and what it has told."""

    def __init__(self, addresses: list[str], clients: int, seed: int, kinds: list[str] | None = None) -> None:
        given = {"addresses": addresses, "clients": clients, "seed": seed, "port": PORT, "name": SERVER_NAME,
                 "ca": str(WEB_CA), "file": str(BIG_FILE), **({"kinds": kinds} if kinds else {})}
        self.outcomes: list[Outcome] = []
        self._process = subprocess.Popen([*enter(CLIENT), *PYTHON, str(HERE / "load.py"), json.dumps(given)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.outcomes.append(Outcome(**json.loads(line)))

    def end(self) -> None:
        """Nothing new begins; what is under way comes to its end."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            if self._process.wait(END) != 0:
                raise ToolError("the load has ended with an error")
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"connections hang: the load has not ended {END} s after its last one began") from error
        finally:
            self._process.kill()
            self._reader.join()


@contextlib.contextmanager
def echoes(options: Options) -> Iterator[None]:
    """What answers WebSockets behind each blade's server."""
    servers = [subprocess.Popen([*enter(blade.host), *PYTHON, str(HERE / "echo.py"), ECHO_PORT],
                                stdout=subprocess.PIPE, text=True) for blade in blades(options)]
    try:
        for server in servers:
            if not server.stdout or server.stdout.readline() != "ready\n":
                raise ToolError(f"nothing answers behind the servers: port {ECHO_PORT} of a blade is taken")
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()


def operate(seconds: float, seed: int, options: Options, names: list[str]) -> list[tuple[float, str]]:
    """Until the time is over; what was done, and when."""
    chance, log = random.Random(seed), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(1, 4))
        name, blade = chance.choice(names), chance.choice(blades(options)).host
        say(f"{name} ({blade})")
        log.append((time.time(), f"{name} ({blade})"))
        OPERATIONS[name](chance, blade)
        wait_until_whole()
    return log


def report(outcomes: list[Outcome], native: list[Outcome], log: list[tuple[float, str]]) -> int:
    ours, natural = failures(outcomes, native)
    begun = Counter(outcome.kind for outcome in outcomes)
    failed = Counter(outcome.kind for outcome in ours)
    for kind in sorted(begun):
        print(f"{kind:12} {begun[kind]:6} connections, {failed[kind]} failed")
    print(f"{len(outcomes)} connections, {len(ours)} failed; {natural} broke with their server, as they do without "
          f"Keyrail; {len(native)} straight to a blade; {len(log)} operations")
    for outcome in ours[:SHOWN]:
        before = [what for when, what in log if when < outcome.end][-1:] or ["nothing yet"]
        print(f"  {outcome.kind} to {outcome.address} (TLS {outcome.version}), {outcome.end - outcome.begin:.1f} s, "
              f"{outcome.answers} answers of {outcome.blade or 'nobody'}: {outcome.error}; after: {before[0]}")
    if len(ours) > SHOWN:
        print(f"  and {len(ours) - SHOWN} more")
    return 1 if ours or not outcomes else 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/soak", description=__doc__)
    top.add_argument("--minutes", type=float, default=30, help="how long (default 30)")
    top.add_argument("--seed", type=int, help="of everything that is chosen by chance (default: a new one, which is said)")
    top.add_argument("--clients", type=int, default=24, help="at once (default 24)")
    top.add_argument("--bind", choices=BINDINGS, default=BINDINGS[0], help="as tools/lab up")
    top.add_argument("--only", choices=tuple(OPERATIONS), action="append", metavar="OPERATION",
                     help=f"only this; may be given again. One of: {'; '.join(OPERATIONS)}")
    top.add_argument("--no-build", action="store_true", help="take what is built as it is")
    return top


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 31)
    options = Options(bind=arguments.bind)
    lifecycle.up(options, fresh=not arguments.no_build)
    wait_until_whole()
    say(f"seed {seed}; the same again: tools/soak --minutes {arguments.minutes:g} --seed {seed}")
    with echoes(options):
        load = Load([VIP4, VIP6], arguments.clients, seed)
        native = Load([blade.address4 for blade in blades(options)], 3 * options.blades, seed, ["websocket"])
        try:
            log = operate(arguments.minutes * 60, seed, options, arguments.only or list(OPERATIONS))
        finally:
            for one in (load, native):
                one.end()
    return report(load.outcomes, native.outcomes, log)
