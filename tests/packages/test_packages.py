# SPDX-License-Identifier: Apache-2.0
"""A chassis that was set up from the packages as the README says: sessions resume; upgrades cost nobody a connection or a
session; purging leaves nothing. The order of the tests is the life of an installation."""

import subprocess
import time
from pathlib import Path

import pytest
from conftest import Chassis

from common.shell import run
from lab.namespaces import wait_until
from package.build import NAMES

ABOUT_US = r"find / -xdev \( -path /proc -o -path /sys -o -path /root -o -path /var/cache \) -prune -o -iname '*keyrail*' -print; " \
           "find /dev/shm /run /sys/fs/bpf -iname '*keyrail*'; for group in keyrail keyrail-admin; do getent group $group || true; done"


def newer(package: Path, folder: Path) -> Path:
    """The same package as one of a later version: as dpkg sees it, every file is replaced."""
    tree = folder / package.stem
    run(["dpkg-deb", "--raw-extract", package, tree])
    control = (tree / "DEBIAN/control").read_text()
    version = next(line for line in control.splitlines() if line.startswith("Version: "))
    (tree / "DEBIAN/control").write_text(control.replace(version, f"{version}+later"))
    made = folder / f"{package.stem}-later.deb"
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made])
    return made


def lintian(packages: list[Path]) -> str:
    return run(["lintian", "--fail-on=none", "--info", "--display-info", "--pedantic", "--no-cfg", *packages], check=False, timeout=300).stdout


def test_lintian_has_nothing_to_say(packages: dict[str, Path]) -> None:
    said = [line for line in lintian([packages[name] for name in NAMES]).splitlines() if line[:2] in ("E:", "W:", "I:", "P:")]
    assert not said, "\n".join(said)


def test_nothing_starts_before_it_is_configured(packages: dict[str, Path], root: Path) -> None:
    from package.machine import Machine
    with Machine("fresh", root) as machine:
        before = machine.sh(ABOUT_US)
        for name in NAMES:
            machine.write(f"/root/{packages[name].name}", packages[name].read_bytes())
        machine.sh("apt-get install -y /root/keyrail-dispatcher_*.deb /root/keyrail-blade_*.deb")
        shown = machine.sh("systemctl show --property=ActiveState,ConditionResult,UnitFileState keyrail-dp keyraild keyrail-agent")
        assert shown.count("ActiveState=inactive") == shown.count("UnitFileState=enabled") == 3, shown
        assert not machine.sh("systemctl list-units --state=failed --no-legend 'keyrail*'")
        machine.sh("apt-get purge -y keyrail-dispatcher keyrail-blade")
        assert machine.sh(ABOUT_US) == before


def test_the_readme_sets_it_up(chassis: Chassis) -> None:
    assert "shares its sessions" in chassis.said["keyrail-blade status"], chassis.said
    late = "late binding works" in chassis.said["keyrail-agent --check"]  # this kernel's word
    assert ("late" if late else "early") in chassis.dispatcher.sh("keyrail status"), chassis.dispatcher.sh("keyrail status")
    assert "ok" in chassis.said["keyraild --check /etc/keyrail/keyraild.toml"]


@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_sessions_resume(chassis: Chassis, version: str) -> None:
    session = chassis.scratch / f"resume-{version}"
    assert [chassis.connect(session, version) for _ in range(3)] == ["new", "resumed", "resumed"]


def test_the_session_is_in_the_store(chassis: Chassis) -> None:
    """nginx forgets its own sessions when it is restarted; those in the store it finds again while the agent has it."""
    session = chassis.scratch / "restart"
    assert chassis.connect(session) == "new"
    chassis.blade.sh("systemctl restart nginx")
    assert wait_until(lambda: chassis.connect(chassis.scratch / "probe") in ("new", "resumed"), 10, 0.2)
    assert chassis.connect(session) == "resumed"


def test_nginx_hands_the_library_to_its_successor(chassis: Chassis) -> None:
    """kill -USR2, as Debian's upgrades of nginx do."""
    chassis.blade.sh("""
old=$(cat /run/nginx.pid); kill -USR2 $old
for n in $(seq 100); do [ ! -s /run/nginx.pid.oldbin ] || [ ! -s /run/nginx.pid ] || break; sleep 0.1; done
test -s /run/nginx.pid.oldbin
grep -q libkeyrail-tls.so /proc/$(cat /run/nginx.pid)/maps; kill -QUIT $old
for n in $(seq 100); do [ -e /run/nginx.pid.oldbin ] || exit 0; sleep 0.1; done; exit 1""")
    assert "nginx            yes      shares its sessions" in chassis.blade.sh("keyrail-blade status")


def test_an_upgrade_of_the_blade_ends_nothing(chassis: Chassis, packages: dict[str, Path], tmp_path: Path) -> None:
    session, download = chassis.scratch / "upgrade", chassis.download(15)
    assert chassis.connect(session) == "new"
    server, agent = chassis.blade.pid("nginx"), chassis.blade.pid("keyrail-agent")
    chassis.blade.write("/root/later.deb", newer(packages["keyrail-blade"], tmp_path).read_bytes())
    chassis.blade.sh("apt-get install -y /root/later.deb")
    assert chassis.blade.pid("nginx") == server and chassis.blade.pid("keyrail-agent") not in (0, agent)
    assert download.poll() is None, "it should have taken longer than the upgrade"
    assert "by the library of before an upgrade" in chassis.blade.sh("keyrail-blade status")
    assert wait_until(lambda: chassis.connect(session) == "resumed", 5, 0.1)
    assert chassis.whole(download)
    chassis.blade.sh("systemctl restart nginx")
    assert wait_until(lambda: chassis.connect(session) == "resumed", 5, 0.2)
    assert "by the library of before" not in chassis.blade.sh("keyrail-blade status")


def test_an_upgrade_of_the_dispatcher_ends_nothing(chassis: Chassis, packages: dict[str, Path], tmp_path: Path) -> None:
    session, download = chassis.scratch / "dispatcher", chassis.download(15)
    assert chassis.connect(session) == "new"
    before = {unit: chassis.dispatcher.pid(unit) for unit in ("keyrail-dp", "keyraild")}
    chassis.dispatcher.write("/root/later.deb", newer(packages["keyrail-dispatcher"], tmp_path).read_bytes())
    chassis.dispatcher.sh("apt-get install -y /root/later.deb")
    assert all(chassis.dispatcher.pid(unit) not in (0, pid) for unit, pid in before.items())
    assert download.poll() is None, "it should have taken longer than the upgrade"
    assert wait_until(lambda: chassis.connect(session) == "resumed", 10, 0.2)
    assert chassis.whole(download)


def test_a_killed_dispatcher_ends_nothing(chassis: Chassis) -> None:
    download = chassis.download(8)
    time.sleep(1)
    for unit in ("keyrail-dp", "keyraild"):
        chassis.dispatcher.sh(f"systemctl kill --kill-whom=main --signal=KILL {unit}")
    assert wait_until(lambda: chassis.connect(chassis.scratch / "killed") in ("new", "resumed"), 10, 0.2)
    assert chassis.whole(download)


def test_disable_undoes_enable(chassis: Chassis) -> None:
    chassis.blade.sh("keyrail-blade disable --now nginx")
    status = chassis.blade.sh("keyrail-blade status")
    assert "nginx            no       keeps its sessions to itself" in status, status
    assert chassis.blade.sh("ls -d /etc/systemd/system/nginx.service.d /etc/nginx/modules-enabled/90-keyrail.conf 2>/dev/null || true") == ""
    for server in ("nginx", "haproxy", "apache2"):
        chassis.blade.sh(f"keyrail-blade enable {server}")
    chassis.blade.sh("systemctl restart nginx")


@pytest.mark.parametrize(("words", "complaint"), [
    ("enable nothing", "there is no unit nothing.service; is the server installed?"),
    ("enable ../etc", "'../etc' is no name of a unit"), ("enable", "keyrail-blade enable [--now] SERVER"),
    ("disable sshd", "sshd is not enabled"), ("nonsense", "keyrail-blade enable [--now] SERVER")])
def test_mistakes_are_explained(chassis: Chassis, words: str, complaint: str) -> None:
    assert complaint in chassis.blade.sh(f"! keyrail-blade {words}")


def test_purge_leaves_nothing(chassis: Chassis) -> None:
    download: subprocess.Popen[str] = chassis.download(4)
    time.sleep(1)
    server = chassis.blade.pid("nginx")
    for machine in (chassis.blade, chassis.dispatcher):
        machine.sh("rm -rf /run/systemd/system/keyrail*.d")  # the tests' own
    chassis.blade.sh("apt-get purge -y keyrail-blade")
    assert chassis.blade.pid("nginx") == server
    assert chassis.whole(download)
    assert chassis.blade.sh(ABOUT_US) == ""
    chassis.blade.sh("systemctl restart nginx; ! grep -q keyrail /proc/$(cat /run/nginx.pid)/maps")
    chassis.dispatcher.sh("apt-get purge -y keyrail-dispatcher")
    assert chassis.dispatcher.sh(ABOUT_US) == ""
