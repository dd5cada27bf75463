# SPDX-License-Identifier: Apache-2.0
"""Time in cookies: how long one is good, by whose clock, what it says of the path, and who guesses."""

import itertools
import re
import socket
import time

import pytest
from accept_crafted import Crafted
from accept_lab import ACCEPT_TOOL, EITHER, PORT, VIP4, Lab
from cookie_dispatcher import inside
from tls_server import eventually

HOUR = 3_600_000
FRESH = itertools.count(34000)


def first_times(lab: Lab, vip: str) -> tuple[float, float]:
    """RTT and RTO in ms with which the blade begins."""
    with inside(lab.names["client"]), socket.create_connection((vip, PORT), 5) as client:
        client.sendall(b"GE")
        found = eventually(lambda: re.search(r" rto:([0-9.]+) rtt:([0-9.]+)/", lab.on(
            "blade", "ss", "-Htin", "state", "established", f"sport = :{PORT} and dport = :{client.getsockname()[1]}").stdout),
            "a connection")
    return float(found[2]), float(found[1])


@EITHER
@pytest.mark.parametrize("ago", [0, 40, 300])
def test_first_round_trip_time(lab: Lab, vip: str, ago: int) -> None:
    """The SYN-ACK was sent so long ago, its clock says: the kernel starts with that, not with 0."""
    lab.dispatcher.cookies.clock_behind_ms = ago
    rtt, _ = first_times(lab, vip)
    assert ago * 0.95 < rtt < ago + 60


@EITHER
@pytest.mark.parametrize("thought", [500, 1500, 2800, 4095, 4200, 5000, 12_000, 59_000])
def test_thinking_is_not_distance(lab: Lab, vip: str, thought: int) -> None:
    """What a client has thought before it spoke is not waited for when a segment is lost, nor forgotten altogether."""
    lab.dispatcher.cookies.clock_behind_ms = thought
    rtt, rto = first_times(lab, vip)
    assert 300 < rtt < 330
    assert 600 < rto < 1000


@EITHER
@pytest.mark.parametrize("ago,good", [(59_000, True), (127_000, False), (10 * 60_000, False), (24 * HOUR, False), (-4_000, True)])
@pytest.mark.parametrize("stamps", [None, 5000])
def test_how_long_a_cookie_is_good(lab: Lab, vip: str, ago: int, good: bool, stamps: int | None) -> None:
    lab.dispatcher.cookies.clock_behind_ms = ago
    before = lab.counters()
    client = Crafted(lab, vip, next(FRESH), stamps=stamps)
    client.send(b"GE")
    kind = "assigned" if good else "bad_cookie"
    eventually(lambda: lab.counters()[kind] == before[kind] + 1, kind)


def test_a_blade_whose_clock_is_wrong(lab: Lab) -> None:
    """It is told the dispatcher's."""
    lab.dispatcher.cookies.clock_behind_ms = -HOUR
    assert lab.curl(VIP4, "/", "--max-time", 1, check=False).returncode != 0
    ahead = time.clock_gettime(time.CLOCK_TAI) - time.clock_gettime(time.CLOCK_BOOTTIME)
    lab.on("blade", ACCEPT_TOOL, "clock", lab.bpffs, int(ahead * 1000) + HOUR)
    rtt, _ = first_times(lab, VIP4)
    assert rtt < 60
    lab.attach()  # an agent that restarts
    assert lab.curl(VIP4).stdout == "hello"
    lab.on("blade", ACCEPT_TOOL, "clock", lab.bpffs, int(ahead * 1000))
    lab.dispatcher.cookies.clock_behind_ms = 0
    assert lab.curl(VIP4).stdout == "hello"


@EITHER
def test_guesses_without_timestamps(lab: Lab, vip: str) -> None:
    """1000 in a second, then none is believed in that second; with timestamps there is nothing to guess."""
    good, stamped = Crafted(lab, vip, next(FRESH)), Crafted(lab, vip, next(FRESH), stamps=5000)
    guess = Crafted(lab, vip, next(FRESH))

    def guessed() -> bool:
        for _ in range(1500):
            guess.ack += 1 << 9
            guess.send(b"x")
        good.send(b"GE")
        return lab.counters()["guessed"] > before["guessed"]

    before = lab.counters()
    eventually(guessed, "a good cookie is not believed")
    stamped.send(b"GE")
    eventually(lambda: lab.counters()["assigned"] > before["assigned"], "it has timestamps")
    time.sleep(1.1)
    before = lab.counters()
    good.send(b"GE")
    eventually(lambda: lab.counters()["assigned"] > before["assigned"], "the next second")


@EITHER
def test_guesses_at_a_connection_that_lives(lab: Lab, vip: str) -> None:
    """Who knows its addresses and ports does not end it by trying cookies: there are no more tries than elsewhere."""
    port = next(FRESH)
    others = (Crafted(lab, vip, port, isn) for isn in itertools.count(0x30000000))
    own = Crafted(lab, vip, port, 1000)
    own.send(b"GET / HT")
    eventually(lambda: own.answers, "acknowledged")
    good = next(other for other in others if (own.ack - other.ack) % (1 << 32) > 1 << 24)
    lab.dispatcher.returned = own._note

    def guessed() -> bool:
        answer = good.ack
        for _ in range(1500):
            good.ack += 1 << 9
            good.send(b"x")
        good.ack = answer
        good.send(b"x")
        return lab.counters()["guessed"] > before["guessed"]

    before = lab.counters()
    eventually(guessed, "a good cookie is not believed")
    assert lab.counters()["taken_over"] == before["taken_over"]
    own.seq += 8
    own.send(b"TP/1.0\r\n\r\n")
    own.heard("the page: it lives")
