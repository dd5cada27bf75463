# SPDX-License-Identifier: Apache-2.0
"""What operators look at: services, pools, moves, and what happens a second."""

import json
import subprocess
from pathlib import Path

from clients import curl, openssl
from lab.namespaces import enter
from lab.plan import AWAY4, BINARIES, CONTROL_SOCKET, DISPATCH
from support.chassis import Chassis, eventually


def keyrail_text(*words: str) -> str:
    command = [*enter(DISPATCH), BINARIES / "keyrail", "--socket", CONTROL_SOCKET, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_services_and_pools(chassis: Chassis) -> None:
    services = chassis.keyrail("service", "list")
    assert [service["name"] for service in services] == [service["name"] for service in chassis.keyrail("status")["services"]]
    www = chassis.keyrail("service", "show", "www")
    assert {member["state"] for member in www["members"]} == {"up"} and www["blades_up"] == len(www["members"])
    pool = chassis.keyrail("pool", "show", www["pool"])
    assert "www" in {user["service"] for user in pool["services"]}
    with chassis.drained("blade2"):
        states = {blade["name"]: blade["state"] for blade in chassis.keyrail("pool", "show", www["pool"])["blades"]}
        assert states["blade2"] == "draining", states
        assert "blade2 (draining)" in keyrail_text("service", "show", "www")
    assert www["pool"] in keyrail_text("pool", "list")


def test_a_blade(chassis: Chassis) -> None:
    by_name, by_id = (chassis.keyrail("blade", "show", word) for word in ("blade2", "2"))
    assert by_name["name"] == by_id["name"] == "blade2" and by_id["agent"]["connected"]
    text = keyrail_text("blade", "show", "blade2")
    assert "blade2" in text and "connected" in text and "LISTENS" in text, text
    missing = [*enter(DISPATCH), BINARIES / "keyrail", "--socket", CONTROL_SOCKET, "blade", "show", "99"]
    assert subprocess.run(missing, capture_output=True, check=False).returncode == 6


def test_flows_of_a_client(chassis: Chassis, session: Path) -> None:
    outcomes = [openssl.connect("1.3", session, source=AWAY4) for _ in range(3)]
    flows = chassis.keyrail("flow", "find", AWAY4, "--service", "www")["flows"]
    assert {outcome.blade for outcome in outcomes} <= {flow["blade"]["name"] for flow in flows}, flows
    one = flows[0]
    exactly = chassis.keyrail("flow", "find", f"{AWAY4}:{one['client_port']}")["flows"]
    assert [flow["client_port"] for flow in exactly] == [one["client_port"]]
    assert str(one["client_port"]) in keyrail_text("flow", "find", AWAY4)
    assert chassis.keyrail("flow", "find", "203.0.113.250")["flows"] == []


def test_moves_are_listed(chassis: Chassis, session: Path) -> None:
    first = openssl.connect("1.3", session, source=AWAY4)
    name = openssl.session_name(session)
    with chassis.drained(first.blade):
        moved = openssl.connect("1.3", session, source=AWAY4)
        assert moved.resumed
        latest = [move for move in chassis.keyrail("move", "list")["latest"] if move["session"] == name]
        assert latest and latest[-1]["result"] == "moved", latest
        assert (f"blade{latest[-1]['from']}", f"blade{latest[-1]['to']}") == (first.blade, moved.blade)
        assert name[:16] in keyrail_text("move", "list")


def test_top_counts_what_happens(chassis: Chassis) -> None:
    with subprocess.Popen([*enter(DISPATCH), BINARIES / "keyrail", "--socket", CONTROL_SOCKET, "--json", "top", "--every", "1s"],
                          stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout
        try:
            def seen() -> bool:
                assert all(outcome.ok for outcome in curl.connect("1.3", 30, source=AWAY4))
                assert top.stdout
                second = json.loads(top.stdout.readline())
                connections = sum(blade["connections_per_s"] for blade in second["blades"])
                hellos = sum(worker["hellos_per_s"] for worker in second["workers"])
                www = next(service for service in second["services"] if service["service"] == "www")
                return connections > 0 and hellos > 0 and www["connections_per_s"] > 0 and (www["resumed_percent"] or 0) > 0
            eventually(seen, 30, "a second with connections")
        finally:
            top.terminate()
    text = keyrail_text("top", "--once", "--every", "200ms")
    assert "SERVICE" in text and "WORKER" in text and "moves" in text, text
