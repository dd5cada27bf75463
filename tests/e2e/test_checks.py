# SPDX-License-Identifier: Apache-2.0
"""Health checks: keyraild asks each blade what a client would ask, by the VIP on that blade. A blade that fails gets nothing
new within a second, whatever its agent says; its flows live; it comes back gently. And what the operator wishes of blades."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from clients import curl
from lab.namespaces import in_host
from lab.plan import DISPATCH, PORT, SERVER_NAME, VIP4, VIP6, WEB_CA, Options, blades
from support.bad_certificates import expired, self_signed
from support.chassis import Chassis, eventually, lab
from support.stopped import children, stopped

BLADE = "blade2"
NUMBER = BLADE.removeprefix("blade")
# The defaults, but for what two busy cores may take for an answer, and what a test has no time for.
CHECK = {"type": '"https"', "sni": f'"{SERVER_NAME}"', "ca": f'"{WEB_CA}"', "timeout": '"1s"', "down": '"500ms"',
         "rise": "2", "hold_down": '"1s"', "slow_start": '"0s"'}


def with_checks(**changes: str) -> Callable[[str], str]:
    table = "\n[pool.check]\n" + "".join(f"{key} = {value}\n" for key, value in {**CHECK, **changes}.items())

    def change(text: str) -> str:
        head, line, rest = text.partition('name = "web"\nblades = ')
        pool, newline, others = rest.partition("\n")
        return head + line + pool + newline + table + others

    return change


@contextmanager
def checked(chassis: Chassis, **changes: str) -> Iterator[None]:
    """All are checked, and well."""
    with chassis.configured(with_checks(**changes)):
        eventually(lambda: all(check["state"] == "up" for check in found(chassis)), 20, "all are well")
        yield
    chassis.wait_for_states("up")


def found(chassis: Chassis, blade: str = "") -> list[dict[str, Any]]:
    checks = chassis.keyrail("check", "list")["checks"]
    return [check for check in checks if not blade or f"blade{check['blade']}" == blade]


def answers(chassis: Chassis) -> str:
    return " | ".join(check["last"]["answer"] for check in found(chassis, BLADE) if check["state"] == "down")


def is_out(chassis: Chassis) -> bool:
    return chassis.blade_states()[BLADE] == "down" and bool(answers(chassis))


def others_serve(times: int = 8) -> None:
    for vip in (VIP4, VIP6):
        outcomes = curl.connect("1.3", times, vip)
        assert all(outcome.ok and outcome.blade != BLADE for outcome in outcomes), outcomes


def events(chassis: Chassis, kind: str) -> list[str]:
    return [event["text"] for event in chassis.keyrail("event", "list")["events"] if event["kind"] == kind]


@contextmanager
def nginx_with(chassis: Chassis, change: Callable[[str], str]) -> Iterator[None]:
    config = Path(f"/run/keyrail-lab/{BLADE}/nginx.conf")
    good = config.read_text()
    assert change(good) != good
    try:
        config.write_text(change(good))
        os.kill(chassis.pid(BLADE, "nginx"), signal.SIGHUP)
        yield
    finally:
        config.write_text(good)
        os.kill(chassis.pid(BLADE, "nginx"), signal.SIGHUP)


def workers(chassis: Chassis) -> list[int]:
    return children(chassis.pid(BLADE, "nginx"))


@contextmanager
def without_vip() -> Iterator[None]:
    in_host(BLADE, ["ip", "-4", "address", "del", f"{VIP4}/32", "dev", "lo"])
    try:
        yield
    finally:
        in_host(BLADE, ["ip", "-4", "address", "add", f"{VIP4}/32", "dev", "lo"])


@contextmanager
def filtered(verdict: str) -> Iterator[None]:
    """What the dispatcher itself sends to the server: clients get through."""
    rules = (f"table inet ill {{ chain input {{ type filter hook input priority 0; policy accept; "
             f"ip saddr 10.77.0.1 tcp dport {PORT} {verdict}; ip6 saddr fd77::1 tcp dport {PORT} {verdict}; }}; }}")
    in_host(BLADE, ["nft", rules])
    try:
        yield
    finally:
        in_host(BLADE, ["nft", "delete table inet ill"])


def certificate_of(pem: str, at: Path) -> Callable[[str], str]:
    (at / "bad.pem").write_text(pem)
    (at / "bad.pem").chmod(0o644)

    def change(text: str) -> str:
        return "\n".join(f"        ssl_certificate {at}/bad.pem;" if line.strip().startswith("ssl_certificate ") else line
                         for line in text.splitlines()) + "\n"

    return change


ILLS: dict[str, tuple[Callable[[Chassis, Path], AbstractContextManager[None]], str]] = {
    "hangs": (lambda chassis, _: stopped(workers(chassis)), "no answer within 1s"),
    "500": (lambda chassis, _: nginx_with(chassis, lambda text: text.replace('return 200 "', 'return 500 "')), "HTTP/1.1 500"),
    "expired": (lambda chassis, at: nginx_with(chassis, certificate_of(expired(at), at)), "certificate has expired"),
    "wrong certificate": (lambda chassis, at: nginx_with(chassis, certificate_of(self_signed(at), at)), "certificate: self"),
    "VIP missing": (lambda chassis, _: without_vip(), "no answer within 1s (TCP connection)"),
    "RST": (lambda chassis, _: filtered("reject with tcp reset"), "TCP: Connection refused"),
    "blackhole": (lambda chassis, _: filtered("drop"), "no answer within 1s"),
}


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    """nginx reads it as root, but who knows."""
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("ill", ILLS)
def test_an_ill_blade_gets_nothing_new(chassis: Chassis, ill: str, open_directory: Path) -> None:
    make, answer = ILLS[ill]
    with checked(chassis):
        began = time.monotonic()
        with make(chassis, open_directory):
            eventually(lambda: is_out(chassis), 10, "it is noticed")
            print(f"{ill}: out after {time.monotonic() - began:.2f} s")
            assert answer in answers(chassis), answers(chassis)
            report = next(blade for blade in chassis.keyrail("blade", "list") if str(blade["id"]) == NUMBER)
            assert answer in report["why_down"] or any(answer in fault for fault in report["faults"]), report
            assert report["flows_live"] and not report["gone"]
            others_serve()
        eventually(lambda: chassis.blade_states()[BLADE] == "up", 20, "it comes back")
        assert any(answer in text for text in events(chassis, "check.failed"))


def test_what_a_check_proves_and_leaves(chassis: Chassis) -> None:
    def handshakes() -> list[tuple[int, int]]:
        return [(blade["resumed"], blade["full"]) for blade in chassis.keyrail("blade", "list")]

    with checked(chassis):
        eventually(lambda: all(check["resumed"] >= 2 for check in found(chassis)), 15, "sessions of checks are resumed")
        assert {check["address"] for check in found(chassis, BLADE)} == {f"{VIP4}:{PORT}", f"[{VIP6}]:{PORT}"}
        assert all(check["resumed"] == check["offered"] and check["last"]["status"] == 200 for check in found(chassis))
        time.sleep(2.5)  # agents know where checks come from, and have reported once more
        before, resumed = handshakes(), sum(check["resumed"] for check in found(chassis))
        eventually(lambda: sum(check["resumed"] for check in found(chassis)) >= resumed + 12, 15, "more checks")
        time.sleep(1.5)
        assert handshakes() == before, "checks count for no client"
        ran = chassis.keyrail("check", "run", NUMBER)["checks"]
        assert len(ran) == 2 and all(check["good"] for check in ran), ran
        metrics = in_host(DISPATCH, ["sh", "-c", 'curl -sS --unix-socket "${KEYRAIL_SOCKET:-/run/keyrail-lab/dispatch/keyraild.sock}" '
                                     "http://localhost/metrics"])
        assert f'keyrail_blade_check_up{{blade="{NUMBER}",service="www",address="{VIP4}:{PORT}"}} 1' in metrics
    assert found(chassis) == []


def test_one_that_flaps_stays_out_longer_each_time(chassis: Chassis) -> None:
    def out() -> bool:  # by both addresses: each counts for itself
        return all(check["state"] == "down" for check in found(chassis, BLADE)) and is_out(chassis)

    with checked(chassis, hold_down='"1s..10s"'):
        for _ in range(2):
            with filtered("reject with tcp reset"):
                eventually(out, 10, "out")
            eventually(lambda: chassis.blade_states()[BLADE] == "up", 20, "in again")
        with filtered("reject with tcp reset"):
            eventually(out, 10, "out")
        held = eventually(lambda: [check for check in found(chassis, BLADE) if check["held_ms"]], 10, "good, and held")
        assert held[0]["flaps"] >= 3 and held[0]["held_ms"] > 1000, held
        assert events(chassis, "blade.flapping")
        eventually(lambda: chassis.blade_states()[BLADE] == "up", 20, "in again")


def test_when_all_fail_they_serve_all_the_same(chassis: Chassis) -> None:
    """The check is wrong, not the blades."""
    for fail_open in ('"0%"', '"60%"'):
        with chassis.configured(with_checks(expect='"201"', fail_open=fail_open)):
            eventually(lambda: all(check["state"] == "down" for check in found(chassis)), 15, "all fail")
            assert all(outcome.ok for outcome in curl.connect("1.3", 6)), fail_open
            chassis.wait_for_states("up")
    assert any("www" in text for text in events(chassis, "service.fail_open"))


def test_where_the_agent_is_silent_checks_decide_alone(chassis: Chassis) -> None:
    with checked(chassis), stopped([chassis.pid(BLADE, "keyrail-agent")]):
        eventually(lambda: any("checks decide alone" in fault for blade in chassis.keyrail("blade", "list")
                               for fault in blade["faults"]), 10, "it is said")
        assert chassis.blade_states()[BLADE] == "up"
        with stopped(workers(chassis)):
            eventually(lambda: is_out(chassis), 10, "nobody but the checks can know")
            others_serve()
        eventually(lambda: chassis.blade_states()[BLADE] == "up", 20, "it comes back")


def test_while_the_dispatcher_is_away_nobody_is_judged(chassis: Chassis) -> None:
    with checked(chassis):
        with chassis.killed(DISPATCH, "keyrail-dp"):
            time.sleep(3)
            assert set(chassis.blade_states().values()) == {"up"}
        chassis.wait_for_states("up")
        good = {check["address"] + str(check["blade"]): check["good"] for check in found(chassis)}
        eventually(lambda: all(check["good"] > good[check["address"] + str(check["blade"])] for check in found(chassis)), 20, "it goes on")
        assert not any(check["flaps"] for check in found(chassis))


@pytest.mark.parametrize("options", [Options(server="mixed"), Options(bind="early")], ids=str)
def test_other_servers_and_early_binding(chassis: Chassis, options: Options) -> None:
    with checked(chassis, type='"tls"'):
        eventually(lambda: all(check["resumed"] >= 2 for check in found(chassis)), 15, "sessions of checks are resumed")
        with filtered("drop"):
            eventually(lambda: is_out(chassis), 10, "it is noticed")
            others_serve(4)


def test_by_the_backplane(chassis: Chassis) -> None:
    with checked(chassis, via='"backplane"'):
        assert len(found(chassis, BLADE)) == 1
        with filtered("drop"):
            eventually(lambda: is_out(chassis), 10, "it is noticed")


def test_what_the_operator_wishes_of_blades(chassis: Chassis) -> None:
    def share(times: int = 40) -> float:
        got = [outcome.blade for _ in range(times // 10) for outcome in curl.connect("1.3", 1, VIP4) + curl.connect("1.2", 1, VIP6)]
        return got.count(BLADE) / len(got)

    try:
        assert chassis.keyrail("blade", "weight", NUMBER, "1")["weight"] == 1
        assert share() <= 0.25
        lab("restart", DISPATCH, "keyraild")
        chassis.wait_for_states("up")
        assert next(blade for blade in chassis.keyrail("blade", "list") if str(blade["id"]) == NUMBER)["weight"] == 1, "it is kept"
        chassis.keyrail("blade", "disable", BLADE)
        eventually(lambda: chassis.blade_states()[BLADE] == "down", 5)
        others_serve(4)
    finally:
        chassis.keyrail("blade", "enable", BLADE)
        chassis.keyrail("blade", "weight", NUMBER, "100")
    chassis.wait_for_states("up")
    try:
        chassis.keyrail("--yes", "service", "disable", "www")
        eventually(lambda: not curl.connect("1.3", 1)[0].ok, 5, "new clients are refused")
    finally:
        chassis.keyrail("service", "enable", "www")
    eventually(lambda: curl.connect("1.3", 1)[0].ok, 5, "and taken")
    assert blades(chassis.options)
