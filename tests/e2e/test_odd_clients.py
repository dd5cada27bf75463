# SPDX-License-Identifier: Apache-2.0
"""Clients that do what TCP allows and few do (support/odd_client.py) are served as straight at a blade: over both families,
with both TLS versions, bound late and early."""

import subprocess
from pathlib import Path

import pytest

from lab.namespaces import enter
from lab.plan import CLIENT, PORT, SERVER_NAME, VIP4, VIP6, WEB_CA, Options, blades
from support.chassis import Chassis

ODD_CLIENT = Path(__file__).resolve().parents[1] / "support/odd_client.py"
KINDS = ("fin_first", "fin_in_the_hello", "rst_first", "rst_in_the_hello", "syn_with_data", "urgent", "zero_window", "both_close",
         "slow_hello")


def odd(address: str, version: str, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*enter(CLIENT), "/usr/bin/python3", "-B", str(ODD_CLIENT), str(WEB_CA), address, str(PORT), SERVER_NAME,
                             version, kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("options", [Options(), Options(bind="early")], ids=str)
def test_odd_clients_are_served(chassis: Chassis, options: Options) -> None:
    native = blades(options)[0]
    tries = [(kind, address, version) for kind in KINDS for version in ("1.2", "1.3")
             for address in (VIP4, VIP6, native.address4, native.address6)]
    said: dict[tuple[str, str, str], str] = {}
    for some in (tries[i:i + 24] for i in range(0, len(tries), 24)):
        clients = [(what, odd(what[1], what[2], what[0])) for what in some]
        for what, client in clients:
            try:
                said[what] = client.communicate(timeout=90)[0].strip().splitlines()[-1]
            finally:
                client.kill()
                client.wait()
    wrong = {what: text for what, text in said.items() if text != "ok"}
    assert not wrong, f"{wrong}; {chassis.account()}"
    assert chassis.quiet_stats().conserved
