# SPDX-License-Identifier: Apache-2.0
"""Other servers and certificates than the lab's default, and the contrast: the same chassis without Keyrail's steering."""

from pathlib import Path

import pytest

from clients import curl, openssl
from clients.outcome import VERSIONS, resumed, where
from lab.plan import AWAY4, Options
from support.chassis import Chassis

OTHERS = [Options(server="haproxy", cert="p256"), Options(server="apache")]
PLAIN = Options(plain=True)
MIXED = Options(server="mixed")
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


@both_versions
@pytest.mark.parametrize("options", [MIXED], ids=str)
def test_servers_of_different_kinds_in_one_pool(chassis: Chassis, tmp_path: Path, options: Options, version: str) -> None:
    """Each server's sessions resume with it. They do not with another kind of server, whose session id context is another
    (a security boundary, which is kept): that is a full handshake, and nothing fails."""
    homes = {}
    for number in range(60):
        session = tmp_path / str(number)
        first = openssl.connect(version, session, source=AWAY4)
        if first.blade not in homes:
            homes[first.blade] = session
            again = openssl.connect(version, session, source=AWAY4)
            assert again.resumed and again.blade == first.blade, again
        if len(homes) == 3:
            break
    assert set(homes) == {"blade1", "blade2", "blade3"}
    for blade, session in homes.items():
        with chassis.drained(blade):
            elsewhere = openssl.connect(version, session, source=AWAY4)
            assert elsewhere.ok and not elsewhere.resumed and elsewhere.blade != blade, elsewhere
            assert openssl.connect(version, session, source=AWAY4).resumed
