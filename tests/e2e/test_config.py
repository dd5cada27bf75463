# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the configuration: named with file and line, and no harm done to what runs."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from clients import curl
from clients.outcome import resumed
from common.shell import run
from lab.plan import BINARIES, CONFIG, DISPATCH
from support.chassis import Chassis, eventually

Change = Callable[[str], str]


def second_service(text: str) -> str:
    service = text[text.index("[[service]]"):]
    return text + service.replace('name = "www"', 'name = "www2"')


BAD: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda text: text.replace('steering = "session"', 'steerin = "session"'), "steerin"),
    "duplicate blade id": (lambda text: text.replace("id = 2", "id = 1"), "1"),
    "VIP used twice": (second_service, "198.51.100.1"),
    "missing certificate": (lambda text: text.replace("control.pem", "absent.pem"), "absent.pem"),
    "wrong type": (lambda text: text.replace("port = 443", 'port = "https"'), "port"),
    "port out of range": (lambda text: text.replace("port = 443", "port = 70000"), "port"),
    "unknown pool": (lambda text: text.replace('pool = "web"', 'pool = "wbe"'), "wbe"),
    "blade that is not there": (lambda text: text.replace("blades = [1, 2, 3]", "blades = [1, 2, 9]"), "9"),
    "not TOML": (lambda text: text + "\n[[service\n", ""),
}
bad_configs = pytest.mark.parametrize("change, named", BAD.values(), ids=BAD.keys())


def check(file: Path) -> tuple[int, str]:
    done = run([BINARIES / "keyraild", "--check", file], check=False)
    return done.returncode, done.stdout + done.stderr


def test_good_config(chassis: Chassis) -> None:
    status, text = check(CONFIG)
    assert (status, text.strip()) == (0, f"{CONFIG}: ok")


@bad_configs
def test_bad_config_is_explained(chassis: Chassis, tmp_path: Path, change: Change, named: str) -> None:
    good = CONFIG.read_text()
    bad = tmp_path / "bad.toml"
    bad.write_text(change(good))
    assert bad.read_text() != good
    status, text = check(bad)
    assert status == 1, text
    assert re.search(rf"^{re.escape(str(bad))}:\d+: .{{20,}}", text, re.MULTILINE), text
    assert named in text


def test_missing_file_is_explained(chassis: Chassis, tmp_path: Path) -> None:
    status, text = check(tmp_path / "absent.toml")
    assert status == 1 and "absent.toml" in text, text


@bad_configs
def test_running_daemon_keeps_its_state(chassis: Chassis, change: Change, named: str) -> None:
    good, before = CONFIG.read_text(), chassis.keyrail("blade", "list")
    log = chassis.log(DISPATCH, "keyraild")
    try:
        CONFIG.write_text(change(good))
        os.kill(chassis.pid(DISPATCH, "keyraild"), signal.SIGHUP)
        eventually(lambda: str(CONFIG) in chassis.log(DISPATCH, "keyraild")[len(log):], 5, "a line in the log")
        assert [entry["id"] for entry in chassis.keyrail("blade", "list")] == [entry["id"] for entry in before]
        assert resumed(curl.connect("1.3", 6)) == 5
    finally:
        CONFIG.write_text(good)


def test_good_change_takes_effect_without_loss(chassis: Chassis) -> None:
    good = CONFIG.read_text()
    pid = chassis.pid(DISPATCH, "keyraild")
    try:
        CONFIG.write_text(good.replace("blades = [1, 2, 3]", "blades = [1]"))
        os.kill(pid, signal.SIGHUP)
        eventually(lambda: {curl.connect("1.3", 1)[0].blade for _ in range(8)} == {"blade1"}, 10,
                   "only blade1 is left in the pool")
    finally:
        CONFIG.write_text(good)
        os.kill(pid, signal.SIGHUP)
    eventually(lambda: len({curl.connect("1.3", 1)[0].blade for _ in range(16)}) == 3, 10, "all three are back")
