# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand half ClientHellos: bounded memory, and the others are served."""

import subprocess
import tomllib
from pathlib import Path

from clients import openssl
from lab.namespaces import enter
from lab.plan import CLIENT, PORT, PROFILE, VIP4
from support import segments
from support.chassis import Chassis, eventually, gateway_mac

FLOOD = str(Path(segments.__file__).with_name("hold_flood.py"))
HALF_HELLOS = 100_000


def test_hold_flood(chassis: Chassis, session: Path) -> None:
    bound = tomllib.loads(PROFILE.read_text())["memory"]["holds"]
    before = chassis.quiet_stats()
    assert openssl.connect("1.3", session).ok
    flood = [*enter(CLIENT), "/usr/bin/python3", "-B", FLOOD, "c0", gateway_mac(), VIP4, str(PORT),
             str(HALF_HELLOS)]
    outcomes, most = [], 0
    with subprocess.Popen(flood, stdout=subprocess.PIPE, text=True) as sender:
        try:
            while sender.poll() is None:
                outcomes.append(openssl.connect("1.3", session))
                most = max(most, chassis.stats().counter("holds"))
            assert sender.stdout and int(sender.stdout.read()) >= HALF_HELLOS
        finally:
            sender.kill()
    failed = [(number, outcome) for number, outcome in enumerate(outcomes) if not outcome.ok]
    assert len(outcomes) >= 5 and not failed, (len(outcomes), failed)
    full = [(number, outcome) for number, outcome in enumerate(outcomes) if not outcome.resumed]
    assert len(full) <= 0.1 * len(outcomes), (full, chassis.stats().raw)
    assert 0 < most <= bound
    eventually(lambda: chassis.stats().counter("holds") == 0, 20, "nothing is held or read any more")
    after = chassis.quiet_stats()
    assert after.counter("held") == 0
    released = {name: after.counter(name) - before.counter(name) for name in ("steer_incomplete", "steer_hold_full")}
    # A veth that is flooded loses some before they are anywhere.
    assert sum(released.values()) >= HALF_HELLOS * 0.8, released
