# SPDX-License-Identifier: Apache-2.0
"""The configuration changes again and again under load, on trial and for good: no connection fails, nothing is left over, and the
history tells all of it.

KR_REVISIONS=1000 makes it as many (176 s on two cores that others used, too); as a part of tools/test it is a shorter run."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from clients import curl
from lab.plan import CONFIG, DISPATCH, PORT
from support.chassis import Chassis, eventually
from test_reloads import AT_ONCE, SERVICES, Traffic, written

REVISIONS = int(os.environ.get("KR_REVISIONS", "60"))
KEPT = 50


def configuration(good: str, rng: random.Random) -> str:
    """The two services as ever; others, their routes, limits of load and other keys are new each time."""
    blades = [written("blade", id=str(number), name=f'"blade{number}"', address=f'"10.77.0.{10 + number}"',
                      load_limit=str(rng.randrange(90, 101))) for number in (1, 2, 3)]
    pools = [written("pool", name='"even"', blades="[1, 2]"), written("pool", name='"odd"', blades="[3]")]
    services = [written("service", name=f'"{name}"', addresses=f'["{vip}"]', port=str(PORT), pool=f'"{name}"',
                        hello_timeout=f'"{rng.randrange(100, 200)}ms"', early_data="true") for vip, (name, _) in SERVICES.items()]
    for number in rng.sample(range(100), rng.randrange(4)):
        services.append(written("service", name=f'"s{number}"', addresses=f'["198.51.100.{100 + number}"]', port=str(PORT),
                                pool='"even"'))
        services.append(written("service.route", sni=f'"{number}.test"', pool=rng.choice(['"even"', '"odd"'])))
    return good[:good.index("[[blade]]")] + "\n".join(blades + pools + services)


def applied(chassis: Chassis, file: Path, *options: str) -> int:
    return chassis.keyrail("config", "apply", str(file), "--yes", *options)["revision"]


def one_change(chassis: Chassis, file: Path, good: str, rng: random.Random) -> int:
    """A change of some kind; how many revisions it made."""
    kind = rng.randrange(10)
    if kind == 0:  # a drain of a blade that another one can stand in for
        with chassis.drained(f"blade{rng.choice((1, 2))}"):
            return 0
    file.write_text(configuration(good, rng))
    if kind == 1:
        applied(chassis, file, "--confirm", "30s", "--no-guard", "--no-wait")
        chassis.keyrail("config", rng.choice(("confirm", "cancel")))
    else:
        applied(chassis, file, "--no-wait")
    return 1


def test_a_thousand_changes_and_no_connection_fails(chassis: Chassis, tmp_path: Path) -> None:
    good, rng, file = CONFIG.read_text(), random.Random(1), tmp_path / "next.toml"
    try:
        file.write_text(configuration(good, rng))
        last = applied(chassis, file)
        with Traffic().running() as traffic:
            begun = time.monotonic()
            for _ in range(REVISIONS):
                last += one_change(chassis, file, good, rng)
            print(f"{REVISIONS} changes in {time.monotonic() - begun:.1f} s")
            eventually(lambda: all(traffic.outcomes.values()), 60, "connections of every client")
    finally:
        chassis.keyrail("config", "reload", "--yes")
        chassis.wait_for_states("up")
    assert not traffic.faults(), "\n".join(traffic.faults()[:20])
    assert min(len(outcomes) for outcomes in traffic.outcomes.values()) >= AT_ONCE
    history = chassis.keyrail("config", "history")["revisions"]
    numbers = [entry["revision"] for entry in history]
    assert numbers == list(range(numbers[0], last + 2)) and len(numbers) == min(KEPT, last + 1), (last, numbers)
    assert all(entry["actor"] == "root" or entry["from"] == "start" for entry in history)
    assert all(entry["result"] in ("applied", "confirmed", "rolled back") for entry in history)

    def published() -> bool:
        status = chassis.keyrail("status")
        return status["snapshot_generation"] == status["dataplane"]["snapshot_generation"]

    eventually(published, 10, "the dispatcher has the last snapshot")
    assert chassis.quiet_stats().counter("held") == 0


def on_trial(chassis: Chassis, change: Callable[[], None]) -> None:
    """A trial of keyraild's own file, which takes blades 2 and 3 away, and what ends it."""
    good = CONFIG.read_text()
    before = chassis.keyrail("config", "show")["revision"]
    try:
        CONFIG.write_text(good.replace("blades = [1, 2, 3]", "blades = [1]"))
        number = applied(chassis, CONFIG, "--confirm", "300s")
        assert {curl.connect("1.3", 1)[0].blade for _ in range(8)} == {"blade1"}
        change()
        now = chassis.keyrail("config", "history")
        assert now["pending"] is None
        assert [entry["revision"] for entry in now["revisions"] if entry["in_force"]] == [before]
        assert next(entry["result"] for entry in now["revisions"] if entry["revision"] == number) == "rolled back"
        chassis.wait_for_states("up")
        eventually(lambda: len({curl.connect("1.3", 1)[0].blade for _ in range(16)}) == 3, 10, "all three are back")
    finally:
        CONFIG.write_text(good)
        chassis.keyrail("config", "reload", "--yes")


def test_killed_on_trial(chassis: Chassis) -> None:
    def kill() -> None:
        with chassis.killed(DISPATCH, "keyraild"):  # kill -9, and it starts again with the same file
            pass
        eventually(chassis.agents_connected, 10, "the agents are back")

    on_trial(chassis, kill)


def test_cancelled_trial(chassis: Chassis) -> None:
    on_trial(chassis, lambda: chassis.keyrail("config", "cancel"))
