# SPDX-License-Identifier: Apache-2.0
"""Two services on each blade, by one server: whose a session is, is known whatever the server shows of its sockets."""

import re
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS
from lab.plan import SERVERS, VIP4, VIP6, Options
from support.chassis import Chassis

both_versions = pytest.mark.parametrize("version", VERSIONS)
EACH = [Options(server=server) for server in SERVERS]


def a_service_for_each_vip(text: str) -> str:
    both = re.compile(rf'addresses = \["{VIP4}", "{VIP6}"\]')
    service = text[text.index("[[service]]"):]
    second = both.sub(f'addresses = ["{VIP6}"]', service).replace('name = "www"', 'name = "six"')
    return both.sub(f'addresses = ["{VIP4}"]', text) + "\n" + second


@both_versions
@pytest.mark.parametrize("options", EACH, ids=str)
def test_sessions_move_between_blades_of_several_services(chassis: Chassis, tmp_path: Path, options: Options, version: str) -> None:
    with chassis.configured(a_service_for_each_vip):
        for vip, name in ((VIP4, "www"), (VIP6, "six")):
            session = tmp_path / name
            home = openssl.connect(version, session, vip)
            assert home.ok and not home.resumed, home
            with chassis.drained(home.blade):
                moved = openssl.connect(version, session, vip)
                assert moved.resumed and moved.blade != home.blade, (name, moved, chassis.account())


@both_versions
@pytest.mark.parametrize("options", EACH, ids=str)
def test_services_share_no_sessions(chassis: Chassis, tmp_path: Path, options: Options, version: str) -> None:
    """Not at home, and not elsewhere."""
    with chassis.configured(a_service_for_each_vip):
        for vip, other in ((VIP4, VIP6), (VIP6, VIP4)):
            session = tmp_path / str(vip == VIP4)
            home = openssl.connect(version, session, vip)
            assert home.ok, home
            there = openssl.connect(version, session, other)
            assert there.ok and not there.resumed, there
            session.unlink()
            home = openssl.connect(version, session, vip)
            with chassis.drained(home.blade):
                there = openssl.connect(version, session, other)
                assert there.ok and not there.resumed, there
