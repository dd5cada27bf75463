# SPDX-License-Identifier: Apache-2.0
"""Reloads while clients connect and hellos are held: services, pools and blades come, go and change places; no connection
fails, and every client gets to a blade of its own service.

KR_RELOADS=1000 makes it as many (six minutes); KR_SEED=N draws other configurations. As a part of tools/test it is a shorter
run."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clients import curl
from clients.outcome import Outcome, run_client
from lab.plan import CONFIG, DISPATCH, PORT, SERVER_NAME, VIP4, VIP6, WEB_CA
from support.chassis import Chassis, eventually

RELOADS = int(os.environ.get("KR_RELOADS", "60"))
BYTEWISE = Path(__file__).resolve().parents[1] / "support/bytewise.py"
AT_ONCE = 20  # connections of one client process

Client = Callable[[str], list[Outcome]]

# Which blades a client of each address may get to, whatever else the configuration has.
SERVICES = {VIP4: ("even", {"blade1", "blade2"}), VIP6: ("odd", {"blade3"})}


def fast(vip: str) -> list[Outcome]:
    return curl.connect("1.3", AT_ONCE, vip=vip)


def slow(vip: str) -> list[Outcome]:
    """Hellos in pieces, a few milliseconds apart: each is held for a while."""
    status, text = run_client(["/usr/bin/python3", BYTEWISE, WEB_CA, vip, str(PORT), SERVER_NAME, str(AT_ONCE), "150", "4"],
                              timeout=60)
    lines = text.splitlines()
    if status != 0:
        return [Outcome(False, error=text)]
    return [Outcome(True, line.startswith("resumed"), line.split()[-1]) for line in lines]


class Traffic:
    """Clients that connect again and again until they are told to stop; what became of each connection."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.outcomes: dict[str, list[Outcome]] = {vip: [] for vip in SERVICES}
        self._threads = [threading.Thread(target=self._run, args=(client, vip))
                         for vip in SERVICES for client in (fast, slow)]

    def _run(self, client: Client, vip: str) -> None:
        while not self._stop.is_set():
            self.outcomes[vip] += client(vip)

    @contextmanager
    def running(self) -> Iterator["Traffic"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def faults(self) -> list[str]:
        """Connections that failed, and those that got to a blade of the other service."""
        return [outcome.error or f"{vip}: {outcome.blade}" for vip, outcomes in self.outcomes.items()
                for outcome in outcomes if not outcome.ok or outcome.blade not in SERVICES[vip][1]]


def written(head: str, **keys: str) -> str:
    return f"[[{head}]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def configuration(good: str, rng: random.Random) -> str:
    """The two services and their pools as ever, among others that are new each time; all in any order."""
    chassis = good[:good.index("[[blade]]")]
    blades = [written("blade", id=str(number), name=f'"blade{number}"', address=f'"10.77.0.{10 + number}"')
              for number in (1, 2, 3, *rng.sample(range(4, 40), rng.randrange(5)))]
    pools = [written("pool", name='"even"', blades=rng.choice(["[1, 2]", "[2, 1]"])), written("pool", name='"odd"', blades="[3]")]
    services = [written("service", name=f'"{name}"', addresses=f'["{vip}"]', port=str(PORT), pool=f'"{name}"',
                        hold_budget='"500ms"', early_data="true") for vip, (name, _) in SERVICES.items()]
    for number in rng.sample(range(100), rng.randrange(6)):
        pools.append(written("pool", name=f'"p{number}"', blades=str(rng.sample([1, 2, 3], rng.randrange(1, 4)))))
        services.append(written("service", name=f'"s{number}"', addresses=f'["198.51.100.{100 + number}"]', port=str(PORT),
                                pool=f'"p{number}"', binding=rng.choice(['"late"', '"early"', '"auto"'])))
    for tables in (blades, pools, services):
        rng.shuffle(tables)
    return chassis + "\n".join(blades + pools + services)


def test_no_connection_fails_and_none_is_misrouted(chassis: Chassis) -> None:
    good, rng = CONFIG.read_text(), random.Random(int(os.environ.get("KR_SEED", "1")))
    log = len(chassis.log(DISPATCH, "keyraild"))

    def reload(text: str) -> None:
        CONFIG.write_text(text)
        chassis.keyrail("config", "reload", "--yes")  # the second VIP goes at the end, although it was used

    def published() -> bool:
        status = chassis.keyrail("status")
        return status["snapshot_generation"] == status["dataplane"]["snapshot_generation"]

    try:
        reload(configuration(good, rng))
        eventually(published, 10, "the dispatcher has the first configuration")
        with Traffic().running() as traffic:
            for _ in range(RELOADS):
                reload(configuration(good, rng))
            eventually(lambda: all(traffic.outcomes.values()), 60, "connections of every client")
    finally:
        reload(good)
        chassis.wait_for_states("up")
    assert not traffic.faults(), "\n".join(traffic.faults()[:20])
    counts = {vip: len(outcomes) for vip, outcomes in traffic.outcomes.items()}
    assert min(counts.values()) >= AT_ONCE, counts
    assert chassis.log(DISPATCH, "keyraild")[log:].count("applied") >= RELOADS
    assert chassis.quiet_stats().counter("held") == 0
