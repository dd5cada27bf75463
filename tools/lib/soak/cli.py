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
from common.shell import ToolError, run
from lab import lifecycle
from lab.namespaces import enter
from lab.plan import (BINDINGS, CLIENT, PORT, SERVER_NAME, SERVERS, SWITCH, VIP4, VIP6, WEB_CA, Options, blades, namespace)
from lab.servers import BIG_FILE
from soak.judge import Outcome, ServerEnd, failures
from soak.operations import OPERATIONS, RESTART_SERVER, wait_until_whole
from soak.sites import ECHO_PORT, FILES_FROM, FILES_TO_HALF_CLOSED, KINDS, NATIVE_KINDS, prepared

HERE = Path(__file__).parent
PYTHON = ["/usr/bin/python3", "-B", "-u"]
BESIDE_BLADES = "10.77.0.250"
END = 120  # seconds that the last connections get
SHOWN = 20


class Load:
    """A load process in a host's network, and what it has told."""

    def __init__(self, host: str, addresses: list[str], clients: int, seed: int, kinds: list[str], server: str) -> None:
        given = {"addresses": addresses, "clients": clients, "seed": seed, "port": PORT, "name": SERVER_NAME,
                 "ca": str(WEB_CA), "file": str(BIG_FILE), "kinds": kinds, "files": server in FILES_FROM,
                 "half_closed_files": server in FILES_TO_HALF_CLOSED}
        self.outcomes: list[Outcome] = []
        self._process = subprocess.Popen([*enter(host), *PYTHON, str(HERE / "load.py"), json.dumps(given)],
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
def beside_the_blades() -> Iterator[None]:
    """A place for clients from which nothing of ours is on the way to a blade."""
    ip = ["ip", "-n", namespace(SWITCH), "address"]
    run([*ip, "replace", f"{BESIDE_BLADES}/24", "dev", "br0"])
    try:
        yield
    finally:
        run([*ip, "delete", f"{BESIDE_BLADES}/24", "dev", "br0"], check=False)


@contextlib.contextmanager
def echoes(options: Options) -> Iterator[None]:
    """What answers WebSockets behind each blade's server."""
    servers = [subprocess.Popen([*enter(blade.host), *PYTHON, str(HERE / "echo.py"), str(ECHO_PORT)],
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


@contextlib.contextmanager
def captured(prefix: str | None) -> Iterator[None]:
    """The heads of all packets, before and behind the dispatcher."""
    places = (("client", CLIENT, "c0"), ("blades", SWITCH, "dispatch")) if prefix else ()
    recorders = [subprocess.Popen([*enter(host), "tcpdump", "-i", device, "-s", "128", "-B", "65536", "-w",
                                   f"{prefix}-{name}.pcap"], stderr=subprocess.DEVNULL) for name, host, device in places]
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.terminate()
            recorder.wait()


def operate(seconds: float, seed: int, options: Options, names: list[str]) -> tuple[list[tuple[float, str]], list[ServerEnd]]:
    """Until the time is over; what was done, and when; and which servers it ended."""
    chance, log, ends = random.Random(seed), [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(1, 4))
        name, blade = chance.choice(names), chance.choice(blades(options)).host
        say(f"{name} ({blade})")
        log.append((time.time(), f"{name} ({blade})"))
        begin = time.time()
        OPERATIONS[name](chance, blade)
        if name == RESTART_SERVER:
            ends.append(ServerEnd(blade, begin, time.time()))
        wait_until_whole()
    return log, ends


def report(outcomes: list[Outcome], native: list[Outcome], log: list[tuple[float, str]], ends: list[ServerEnd]) -> int:
    ours, natural = failures(outcomes, native, ends)
    begun = Counter(outcome.kind for outcome in outcomes)
    failed = Counter(outcome.kind for outcome in ours)
    for kind in sorted(begun):
        print(f"{kind:12} {begun[kind]:6} connections, {failed[kind]} failed")
    print(f"{len(outcomes)} connections, {len(ours)} failed; {natural} broke with their server, as they do without "
          f"Keyrail; {len(native)} straight to a blade; {len(log)} operations")
    for outcome in ours[:SHOWN]:
        before = [f"{what}, {outcome.end - when:.1f} s before" for when, what in log if when < outcome.end][-1:]
        print(f"  {time.strftime('%H:%M:%S', time.localtime(outcome.end))} {outcome.kind} to {outcome.address} (TLS "
              f"{outcome.version}) from port {outcome.port}, {outcome.end - outcome.begin:.1f} s, {outcome.answers} answers of "
              f"{outcome.blade or 'nobody'}: {outcome.error}; after: {before[0] if before else 'nothing yet'}")
    if len(ours) > SHOWN:
        print(f"  and {len(ours) - SHOWN} more")
    return 1 if ours or not outcomes else 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/soak", description=__doc__)
    top.add_argument("--minutes", type=float, default=30, help="how long (default 30)")
    top.add_argument("--seed", type=int, help="of everything that is chosen by chance (default: a new one, which is said)")
    top.add_argument("--clients", type=int, default=24, help="at once (default 24)")
    top.add_argument("--server", choices=SERVERS, default=SERVERS[0], help="of the blades (default nginx)")
    top.add_argument("--bind", choices=BINDINGS, default=BINDINGS[0], help="as tools/lab up")
    top.add_argument("--only", choices=tuple(OPERATIONS), action="append", metavar="OPERATION",
                     help=f"only this; may be given again. One of: {'; '.join(OPERATIONS)}")
    top.add_argument("--capture", metavar="PREFIX", help="the heads of all packets, in PREFIX-client.pcap and PREFIX-blades.pcap")
    top.add_argument("--keep", action="store_true", help="leave the lab up at the end")
    top.add_argument("--no-build", action="store_true", help="take what is built as it is")
    return top


def soak(arguments: argparse.Namespace, options: Options, seed: int) -> int:
    kinds = list(KINDS[options.server])
    with beside_the_blades(), echoes(options), prepared(options), captured(arguments.capture):
        wait_until_whole()
        load = Load(CLIENT, [VIP4, VIP6], arguments.clients, seed, kinds, options.server)
        native = Load(SWITCH, [blade.address4 for blade in blades(options)], 3 * options.blades, seed,
                      [kind for kind in NATIVE_KINDS if kind in kinds], options.server)
        try:
            log, ends = operate(arguments.minutes * 60, seed, options, arguments.only or list(OPERATIONS))
        finally:
            for one in (load, native):
                one.end()
    return report(load.outcomes, native.outcomes, log, ends)


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 31)
    options = Options(bind=arguments.bind, server=arguments.server)
    lifecycle.up(options, fresh=not arguments.no_build)
    say(f"seed {seed}; the same again: tools/soak --minutes {arguments.minutes:g} --seed {seed} --server {options.server} "
        f"--bind {options.bind}")
    try:
        return soak(arguments, options, seed)
    finally:
        if not arguments.keep:
            lifecycle.down()
