# SPDX-License-Identifier: Apache-2.0
"""Traffic that nobody asked for: floods, strays, and what is not TLS."""

import subprocess
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import run_client
from common.shell import run
from lab.namespaces import enter
from lab.plan import CLIENT, CLIENT4, FRONT4, PORT, VIP4
from support import segments
from support.chassis import Chassis, eventually, gateway_mac

SYNS = 50_000


def hand_made(*words: str) -> list[str]:
    return [*enter(CLIENT), "/usr/bin/python3", "-B", segments.__file__, *words]


def test_syn_flood_leaves_no_state(chassis: Chassis, tmp_path: Path) -> None:
    before = chassis.quiet_stats()
    flood = hand_made("flood", "c0", gateway_mac(), VIP4, str(PORT), str(SYNS), "4")
    with subprocess.Popen(flood, stdout=subprocess.PIPE, text=True) as sender:
        try:
            connected = 0
            while sender.poll() is None:
                outcome = openssl.connect("1.3", tmp_path / f"{connected}.pem")
                assert outcome.ok, f"during the flood: {outcome}"
                connected += 1
            assert sender.stdout and sender.stdout.read().strip() == str(SYNS)
        finally:
            sender.kill()
    assert connected >= 5
    eventually(lambda: chassis.stats().counter("syn_cookie") - before.counter("syn_cookie") > SYNS * 0.9, 10,
               "the SYNs are answered")
    after = chassis.quiet_stats()
    assert after.counter("holds") == before.counter("holds") == 0
    assert after.counter("flows") - before.counter("flows") <= connected


def test_plain_http_reaches_a_blade(chassis: Chassis) -> None:
    before = chassis.stats().counter("steer_not_tls")
    status, text = run_client(["curl", "-sS", "--max-time", "5", f"http://{VIP4}:{PORT}/"])
    assert status == 0 and "plain HTTP request was sent to HTTPS port" in text, text
    assert chassis.stats().counter("steer_not_tls") == before + 1


def test_stray_segments_reach_a_blade(chassis: Chassis) -> None:
    """A dispatcher that has just been started knows no flows: the blade may well know this one."""
    before = chassis.quiet_stats()
    for _ in range(10):
        run(hand_made("stray", "c0", gateway_mac(), VIP4, str(PORT), CLIENT4))
    eventually(lambda: chassis.stats().counter("steer_midstream") == before.counter("steer_midstream") + 10, 5,
               "every stray segment is counted")
    assert chassis.quiet_stats().counter("holds") == 0


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
                                     b"\x16\x03\x01\xff\xff" + b"\xff" * 1000, b"\x00", b"\x16"])
def test_hostile_hellos_do_no_harm(chassis: Chassis, session: Path, garbage: bytes) -> None:
    script = (f"import socket; s = socket.create_connection(({VIP4!r}, {PORT}), 5); s.sendall({garbage!r}); "
              "s.shutdown(socket.SHUT_WR); s.settimeout(10)\n"
              "try:\n    s.recv(100)\nexcept ConnectionResetError:\n    pass")
    status, text = run_client(["/usr/bin/python3", "-c", script])
    assert status == 0, text
    assert openssl.connect("1.3", session).ok
    assert chassis.quiet_stats().counter("held") == 0


def test_the_dispatchers_kernel_still_answers(chassis: Chassis) -> None:
    for address in (FRONT4, "2001:db8:1::1", "10.77.0.11", "fd77::11"):
        status, text = run_client(["ping", "-c", "2", "-i", "0.2", "-W", "3", address])
        assert status == 0, text
