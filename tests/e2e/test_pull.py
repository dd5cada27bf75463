# SPDX-License-Identifier: Apache-2.0
"""The dispatcher has no session moved (it may not hold anybody): the blade that misses it asks for it."""

from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS
from lab.chassis import HOLD_BUDGET
from lab.plan import AWAY4
from support.chassis import Chassis


def pulling(text: str) -> str:
    """Two cores run the whole chassis: a server may wait for longer than usual. The rate of a drain would move the
    session before its client is back."""
    return (text.replace(f'hold_budget = "{HOLD_BUDGET}"', 'hold_budget = "0ms"')
            .replace("[chassis]\n", '[chassis]\npull_budget = "100ms"\n'))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_blade_pulls_what_it_misses(chassis: Chassis, tmp_path: Path, version: str) -> None:
    with chassis.configured(pulling):
        for number in range(20):  # until the client is quicker than the drain
            session = tmp_path / str(number)
            home = openssl.connect(version, session, source=AWAY4)
            before = chassis.stats()
            with chassis.drained(home.blade, "--rate", "1/s"):
                outcome = openssl.connect(version, session, source=AWAY4)
            after = chassis.stats()
            assert outcome.resumed and outcome.blade != home.blade, (home, outcome, chassis.account())
            if after.counter("steer_not_worth") > before.counter("steer_not_worth"):
                assert after.counter("moves_asked") == before.counter("moves_asked")
                assert after.moves["moved"] > before.moves["moved"]
                return
    raise AssertionError("the drain was always quicker")
