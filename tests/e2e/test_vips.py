# SPDX-License-Identifier: Apache-2.0
"""What a VIP says where no server does: echo replies and refusals; and what stands before a hello."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS, bracketed, run_client
from lab.plan import PORT, SERVER_NAME, VIP4, VIP6, WEB_CA, Options, blades, directory
from support import proxied
from support.chassis import Chassis, eventually, lab

PYTHON = ["/usr/bin/python3", "-B"]
both_families = pytest.mark.parametrize("vip", [VIP4, VIP6])
both_versions = pytest.mark.parametrize("version", VERSIONS)
REFUSED, TIMED_OUT = 7, 28  # curl's exit statuses


def with_key(line: str) -> Callable[[str], str]:
    return lambda text: text.replace("[[service]]\n", f"[[service]]\n{line}\n")


def ping(vip: str, *options: str) -> tuple[int, str]:
    return run_client(["ping", "-c", "1", "-W", "1", *options, vip])


def connect(vip: str, port: int) -> int:
    """curl's exit status after a second at most."""
    return run_client(["curl", "-sS", "--max-time", "1", f"http://{bracketed(vip)}:{port}/"])[0]


def datagram(vip: str) -> str:
    """What becomes of a UDP datagram to it."""
    script = ("import socket, sys; "
              "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM); "
              "s.settimeout(1); s.connect((sys.argv[1], 443)); s.send(b'QUIC?')\n"
              "try:\n    s.recv(100)\nexcept OSError as error:\n    print(type(error).__name__)")
    return run_client([*PYTHON, "-c", script, vip])[1].strip()


@contextmanager
def no_server(chassis: Chassis) -> Iterator[None]:
    """On no blade."""
    server = chassis.options.server
    try:
        for blade in blades(chassis.options):
            os.kill(chassis.pid(blade.host, server), signal.SIGTERM)
        eventually(lambda: "up" not in chassis.blade_states().values(), 10, "no blade is up")
        yield
    finally:
        for blade in blades(chassis.options):
            lab("restart", blade.host, server)
        chassis.wait_for_states("up")


@both_families
def test_a_vip_answers_ping(chassis: Chassis, vip: str) -> None:
    before = chassis.stats().counter("ping_answered")
    for size in ("0", "56", "1400"):
        status, text = ping(vip, "-s", size)
        assert status == 0, text
    assert chassis.stats().counter("ping_answered") == before + 3


@both_families
def test_no_ping_by_the_key(chassis: Chassis, vip: str) -> None:
    with chassis.configured(with_key("ping = false")):
        before = chassis.stats().counter("drop_no_ping")
        assert ping(vip)[0] == 1
        assert chassis.stats().counter("drop_no_ping") == before + 1
    assert ping(vip)[0] == 0


@both_families
def test_pings_are_limited(chassis: Chassis, vip: str) -> None:
    """And cost nobody else a connection."""
    before = chassis.stats()
    status, text = run_client(["ping", "-q", "-f", "-l", "500", "-c", "5000", "-w", "5", vip])
    assert status in (0, 1), text
    limited = chassis.stats().counter("drop_answer_limit") - before.counter("drop_answer_limit")
    assert limited > 0, text
    assert chassis.stats().counter("ping_answered") > before.counter("ping_answered") + 100


@both_families
def test_a_port_without_a_service_is_refused_at_once(chassis: Chassis, vip: str) -> None:
    before = chassis.stats()
    assert connect(vip, 80) == REFUSED
    assert datagram(vip) == "ConnectionRefusedError"
    after = chassis.stats()
    assert after.counter("refused_reset") == before.counter("refused_reset") + 1
    assert after.counter("refused_icmp") == before.counter("refused_icmp") + 1


@both_families
def test_silence_by_the_key(chassis: Chassis, vip: str) -> None:
    with chassis.configured(with_key('refuse = "drop"')):
        before = chassis.stats()
        assert connect(vip, 80) == TIMED_OUT
        assert datagram(vip) == "TimeoutError"
        assert chassis.stats().counter("drop_no_service") >= before.counter("drop_no_service") + 2
    assert connect(vip, 80) == REFUSED


@pytest.mark.parametrize("options", [Options(), Options(bind="early"), Options(plain=True), Options(server="haproxy")], ids=str)
def test_a_service_without_a_blade_is_refused_at_once(chassis: Chassis, options: Options) -> None:
    with no_server(chassis):
        before = chassis.stats().counter("refused_reset")
        for vip in (VIP4, VIP6):
            begin = time.monotonic()
            assert connect(vip, PORT) == REFUSED, chassis.account()
            assert time.monotonic() - begin < 1
        assert chassis.stats().counter("refused_reset") == before + 2
        with chassis.configured(with_key('refuse = "drop"')):
            assert connect(VIP4, PORT) == TIMED_OUT
    assert connect(VIP4, PORT) not in (REFUSED, TIMED_OUT)


def test_draining_blades_are_better_than_none(chassis: Chassis, session: Path) -> None:
    with chassis.drained("blade1"), chassis.drained("blade2"), chassis.drained("blade3"):
        assert openssl.connect("1.3", session).ok


# --- PROXY headers


@contextmanager
def behind_a_balancer(chassis: Chassis) -> Iterator[None]:
    """The servers expect a PROXY header before each hello."""
    good: dict[Path, str] = {}
    server = chassis.options.server
    try:
        for blade in blades(chassis.options):
            file = directory(blade.host) / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[server]
            good[file] = file.read_text()
            file.write_text(good[file].replace("443 ssl http2", "443 ssl http2 proxy_protocol")
                            .replace(":443 ssl crt", ":443 accept-proxy ssl crt")
                            .replace(":443 v6only ssl crt", ":443 accept-proxy v6only ssl crt"))
            assert file.read_text() != good[file]
            lab("restart", blade.host, server)
        chassis.wait_for_states("up")
        yield
    finally:
        for file, text in good.items():
            file.write_text(text)
            lab("restart", file.parent.name, server)
        chassis.wait_for_states("up")


def returns(vip: str, version: str, kind: str, how: str) -> list[str]:
    status, text = run_client([*PYTHON, str(proxied.__file__), str(WEB_CA), vip, str(PORT), SERVER_NAME, version, kind, how, "7"])
    assert status == 0, text
    return [line.split()[0] for line in text.splitlines()[1:]]


@pytest.mark.parametrize("options", [Options(), Options(bind="early"), Options(server="haproxy")], ids=str)
def test_the_hello_behind_a_proxy_header_is_read(chassis: Chassis, options: Options) -> None:
    with behind_a_balancer(chassis):
        before = chassis.stats()
        for version in VERSIONS:
            for vip in (VIP4, VIP6):
                for kind in ("v1", "v2"):
                    for how in ("with", "before"):
                        seen = returns(vip, version, kind, how)
                        assert seen == ["resumed"] * 6, (version, vip, kind, how, seen, chassis.account())
        after = chassis.stats()
        assert after.counter("steer_not_tls") == before.counter("steer_not_tls")
        with chassis.configured(with_key("proxy_protocol = false")):
            before = chassis.stats()
            returns(VIP4, "1.3", "v2", "with")
            assert chassis.stats().counter("steer_not_tls") == before.counter("steer_not_tls") + 7
