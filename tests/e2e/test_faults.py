# SPDX-License-Identifier: Apache-2.0
"""Things that die. Connections go on, and after a restart everything is as before."""

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from clients import curl, openssl
from clients.outcome import VERSIONS, resumed
from lab.namespaces import enter
from lab.plan import AWAY4, CLIENT, VIP4, VIP6, WEB_CA
from lab.servers import BIG_FILE
from support.chassis import Chassis, eventually

both_versions = pytest.mark.parametrize("version", VERSIONS)


@contextmanager
def running_download(target: Path) -> Iterator[None]:
    """A connection that is busy before, during and after what the test does; it must arrive whole."""
    command = [*enter(CLIENT), "curl", "-sS", "--limit-rate", "20M", "--max-time", "60", "--cacert", str(WEB_CA),
               "-o", str(target), f"https://{VIP4}/{BIG_FILE.name}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as download:
        try:
            eventually(lambda: target.exists() and target.stat().st_size > 1_000_000, 10, "the download has begun")
            yield
            assert download.wait(60) == 0, download.stderr.read() if download.stderr else ""
        finally:
            download.kill()
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(BIG_FILE.read_bytes()).digest()


@both_versions
def test_keyraild_dies(chassis: Chassis, session: Path, tmp_path: Path, version: str) -> None:
    home = openssl.connect(version, session)
    with running_download(tmp_path / "file"):
        with chassis.killed("dispatch", "keyraild"):
            # Over IPv6, whose ports nobody else used: a reused port needs a move, and there is nobody to order one.
            assert resumed(curl.connect(version, 11, VIP6)) == 10
            for _ in range(5):
                outcome = openssl.connect(version, session, VIP6)
                assert outcome.resumed and outcome.blade == home.blade, (home, outcome)
    eventually(chassis.agents_connected, 15, "every agent is connected again")
    with chassis.drained(home.blade):
        moved = openssl.connect(version, session)
        assert moved.resumed and moved.blade != home.blade, (home, moved, chassis.account())


def test_keyraild_learns_again_what_was_moved(chassis: Chassis, session: Path) -> None:
    """From an address with fresh ports: a reused one needs a move, and there is nobody to order one."""
    home = openssl.connect("1.2", session, source=AWAY4)  # keeps its name: only the directory knows of a move
    with chassis.drained(home.blade):
        moved = openssl.connect("1.2", session, source=AWAY4)
    assert moved.resumed and moved.blade != home.blade
    with chassis.killed("dispatch", "keyraild"):
        again = openssl.connect("1.2", session, source=AWAY4)
        assert again.resumed and again.blade == moved.blade, (home, moved, again, chassis.account())
    eventually(chassis.agents_connected, 15, "every agent is connected again")
    name = openssl.session_name(session)
    eventually(lambda: chassis.holder(name) == moved.blade, 10, "the directory is back")
    eventually(lambda: chassis.stats().raw["moved_entries"] > 0, 10, "the dispatcher has it, too")
    again = openssl.connect("1.2", session, source=AWAY4)
    assert again.resumed and again.blade == moved.blade, (home, moved, again, chassis.account())


@both_versions
def test_an_agent_dies(chassis: Chassis, session: Path, tmp_path: Path, version: str) -> None:
    home = openssl.connect(version, session)
    with running_download(tmp_path / "file"):
        with chassis.killed(home.blade, "keyrail-agent"):
            # Over IPv6, as above: at a reused port the session would have to move, and its holder's agent is dead.
            for _ in range(5):
                outcome = openssl.connect(version, session, VIP6)
                assert outcome.resumed and outcome.blade == home.blade, (home, outcome, chassis.account())
            assert resumed(curl.connect(version, 11, VIP6)) == 10
    eventually(chassis.agents_connected, 15, "the agent is connected again")
    home = openssl.connect(version, session)
    with chassis.drained(home.blade):
        moved = openssl.connect(version, session)
        assert moved.resumed and moved.blade != home.blade, (home, moved, chassis.account())


@both_versions
def test_a_server_dies(chassis: Chassis, session: Path, version: str) -> None:
    home = openssl.connect(version, session)
    with chassis.killed(home.blade, "nginx"):
        outcome = openssl.connect(version, session)
        assert outcome.ok and outcome.blade != home.blade, outcome
        eventually(lambda: chassis.blade_states()[home.blade] == "down", 5, "the blade is seen to be down")
    chassis.wait_for_states("up")


def test_downloads_outlive_a_dispatcher_that_is_killed(chassis: Chassis, tmp_path: Path) -> None:
    """Its flow tables are files. Connections that were resumed are not where Maglev would guess."""
    sessions = [tmp_path / f"session{i}" for i in range(8)]
    command = [*enter(CLIENT), "openssl", "s_client", "-connect", f"{VIP4}:443", "-servername", "www.keyrail.test",
               "-CAfile", str(WEB_CA), "-quiet", "-ign_eof"]
    for file in sessions:
        assert openssl.connect("1.3", file).ok
    downloads = []
    try:
        for i, file in enumerate(sessions):
            target = (tmp_path / f"file{i}").open("wb")
            process = subprocess.Popen([*command, "-sess_in", str(file)], stdin=subprocess.PIPE, stdout=target,
                                       stderr=subprocess.DEVNULL)
            downloads.append((process, target))
            assert process.stdin
            process.stdin.write(f"GET /{BIG_FILE.name} HTTP/1.0\r\nHost: www.keyrail.test\r\n\r\n".encode())
            process.stdin.flush()
        with chassis.killed("dispatch", "keyrail-dp"):
            pass
        for process, target in downloads:
            assert process.wait(90) == 0
            target.close()
            assert Path(target.name).read_bytes().partition(b"\r\n\r\n")[2] == BIG_FILE.read_bytes(), chassis.account()
    finally:
        for process, target in downloads:
            process.kill()
            process.wait()
            target.close()


def test_a_hundred_downloads_outlive_a_dispatcher_that_is_killed(chassis: Chassis, tmp_path: Path) -> None:
    """Without keyraild: flows, moved sessions and the last snapshot are where keyrail-dp left them. Each download is a connection."""
    count, size = 100, 2_000_000
    rate = ["--limit-rate", "250k"]  # eight seconds each
    command = [*enter(CLIENT), "curl", "-sS", "--http1.1", "--cacert", str(WEB_CA), "--max-time", "90", "--parallel", "--parallel-immediate",
               "--parallel-max", str(count), "--range", f"0-{size - 1}", *rate, "-o", f"{tmp_path}/file#1",
               f"https://{VIP4}/{BIG_FILE.name}?[1-{count}]"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as downloads:
        try:
            eventually(lambda: sum(f.stat().st_size > 100_000 for f in tmp_path.glob("file*")) == count, 30, "all downloads have begun")
            with chassis.killed("dispatch", "keyraild"):
                with subprocess.Popen([*enter(CLIENT), "ping", "-D", "-i", "0.01", "-w", "60", VIP4], stdout=subprocess.PIPE, text=True) as pings:
                    with chassis.killed("dispatch", "keyrail-dp"):
                        pass
                    eventually(lambda: openssl.connect("1.3", tmp_path / "session").ok, 20, "new clients are served without keyraild")
                    pings.send_signal(signal.SIGINT)
                    silence = longest_silence(pings.communicate()[0])
            assert downloads.wait(90) == 0, downloads.stderr.read() if downloads.stderr else ""
        finally:
            downloads.kill()
    assert all((tmp_path / f"file{i}").read_bytes() == BIG_FILE.read_bytes()[:size] for i in range(1, count + 1)), chassis.account()
    log = chassis.log("dispatch", "keyrail-dp")
    assert "go on" in log and "begin empty" not in log.rpartition(": flow tables")[2], log
    print(f"the VIP was silent for {silence * 1000:.0f} ms, restart by tools/lab included")
    eventually(chassis.agents_connected, 15, "every agent is connected again")


def longest_silence(pings: str) -> float:
    """Between two answers, in seconds; ping -D says when each came."""
    times = [float(line[1:line.index("]")]) for line in pings.splitlines() if line.startswith("[") and "bytes from" in line]
    return max(later - earlier for earlier, later in pairwise(times))


def test_the_dispatcher_restarts(chassis: Chassis, session: Path) -> None:
    """It needs no table of sessions: names still say where the keys are."""
    home = openssl.connect("1.3", session)
    with chassis.killed("dispatch", "keyrail-dp"):
        pass
    eventually(lambda: openssl.connect("1.3", session.with_name("probe")).ok, 20, "the dispatcher forwards again")
    outcome = openssl.connect("1.3", session)
    assert outcome.resumed and outcome.blade == home.blade, (home, outcome, chassis.account())
