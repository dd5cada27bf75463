# SPDX-License-Identifier: Apache-2.0
"""A blade is revoked: nobody talks to it any more, clients are served by the others. Its slot is enrolled anew."""

from pathlib import Path

from clients import curl, openssl
from clients.outcome import resumed
from lab.namespaces import in_host
from lab.plan import BINARIES, directory
from support.chassis import Chassis, eventually, lab


def test_revoked_and_let_in_again(chassis: Chassis, tmp_path: Path) -> None:
    visitors = {session: openssl.connect("1.3", session).blade for session in (tmp_path / str(n) for n in range(24))}
    assert "blade3" in visitors.values()
    try:
        chassis.keyrail("blade", "revoke", "3", "--yes")
        eventually(lambda: set(chassis.blade_states()) == {"blade1", "blade2"}, 5, "blade 3 is out")
        eventually(lambda: "it was revoked" in chassis.log("dispatch", "keyraild"), 5, "its agent is turned away")
        for host in ("blade1", "blade2"):
            eventually(lambda: "is cut off" in chassis.log(host, "keyrail-agent"), 5, f"{host} cuts it off")
        for session, blade in visitors.items():
            outcome = openssl.connect("1.3", session)
            assert outcome.ok and outcome.blade != "blade3", outcome
            assert outcome.resumed == (blade != "blade3"), (blade, outcome)
    finally:
        token = chassis.keyrail("blade", "enroll", "3")["token"]
        (tmp_path / "token").write_text(token)
        in_host("blade3", [str(BINARIES / "keyrail-agent"), "join", "--token-file", str(tmp_path / "token"), "--config",
                           str(directory("blade3") / "agent.toml")])
        lab("restart", "blade3", "keyrail-agent")
    chassis.wait_for_states("up")
    again = in_host("blade3", ["sh", "-c", f"{BINARIES}/keyrail-agent join --token-file {tmp_path}/token --config {tmp_path}/agent.toml 2>&1"],
                    check=False)
    assert "was used already" in again, again
    assert resumed(curl.connect("1.3", 6)) == 5
    # Sessions move to the new machine as to any other.
    with chassis.drained("blade1"), chassis.drained("blade2"):
        session = next(iter(visitors))
        assert openssl.connect("1.3", session).blade == "blade3"
