# SPDX-License-Identifier: Apache-2.0
"""What a move takes in the lab, and what the resumption saves that it makes possible: clients get sessions, a blade
drains (as slowly as can be, so that its sessions wait for their clients), and all clients come again.

    meson test -C build --benchmark move_saving --verbose

The whole chassis shares this machine's cores with its clients, so a move waits for the others' work, too.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools/lib")]
from clients import handshakes  # noqa: E402
from lab.namespaces import enter  # noqa: E402
from lab.plan import CLIENT, PORT, SERVER_NAME, VIP6, WEB_CA, Options  # noqa: E402
from support.chassis import Chassis, eventually, lab  # noqa: E402

CLIENTS = 120  # of which a third have their session on the blade that drains
ROUNDS = 3
HANDSHAKES = 500
VERSIONS = ("1.2", "1.3")


def client(kind: str, version: str, count: int) -> list[str]:
    return [*enter(CLIENT), "/usr/bin/python3", handshakes.__file__, kind, version, str(count), VIP6, str(PORT),
            SERVER_NAME, str(WEB_CA)]


def come_again(chassis: Chassis, version: str, blade: str) -> dict[str, Any]:
    with subprocess.Popen(client("again", version, CLIENTS), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdin and process.stdout
        if process.stdout.readline() != "ready\n":
            sys.exit("the clients got no sessions")
        before = chassis.keyrail("status")["dataplane"]["snapshot_generation"]
        with chassis.drained(blade, "--rate", "1/s"):
            eventually(lambda: chassis.keyrail("status")["dataplane"]["snapshot_generation"] > before, 5, "a new snapshot")
            answer, _ = process.communicate("\n", timeout=60)
    return json.loads(answer)


def saving(chassis: Chassis, version: str) -> dict[str, float]:
    """Microseconds that the server spends less on a resumed handshake: of CPU, and of time."""
    def known() -> dict[str, Any] | None:  # once the agents have reported enough of both kinds
        costs = next(costs for costs in chassis.stats().raw["economics"]["handshakes"] if costs["tls_version"] == version)
        return costs if all(costs[kind]["cpu_us"] is not None for kind in ("full", "resumed")) else None

    costs = eventually(known, 10, "costs of handshakes")
    return {kind: costs["full"][kind] - costs["resumed"][kind] for kind in ("cpu_us", "wall_us")}


def main() -> None:
    chassis = Chassis.up(Options(cert="rsa2048"))
    try:
        chassis.wait_for_states("up")
        for version in VERSIONS:
            for kind in ("full", "resumed"):  # so that costs are known: hooks measure one of many
                subprocess.run(client(kind, version, HANDSHAKES), check=True, stdout=subprocess.DEVNULL)
            for number in range(ROUNDS):
                moved = chassis.stats().moves["moved"]
                came = come_again(chassis, version, f"blade{number + 1}")
                moves, saved = chassis.stats().moves, saving(chassis, version)
                print(f"TLS {version}, blade{number + 1} drains: {came['resumed']} of {CLIENTS} resumed, "
                      f"{moves['moved'] - moved} moves; of all {moves['moved']} so far p50 {moves['p50_us']} us, p99 "
                      f"{moves['p99_us']} us; a resumption saves the server {saved['cpu_us']:.0f} us of CPU, "
                      f"{saved['wall_us']:.0f} us of time", flush=True)
    finally:
        lab("down")


if __name__ == "__main__":
    main()
