# SPDX-License-Identifier: Apache-2.0
"""How connections end, how they do not, and what becomes of the ports that they leave."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients import curl, gnutls, openssl
from clients.outcome import VERSIONS, run_client, where
from lab.namespaces import enter
from lab.plan import CLIENT, CLIENT4, FLOWS, PORT, SERVER_NAME, VIP4, VIP6, WEB_CA, Options, blades
from support import half_hello, patient, port_reuse, segments
from support.chassis import Chassis, eventually, gateway_mac
from support.haproxy import haproxy_with
from testing.meanwhile import going_on

HAPROXY = Options(server="haproxy")
EARLY = Options(bind="early")
ALONE = Options(blades=2)
PYTHON = ["/usr/bin/python3", "-B"]
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_families = pytest.mark.parametrize("vip", [VIP4, VIP6])
every_binding = pytest.mark.parametrize("options", [Options(), EARLY], ids=str)

# KR_REUSES=9000: 2000 connections of curl and gnutls, and 9000 of 16 clients, for each version and address; as a part of
# tools/test it is a shorter run.
REUSES = int(os.environ.get("KR_REUSES", "1600"))
CLIENTS, PORTS = 16, 4


def client(program: str | None, *words: object) -> list[str]:
    assert program
    return [*PYTHON, program, *map(str, words)]


def common(vip: str, version: str) -> tuple[object, ...]:
    return WEB_CA, vip, PORT, SERVER_NAME, version


# --- ports that are used again


@both_versions
@both_families
@every_binding
def test_a_reused_port_does_not_cost_the_session(chassis: Chassis, options: Options, version: str, vip: str) -> None:
    """16 clients on four ports each: what the blade has in TIME_WAIT, and what it does not, but never a port that
    rested for a minute. One server would resume them all."""
    before = chassis.stats()
    status, text = run_client(client(port_reuse.__file__, *common(vip, version), CLIENTS, PORTS, REUSES // CLIENTS),
                              timeout=180)
    assert status == 0, text
    seen = json.loads(text)
    after = chassis.stats()
    moves = {name: value - before.moves[name] for name, value in after.moves.items()
             if isinstance(value, int) and value != before.moves[name]}
    assert not seen["errors"], (seen, moves, chassis.account())
    assert seen["answered"] == seen["connections"] == REUSES // CLIENTS * CLIENTS
    returns = seen["answered"] - seen["first"]
    assert seen["resumed"] >= 0.995 * returns, f"{seen} {moves} {chassis.account()}"
    assert seen.get("slow", 0) <= 0.005 * returns, (seen, moves, chassis.account())


@contextmanager
def few_ports(first: int, last: int) -> Iterator[None]:
    """The client's kernel has these for its connections, and takes one again a second after it was in TIME_WAIT itself, as a
    busy client's or a NAT's does."""
    keys = {"net.ipv4.ip_local_port_range": f"{first} {last}", "net.ipv4.tcp_tw_reuse": "1"}
    usual = {key: run_client(["sysctl", "-n", key])[1].strip() for key in keys}
    try:
        for key, value in keys.items():
            run_client(["sysctl", "-w", f"{key}={value}"])
        yield
    finally:
        for key, value in usual.items():
            run_client(["sysctl", "-w", f"{key}={value}"])


@both_versions
def test_curl_and_gnutls_on_few_ports(chassis: Chassis, version: str) -> None:
    """Each of them closes in its own way."""
    with few_ports(41_000, 41_127):
        outcomes = curl.connect(version, REUSES // 16)
        assert all(outcome.ok for outcome in outcomes), ([one for one in outcomes if not one.ok], chassis.account())
        assert sum(outcome.resumed for outcome in outcomes) >= 0.995 * (len(outcomes) - 1), where(outcomes)
        again = [gnutls.reconnect(version) for _ in range(REUSES // 40)]
        assert all(outcome.ok for outcome in again), ([one for one in again if not one.ok], chassis.account())
        assert sum(outcome.resumed for outcome in again) >= 0.995 * len(again), (where(again), chassis.account())


@both_versions
@every_binding
@pytest.mark.parametrize("pause", [0, 30], ids=["held", "passed on"])
def test_a_half_read_hello_is_over_with_its_connection(chassis: Chassis, options: Options, version: str, pause: int) -> None:
    """Its client resets and comes again from the same port: what was read is no part of the new hello."""
    first = 22_000 + (pause * 10) + (1000 if version == "1.3" else 0) + (2000 if options == EARLY else 0)
    status, text = run_client(client(half_hello.__file__, *common(VIP4, version), first, 20, pause))
    assert status == 0, (text, chassis.account())
    assert [line.split()[0] for line in text.splitlines()] == ["resumed"] * 20, (text, chassis.account())
    assert chassis.quiet_stats().counter("held") == 0


# --- connections that last


@contextmanager
def slow_haproxy(chassis: Chassis, seconds: int, size: int) -> Iterator[None]:
    """HAProxy with patience, and /slow behind it."""
    backends: list[subprocess.Popen[str]] = []
    try:
        for blade in blades(chassis.options):
            backends.append(subprocess.Popen([*enter(blade.host), *client(patient.__file__, "serve", 8081, seconds, size)],
                                             stdout=subprocess.PIPE, text=True))
            assert backends[-1].stdout and backends[-1].stdout.readline() == "ready\n"
        with haproxy_with(chassis, "/slow", 8081):
            yield
    finally:
        for backend in backends:
            backend.kill()
            backend.wait()


@contextmanager
def patient_clients(commands: Sequence[list[str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """All of them, each connected."""
    running = [subprocess.Popen([*enter(CLIENT), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
               for command in commands]
    try:
        for one in running:
            assert one.stdout
            said = one.stdout.readline()
            assert said == "ready\n", said + one.stdout.read()
        yield running
    finally:
        for one in running:
            one.kill()
            one.wait()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.read().strip()


@pytest.mark.parametrize("options", [HAPROXY], ids=str)
def test_what_lasts_longer_than_the_end_of_a_flow(chassis: Chassis, options: Options) -> None:
    """80 s: an ended flow is forgotten after 75. Half-closed connections whose answer takes so long; silent ones, to some of
    which a stranger said RST or FIN meanwhile. All in the same 80 s."""
    seconds, size = 80, 300_000
    cases = [(version, vip) for version in VERSIONS for vip in (VIP4, VIP6)]
    half = [client(patient.__file__, "half", *common(vip, version), 23_000 + number, seconds + 25)
            for number, (version, vip) in enumerate(2 * cases)]
    silent = [client(patient.__file__, "idle", *common(vip, version), 23_100 + number, seconds)
              for number, (version, vip) in enumerate(cases)]
    ended = {23_200 + number: kind for number, kind in enumerate(["rst", "fin"] * 3)}
    hurt = [client(patient.__file__, "idle", *common(VIP4, VERSIONS[port % 2]), port, seconds) for port in ended]
    with slow_haproxy(chassis, seconds, size):
        before = chassis.stats()
        with patient_clients([*half, *silent, *hurt]) as running:
            for port, kind in ended.items():
                status, text = run_client(client(segments.__file__, "end", "c0", gateway_mac(), VIP4, PORT, CLIENT4, port, kind))
                assert status == 0, text
            with going_on(seconds - 10):
                results = [said(process) for process in running]
        account = chassis.account()
        after = chassis.stats()
    answers, others = results[:len(half)], results[len(half):]
    assert all(answer.isdigit() and int(answer) > size for answer in answers), (answers, account)
    assert others == ["alive"] * len(others), (others, account)
    assert after.counter("steer_midstream") == before.counter("steer_midstream"), account
    assert after.counter("flows_asked") == before.counter("flows_asked"), account


def test_two_blades_have_a_connection_from_one_port(chassis: Chassis, session: Path) -> None:
    """A client vanishes, and its blade does not know. The dispatcher restarts without its files and does not know either: the port's next
    connection follows its session to another blade. After one more restart it is where its client was heard last."""
    seconds = 12
    ports = {23_400 + number: (vip, version) for number, (version, vip)
             in enumerate((version, vip) for version in VERSIONS for vip in (VIP4, VIP6))}

    def restart() -> None:
        with chassis.killed("dispatch", "keyrail-dp"):
            for file in (FLOWS / "keyrail").iterdir():
                file.unlink()
        eventually(lambda: openssl.connect("1.3", session).ok, 20, "the dispatcher forwards again")

    old = {}
    for port, (vip, version) in ports.items():
        status, text = run_client(client(patient.__file__, "vanish", *common(vip, version), port))
        assert status == 0, text
        old[port] = text.strip()
    restart()
    new = [client(patient.__file__, "elsewhere", *common(vip, version), port, seconds, old[port])
           for port, (vip, version) in ports.items()]
    with patient_clients(new) as running:
        restart()
        assert [said(process) for process in running] == ["alive"] * len(new), (old, chassis.account())


@pytest.mark.parametrize("options", [ALONE], ids=str)
def test_a_service_says_how_long_idle_is(chassis: Chassis, options: Options) -> None:
    """The shortest that there may be. What was forgotten is asked for, or guessed; here it is only seen that it was. In a lab
    where nothing else was: a minute later servers give up on what other tests have left, and that is not known either."""
    def unknown() -> int:
        stats = chassis.stats()
        return stats.counter("steer_midstream") + stats.counter("flows_asked")

    seconds = 63
    minute = [client(patient.__file__, "idle", *common(VIP4, "1.3"), port, seconds) for port in (23_300, 23_301)]
    before = unknown()
    with patient_clients(minute) as running, going_on(seconds - 5):
        assert [said(process) for process in running] == ["alive"] * 2
    assert unknown() == before
    with chassis.configured(lambda text: text.replace("[[service]]\n", '[[service]]\nidle_timeout = "1min"\n')):
        with patient_clients(minute) as running, going_on(seconds - 5):
            for process in running:
                said(process)
    assert unknown() >= before + 2
