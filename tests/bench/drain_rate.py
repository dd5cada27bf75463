# SPDX-License-Identifier: Apache-2.0
"""Drains a blade with very many sessions in the lab, while others come and go: how long it takes, whether anything is
lost, and what handshakes of bystanders take before and meanwhile (each with a ClientHello of its own, through
keyrail-dp to an nginx that shares the machine's cores with everything else).

    meson test -C build --benchmark drain_rate --verbose
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools/lib")]
from clients import handshakes  # noqa: E402
from lab.namespaces import enter  # noqa: E402
from lab.plan import CLIENT, PORT, SERVER_NAME, VIP6, WEB_CA, Blade, Options  # noqa: E402
from support.chassis import Chassis, lab  # noqa: E402

SESSIONS = int(os.environ.get("KR_SESSIONS", "200000"))
RATE = int(os.environ.get("KR_RATE", "4000"))  # moves per second
BYSTANDERS = 60  # handshakes in one go


def handshake_times() -> list[float]:
    """Microseconds of full handshakes, one after the other."""
    done = subprocess.run([*enter(CLIENT), "/usr/bin/python3", handshakes.__file__, "full", "1.3", str(BYSTANDERS), VIP6,
                           str(PORT), SERVER_NAME, str(WEB_CA)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["microseconds"]


def spread(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2]:.0f} us, p99 {ordered[len(ordered) * 99 // 100]:.0f} us of {len(ordered)}"


def sessions(chassis: Chassis) -> dict[int, int]:
    return {blade["id"]: blade["sessions"] for blade in chassis.keyrail("blade", "list")}


def main() -> None:
    chassis = Chassis.up(Options(store_mb=max(64, SESSIONS // 1000)))
    try:
        chassis.wait_for_states("up")
        before = [time for _ in range(3) for time in handshake_times()]
        subprocess.run([os.environ["KR_STORE_TOOL"], "fill", str(Blade(1).store), str(SESSIONS), str(PORT), "www"],
                       check=True)
        begin = time.monotonic()
        chassis.keyrail("blade", "drain", "1", "--rate", f"{RATE}/s")
        meanwhile: list[float] = []
        while not (drain := next(blade["drain"] for blade in chassis.keyrail("blade", "list")
                                 if blade["id"] == 1))["empty"]:
            print(f"{time.monotonic() - begin:.0f} s: {drain['moved']} moved, {drain['left']} left, "
                  f"{drain['failed']} failed", flush=True)
            meanwhile += handshake_times()
        seconds = time.monotonic() - begin
        time.sleep(2)  # the agents' next reports
        moves, there = chassis.stats().moves, sessions(chassis)
        print(f"{SESSIONS} sessions drained in {seconds:.1f} s ({SESSIONS / seconds:.0f}/s; {RATE}/s allowed); "
              f"{moves['lost']} lost, {moves['refused']} refused; now there are {there}")
        print(f"handshakes of bystanders, before: {spread(before)}; meanwhile: {spread(meanwhile)}")
        if there[1] or there[2] + there[3] < SESSIONS:
            sys.exit("sessions are missing")
    finally:
        lab("down")


if __name__ == "__main__":
    main()
