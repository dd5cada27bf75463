# SPDX-License-Identifier: Apache-2.0
"""Drain the holder and reconnect: the session was moved, it is resumed elsewhere, and the books agree."""

from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS, Outcome
from lab.plan import AWAY4
from support.chassis import Chassis

both_versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.mark.parametrize("version, says", [("1.2", []), ("1.2", ["-no_ticket"]), ("1.3", [])], ids=["1.2", "1.2 by id", "1.3"])
def test_drained_holder_gives_its_session_away(chassis: Chassis, session: Path, version: str, says: list[str]) -> None:
    # From an address that no load test uses: a port of the last minute would bind the client to that port's old blade.
    first = openssl.connect(version, session, source=AWAY4, options=says)
    before = openssl.session_name(session)
    assert chassis.holder(before) == first.blade
    with chassis.drained(first.blade):
        outcome = openssl.connect(version, session, source=AWAY4, options=says)
        assert outcome.resumed and outcome.blade != first.blade, outcome
        after = openssl.session_name(session)
        assert (after == before) == (version == "1.2")
        assert chassis.holder(after) == outcome.blade
        for _ in range(5):
            again = openssl.connect(version, session, source=AWAY4, options=says)
            assert again.resumed and again.blade == outcome.blade, again
    # In service again, the old home does not get it back: the session stays where it is.
    stays = openssl.connect(version, session, source=AWAY4, options=says)
    assert stays.resumed and stays.blade == outcome.blade, stays


@both_versions
def test_many_sessions_of_a_drained_blade_resume(chassis: Chassis, tmp_path: Path, version: str) -> None:
    sessions = {tmp_path / str(number): "" for number in range(30)}
    for session in sessions:
        sessions[session] = openssl.connect(version, session).blade
    with chassis.drained("blade1"):
        moved = [openssl.connect(version, session) for session, blade in sessions.items() if blade == "blade1"]
        assert moved, "no session was on blade1"
        missed = [outcome for outcome in moved if not outcome.resumed or outcome.blade == "blade1"]
        assert not missed, f"{missed} of {len(moved)}; {chassis.stats().raw}"


def test_new_clients_avoid_a_drained_blade(chassis: Chassis, tmp_path: Path) -> None:
    with chassis.drained("blade2"):
        assert chassis.blade_states()["blade2"] == "draining"
        blades = {openssl.connect("1.3", tmp_path / str(number)).blade for number in range(30)}
    assert blades == {"blade1", "blade3"}


def test_one_ticket_resumes_many_connections(chassis: Chassis, session: Path, tmp_path: Path) -> None:
    """TLS 1.3, as connection pools do it: at its one holder, and after a move at the new one."""
    home = openssl.connect("1.3", session)

    def again(number: int) -> Outcome:
        copy = tmp_path / f"copy{number}"
        copy.write_bytes(session.read_bytes())
        return openssl.connect("1.3", copy)

    assert all(again(number).resumed for number in range(4))
    with chassis.drained(home.blade):
        moved = [again(number) for number in range(4)]
    assert all(each.resumed for each in moved), moved
    assert home.blade not in {each.blade for each in moved}


def test_moves_are_measured(chassis: Chassis, session: Path) -> None:
    before = chassis.stats().moves["moved"]
    blade = openssl.connect("1.3", session).blade
    with chassis.drained(blade):
        assert openssl.connect("1.3", session).resumed
    moves = chassis.stats().moves
    assert moves["moved"] > before  # the session's, and whatever else the blade had
    assert 0 < moves["p50_us"] < 200_000, moves  # within the hold budget of the lab
