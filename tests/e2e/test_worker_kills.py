# SPDX-License-Identifier: Apache-2.0
"""Workers of nginx die while sessions come and go: what is in the store is whole, and nothing needs help."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients import curl, openssl
from clients.outcome import VERSIONS, resumed
from lab.plan import AWAY4, VIP6
from support.chassis import Chassis, eventually

BLADES = ("blade1", "blade2", "blade3")


def workers(chassis: Chassis, blade: str) -> set[int]:
    master = chassis.pid(blade, "nginx")
    return set(map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split()))


def kill_workers(chassis: Chassis, blades: tuple[str, ...]) -> None:
    """kill -9; back when their masters have started others."""
    for blade in blades:
        victims = workers(chassis, blade)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        eventually(lambda: (now := workers(chassis, blade)) and not now & victims, 5, "other workers")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("victims", ["holder", "others"])
def test_workers_die_around_a_move(chassis: Chassis, session: Path, version: str, victims: str) -> None:
    home = openssl.connect(version, session, source=AWAY4)
    dying = (home.blade,) if victims == "holder" else tuple(blade for blade in BLADES if blade != home.blade)
    kill_workers(chassis, dying)  # before it: the session is in shared memory, not in a worker
    with chassis.drained(home.blade):
        moved = openssl.connect(version, session, source=AWAY4)
        assert moved.resumed and moved.blade != home.blade, (home, moved, chassis.account())
        kill_workers(chassis, dying)  # after it
        again = openssl.connect(version, session, source=AWAY4)
        assert again.resumed and again.blade == moved.blade, (home, moved, again, chassis.account())
    assert chassis.holder(openssl.session_name(session)) == moved.blade


def test_workers_die_under_load(chassis: Chassis, tmp_path: Path) -> None:
    """Whatever they are doing in the store in that moment. Connections of a worker end with it; no others do."""
    kills = 0
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(curl.connect, "1.3", 1500, VIP6)
        while not load.done():
            for worker in workers(chassis, BLADES[kills % len(BLADES)]):
                os.kill(worker, signal.SIGKILL)
            kills += 1
            time.sleep(0.1)
    failed = [outcome for outcome in load.result() if not outcome.ok]
    assert kills >= 5 and len(failed) <= kills, (kills, failed)
    for version in VERSIONS:
        assert resumed(curl.connect(version, 11, VIP6)) == 10
    for number in range(6):
        session = tmp_path / str(number)
        home = openssl.connect("1.3", session, source=AWAY4)
        with chassis.drained(home.blade):
            moved = openssl.connect("1.3", session, source=AWAY4)
        assert moved.resumed and moved.blade != home.blade, (home, moved, chassis.account())
