# SPDX-License-Identifier: Apache-2.0
"""Other servers and certificates than the lab's default, and the contrast: the same chassis without Keyrail's steering."""

from pathlib import Path

import pytest

from clients import curl, openssl
from clients.outcome import VERSIONS, resumed, where
from lab.plan import Options
from support.chassis import Chassis

OTHERS = [Options(server="haproxy", cert="p256"), Options(server="apache")]
PLAIN = Options(plain=True)
both_versions = pytest.mark.parametrize("version", VERSIONS)


@both_versions
@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_other_servers_resume_and_move(chassis: Chassis, session: Path, options: Options, version: str) -> None:
    outcomes = curl.connect(version, 21)
    assert resumed(outcomes[1:]) == 20, where(outcomes)
    home = openssl.connect(version, session)
    with chassis.drained(home.blade):
        moved = openssl.connect(version, session)
        assert moved.resumed and moved.blade != home.blade, moved


@both_versions
@pytest.mark.parametrize("options", [PLAIN], ids=str)
def test_plain_layer_4_resumes_now_and_then(chassis: Chassis, options: Options, version: str) -> None:
    outcomes = curl.connect(version, 61)
    assert all(outcome.ok for outcome in outcomes), outcomes
    # A third of 60 on average; 45 of 60 by chance is less likely than one in a thousand million.
    assert 3 < resumed(outcomes[1:]) < 45, where(outcomes)
