# SPDX-License-Identifier: Apache-2.0
"""ClientHellos in pieces, over networks that do to them what networks do."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients import curl, openssl
from clients.outcome import resumed, run_client, where
from lab.namespaces import enter, in_host
from lab.plan import AWAY4, CLIENT, CLIENT4_SECOND, PORT, SERVER_NAME, VIP4, WEB_CA
from support import bad_network, bytewise
from support.chassis import Chassis, eventually, gateway_mac

TABLE = "77"
# 12 KB: what a client with many protocols to offer sends; only the last one is known here.
LONG_HELLO = ("-alpn", ",".join([*(f"{number:03}" + "x" * 250 for number in range(47)), "http/1.1"]))
CUT_TO_100, CUT_TO_536 = 152, 588  # bytes of MTU: IPv4 20, TCP 20, timestamps 12


@contextmanager
def client_behind(delay_ms: float = 0, reorder: float = 0, duplicate: float = 0, loss: float = 0,
                  mtu: int = 1500) -> Iterator[None]:
    """Sends what the client has for the VIP through a bad network, from an address with fresh ports."""
    faults = [str(value) for value in (delay_ms, reorder, duplicate, loss)]
    command = [*enter(CLIENT), "/usr/bin/python3", "-B", bad_network.__file__, "c0", gateway_mac(), *faults]
    rule = ["ip", "rule", "{}", "to", VIP4, "lookup", TABLE]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as network:
        try:
            eventually(lambda: "bad0" in in_host(CLIENT, ["ip", "-br", "link"]), 5, "the TUN device")
            in_host(CLIENT, ["ip", "link", "set", "bad0", "mtu", str(mtu), "up"])
            in_host(CLIENT, ["ip", "route", "add", VIP4, "dev", "bad0", "src", CLIENT4_SECOND, "table", TABLE])
            in_host(CLIENT, [word.format("add") for word in rule])
            yield
            assert network.poll() is None, network.stderr.read() if network.stderr else ""
        finally:
            in_host(CLIENT, [word.format("del") for word in rule], check=False)
            network.kill()


def test_cut_reordered_duplicated(chassis: Chassis) -> None:
    with client_behind(delay_ms=1, reorder=0.25, duplicate=0.1, mtu=CUT_TO_100):
        outcomes = curl.connect("1.3", 201)
    reconnects = outcomes[1:]
    assert len(reconnects) == 200 and all(outcome.ok for outcome in reconnects), where(outcomes)
    assert resumed(reconnects) >= 190, f"{resumed(reconnects)} of 200; {chassis.stats().raw}"
    chassis.quiet_stats()


def test_loss(chassis: Chassis) -> None:
    with client_behind(delay_ms=1, loss=0.05, mtu=CUT_TO_100):
        outcomes = curl.connect("1.3", 31)
    assert len(outcomes) == 31 and all(outcome.ok for outcome in outcomes), outcomes


def test_hello_of_12_kb_resumes(chassis: Chassis, session: Path) -> None:
    home = openssl.connect("1.3", session, source=AWAY4, options=LONG_HELLO)
    for _ in range(5):
        outcome = openssl.connect("1.3", session, source=AWAY4, options=LONG_HELLO)
        assert outcome.resumed and outcome.blade == home.blade, outcome


@pytest.mark.parametrize("mtu, how", [(CUT_TO_536, "steer_incomplete"), (CUT_TO_100, "bind_early")], ids=["536", "100"])
def test_hello_of_12_kb_in_small_segments_resumes(chassis: Chassis, session: Path, mtu: int, how: str) -> None:
    """More than a client may send unacknowledged: read in passing, and the session follows the connection. No cookie knows an
    MSS of 100: such a client is bound at its SYN."""
    openssl.connect("1.3", session)
    before = chassis.stats()
    with client_behind(mtu=mtu):
        outcomes = [openssl.connect("1.3", session, options=LONG_HELLO) for _ in range(5)]
    assert all(outcome.resumed for outcome in outcomes), outcomes
    after = chassis.stats()
    assert after.counter(how) > before.counter(how)


def test_byte_by_byte(chassis: Chassis) -> None:
    status, text = run_client(["/usr/bin/python3", "-B", bytewise.__file__, str(WEB_CA), VIP4, str(PORT),
                               SERVER_NAME, "6"])
    assert status == 0, text
    kinds = [line.split()[0] for line in text.splitlines()]
    assert kinds == ["full"] + ["resumed"] * 5, text
