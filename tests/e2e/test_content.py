# SPDX-License-Identifier: Apache-2.0
"""Content routing: a client gets to a blade that has what it asks for, and its session goes with it. And blades over
their limit, which are not asked."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS, Outcome
from lab.plan import AWAY4, SERVER_NAME
from support.chassis import Chassis, eventually

both_versions = pytest.mark.parametrize("version", VERSIONS)


def route(sni: str, alpn: str = "", moves: bool = True) -> Callable[[str], str]:
    """What that name (and protocol) is about, blade3 alone has."""
    lines = [f"content_moves = {str(moves).lower()}", "[[service.route]]", f'sni = "{sni}"', 'pool = "images"',
             *([f'alpn = "{alpn}"'] if alpn else []), "[[pool]]", 'name = "images"', "blades = [3]"]
    return lambda text: f"{text}{chr(10).join(lines)}\n"


def ask(session: Path, version: str = "1.3", name: str = SERVER_NAME, alpn: str = "http/1.1") -> Outcome:
    return openssl.connect(version, session, source=AWAY4, options=["-servername", name, "-alpn", alpn])


def session_elsewhere(session: Path, version: str) -> Outcome:
    """A session on another blade than blade3."""

    def fresh() -> Outcome | None:
        session.unlink(missing_ok=True)
        outcome = ask(session, version)
        return outcome if outcome.blade != "blade3" else None

    return eventually(fresh, 20, "a session that is not on blade3")


def test_content_is_served_by_who_has_it(chassis: Chassis, tmp_path: Path) -> None:
    with chassis.configured(route("*.images.test")):
        asked = [ask(tmp_path / str(i), name=f"A{i}.Images.test") for i in range(6)]
        others = [ask(tmp_path / f"other{i}", name="images.test") for i in range(12)]
    assert {outcome.blade for outcome in asked} == {"blade3"}
    assert {outcome.blade for outcome in others} - {"blade3"}, others


def test_a_protocol_can_have_its_own_blades(chassis: Chassis, tmp_path: Path) -> None:
    with chassis.configured(route(SERVER_NAME, alpn="acme-tls/1")):
        asked = [ask(tmp_path / str(i), alpn="http/1.1,acme-tls/1") for i in range(6)]
        others = [ask(tmp_path / f"other{i}") for i in range(12)]
    assert {outcome.blade for outcome in asked} == {"blade3"}
    assert {outcome.blade for outcome in others} - {"blade3"}, others


@both_versions
def test_a_session_follows_its_content(chassis: Chassis, session: Path, version: str) -> None:
    session_elsewhere(session, version)
    with chassis.configured(route(SERVER_NAME)):
        moved = ask(session, version)
        assert moved.resumed and moved.blade == "blade3", moved
        assert chassis.holder(openssl.session_name(session)) == "blade3"
    again = ask(session, version)
    assert again.resumed and again.blade == "blade3", again


def test_a_service_can_forbid_it(chassis: Chassis, session: Path) -> None:
    session_elsewhere(session, "1.3")
    before = chassis.stats().counter("steer_content")
    with chassis.configured(route(SERVER_NAME, moves=False)):
        outcome = ask(session)
    assert outcome.ok and not outcome.resumed and outcome.blade == "blade3", outcome
    assert chassis.stats().counter("steer_content") == before + 1


def test_sessions_leave_a_blade_over_its_limit(chassis: Chassis, session: Path, tmp_path: Path) -> None:
    """1 %: in the lab a blade's load is the whole machine's."""
    first = ask(session)
    name = f'name = "{first.blade}"\n'
    with chassis.configured(lambda text: text.replace(name, f"{name}load_limit = 1\n")):
        eventually(lambda: ask(tmp_path / "load") and chassis.blade_states()[first.blade] == "overloaded", 20,
                   "overload")
        moved = ask(session)
        assert moved.resumed and moved.blade != first.blade, moved
        assert first.blade not in {ask(tmp_path / str(i)).blade for i in range(8)}
    chassis.wait_for_states("up")
