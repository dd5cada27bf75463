# SPDX-License-Identifier: Apache-2.0
"""Name keys and cookie keys are replaced while clients come and go: no resumption is lost, no connection fails."""

from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS
from support.chassis import Chassis, eventually


def states(chassis: Chassis) -> list[str]:
    return [key["state"] for key in chassis.keyrail("keys", "list")["names"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_no_resumption_is_lost(chassis: Chassis, tmp_path: Path, version: str) -> None:
    sessions: dict[Path, str] = {}

    def visit(name: str) -> None:
        session = tmp_path / name
        sessions[session] = openssl.connect(version, session).blade

    def all_resume() -> None:
        for session, blade in sessions.items():
            outcome = openssl.connect(version, session)
            assert outcome.resumed and outcome.blade == blade, (session.name, outcome)

    old = chassis.keyrail("keys", "list")["names"][-1]["id"]
    visit("before")
    chassis.keyrail("keys", "rotate")
    visit("during")
    all_resume()
    with chassis.killed("dispatch", "keyraild"):  # in the middle, or just after it: both must do
        visit("without keyraild")
    eventually(lambda: chassis.agents_connected() and "coming" not in states(chassis), 15, "the new keys are used")
    assert chassis.keyrail("keys", "list")["names"][-1]["id"] != old
    visit("after")
    all_resume()
