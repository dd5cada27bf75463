# SPDX-License-Identifier: Apache-2.0
"""The units: what systemd itself says of how much they may do, and that the watchdog ends who hangs."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROFILE, RELEASE, Chassis
from threads import stopped

from common.debian import within
from common.shell import run
from lab.namespaces import wait_until
from package.machine import Machine

UNITS = {"keyrail-dp": "dispatcher", "keyraild": "dispatcher", "keyrail-agent": "blade"}
WATCHDOG_SECONDS = 4
MOST = 2.5  # of systemd-analyze's 10


@pytest.mark.parametrize("unit", UNITS)
def test_exposure(unit: str, packages: dict[str, Path], tmp_path: Path) -> None:
    run(["dpkg-deb", "--extract", packages[f"keyrail-{UNITS[unit]}"], tmp_path])
    file = next(tmp_path.rglob(f"{unit}.service"))
    words = run([*within(RELEASE, tmp_path), "systemd-analyze", "security", "--offline=true", "--no-pager", file], check=False).stdout
    level = float(words.split("Overall exposure level for")[1].split(":")[1].split()[0])
    print(f"{unit}: {level}")
    assert level <= MOST, words


@pytest.mark.parametrize("unit", UNITS)
def test_it_is_ready_only_when_it_says_so_and_starts_at_boot(unit: str, chassis: Chassis) -> None:
    machine = getattr(chassis, UNITS[unit])
    shown = machine.sh(f"systemctl show --property=Type,NotifyAccess,ActiveState,UnitFileState,NRestarts {unit}").split()
    assert {"Type=notify", "ActiveState=active", "UnitFileState=enabled", "NRestarts=0"} <= set(shown), shown


def test_the_journal_has_no_complaint(chassis: Chassis) -> None:
    """A sandbox that is too small shows as "denied" or "not permitted"."""
    for machine in (chassis.dispatcher, chassis.blade):
        words = machine.sh("journalctl --no-pager -u 'keyrail*' -o cat")
        bad = [line for line in words.splitlines() if any(word in line.lower() for word in
               ("denied", "not permitted", "read-only", "error", "not locked", "cannot be locked", "unknown key", "ignoring"))]
        assert not bad, bad


def test_moves_run_before_others(chassis: Chassis) -> None:
    """`urgent` of the configuration, which the sandbox of keyraild must not take away."""
    words = chassis.dispatcher.sh("journalctl --no-pager -u keyraild -o cat")
    assert "moves run at real-time" in words, words


def test_control_brings_the_dataplane_and_waits_for_it(chassis: Chassis) -> None:
    """Its address is on a port of keyrail-dp."""
    chassis.dispatcher.sh("systemctl stop keyraild keyrail-dp; systemctl start keyraild")
    assert chassis.dispatcher.sh("systemctl is-active keyrail-dp keyraild").split() == ["active", "active"]
    assert "NRestarts=0" in chassis.dispatcher.sh("systemctl show --property=NRestarts keyraild")


def test_a_bad_configuration_is_refused_by_the_reload(chassis: Chassis) -> None:
    words = chassis.dispatcher.sh("""cd /etc/keyrail; cp keyraild.toml /tmp/good.toml; echo 'nonsense = 1' >>keyraild.toml
! systemctl reload keyraild; journalctl --no-pager -u keyraild -n 5 -o cat
cp /tmp/good.toml keyraild.toml; systemctl reload keyraild""")
    assert "unknown key 'nonsense'" in words, words


@pytest.mark.parametrize("unit", ["keyraild", "keyrail-agent"])
def test_a_loop_that_hangs_is_ended(unit: str, chassis: Chassis) -> None:
    machine = getattr(chassis, UNITS[unit])
    with impatient(machine, unit):
        began = machine.pid(unit)
        os.kill(machine.outer_pid(unit), signal.SIGSTOP)
        assert wait_until(lambda: machine.pid(unit) not in (0, began), 4 * WATCHDOG_SECONDS, 0.2), machine.journal()
        assert "watchdog" in machine.sh(f"journalctl --no-pager -u {unit}").lower()
    assert wait_until(lambda: chassis.connect(chassis.scratch / unit) in ("new", "resumed"), 10, 0.3)


def test_one_worker_that_hangs_has_the_dispatcher_restarted(chassis: Chassis) -> None:
    """The control thread and the other worker go on: only the worker's own turns tell."""
    machine, session = chassis.dispatcher, chassis.scratch / "worker"
    with impatient(machine, "keyrail-dp"):
        began = machine.pid("keyrail-dp")
        assert wait_until(lambda: chassis.connect(session) in ("new", "resumed"), 10, 0.3)
        time.sleep(WATCHDOG_SECONDS + 1)
        assert machine.pid("keyrail-dp") == began, "it moves, and was ended"
        with stopped(_worker(machine.outer_pid("keyrail-dp"))) as hear:
            assert wait_until(lambda: hear() or machine.pid("keyrail-dp") not in (0, began), 4 * WATCHDOG_SECONDS, 0.2), machine.journal()
        words = machine.sh("journalctl --no-pager -u keyrail-dp")
        assert "worker 1 has ended no turn for 2 s" in words and "watchdog" in words.lower()
        assert wait_until(lambda: chassis.connect(session) == "resumed", 10, 0.3)


def test_af_xdp_ports_take_one_capability_more(chassis: Chassis) -> None:
    machine = chassis.dispatcher
    assert "net_af_packet" in PROFILE
    machine.write("/etc/keyrail/profile.toml", PROFILE.replace("net_af_packet", "net_af_xdp").replace(",qpairs=2", "").replace("count = 2", "count = 1"))
    machine.sh("""mkdir -p /etc/systemd/system/keyrail-dp.service.d
cp /usr/share/keyrail/af_xdp.conf /etc/systemd/system/keyrail-dp.service.d/
systemctl daemon-reload; systemctl restart keyrail-dp""")
    try:
        assert wait_until(lambda: chassis.connect(chassis.scratch / "af_xdp") in ("new", "resumed"), 15, 0.3), machine.journal()
    finally:
        machine.write("/etc/keyrail/profile.toml", PROFILE)
        machine.sh("rm -r /etc/systemd/system/keyrail-dp.service.d; systemctl daemon-reload; systemctl restart keyrail-dp")


def _worker(process: int) -> int:
    """The thread of the second one, as DPDK names it."""
    return next(int(task.name) for task in Path(f"/proc/{process}/task").iterdir()
                if (task / "comm").read_text().strip() in ("lcore-worker-2", "rte-worker-2", "dpdk-worker2"))


@contextlib.contextmanager
def impatient(machine: Machine, unit: str) -> Iterator[None]:
    """A shorter watchdog than in the unit: the test waits for it."""
    machine.sh(f"""mkdir -p /run/systemd/system/{unit}.service.d
printf '[Service]\\nWatchdogSec={WATCHDOG_SECONDS}s\\n' >/run/systemd/system/{unit}.service.d/watchdog.conf
systemctl daemon-reload; systemctl restart {unit}""")
    try:
        yield
    finally:
        machine.sh(f"rm /run/systemd/system/{unit}.service.d/watchdog.conf; systemctl daemon-reload; systemctl restart {unit}")
