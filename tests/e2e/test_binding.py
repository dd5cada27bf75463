# SPDX-License-Identifier: Apache-2.0
"""Blades that cannot do late binding get it early, and are told why; servers without hooks get their own tickets back."""

from pathlib import Path

import pytest

from clients import curl, openssl
from clients.outcome import VERSIONS, resumed, where
from lab.plan import Options
from support.chassis import Chassis

OLD_KERNEL = Options(no_accept=1)
ONLY_LATE = Options(bind="late", no_accept=1)
NO_HOOKS = Options(no_hooks=True)
both_versions = pytest.mark.parametrize("version", VERSIONS)


def binding(chassis: Chassis) -> dict[str, str]:
    return chassis.keyrail("status")["services"][0]["binding"]


@both_versions
@pytest.mark.parametrize("options", [OLD_KERNEL], ids=str)
def test_one_blade_that_cannot_makes_the_service_early(chassis: Chassis, session: Path, options: Options,
                                                       version: str) -> None:
    assert binding(chassis)["now"] == "early"
    assert "blade1" in binding(chassis)["why"]
    before = chassis.stats()
    outcomes = curl.connect(version, 31)
    assert resumed(outcomes[1:]) == 30, where(outcomes)
    after = chassis.stats()
    assert after.counter("bind_early") >= before.counter("bind_early") + 31
    assert after.counter("syn_cookie") == before.counter("syn_cookie")
    first = openssl.connect(version, session)
    with chassis.drained(first.blade):
        again = openssl.connect(version, session)
    assert again.resumed and again.blade != first.blade, again


@pytest.mark.parametrize("options", [ONLY_LATE], ids=str)
def test_late_and_nothing_else_leaves_that_blade_out(chassis: Chassis, options: Options, tmp_path: Path) -> None:
    assert binding(chassis)["now"] == "late"
    assert "blade1" in binding(chassis)["why"]
    blades = {openssl.connect("1.3", tmp_path / str(number)).blade for number in range(30)}
    assert blades == {"blade2", "blade3"}


@both_versions
@pytest.mark.parametrize("options", [NO_HOOKS], ids=str)
def test_tickets_of_servers_without_hooks_find_their_blade(chassis: Chassis, options: Options, tmp_path: Path,
                                                           version: str) -> None:
    before = chassis.stats().counter("steer_ticket")
    for number in range(4):
        session = tmp_path / str(number)
        first = openssl.connect(version, session)
        again = [openssl.connect(version, session) for _ in range(5)]
        assert all(outcome.resumed and outcome.blade == first.blade for outcome in again), (first, again)
    assert chassis.stats().counter("steer_ticket") == before + 20
