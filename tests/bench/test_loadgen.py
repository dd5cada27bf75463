# SPDX-License-Identifier: Apache-2.0
"""tools/loadgen: against nobody, against its own other side, and as the benches use it, through keyrail-dp with every packet
accounted for, and through the peers. KR_BUILD = build directory."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from bench import connections, loadgen, peers
from bench.context import Context
from common.build import compile_all
from common.paths import build_dir

PROGRAM = build_dir() / loadgen.PROGRAM
SHORT = ("--warm-up", "0", "--seconds", "0.2", "--hellos", "8", "--no-huge", "--megabytes", "128", "--mbufs", "16384")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    compile_all(build_dir(), connections.TARGETS)


def generate(folder: Path, *words: str) -> tuple[int, dict]:
    """Exit status and report."""
    file = folder / "report.json"
    done = subprocess.run([PROGRAM, *SHORT, "--json", file, *words], capture_output=True, text=True, timeout=60, check=False)
    assert file.exists(), done.stderr
    return done.returncode, json.loads(file.read_text())


def joined(folder: Path) -> list[str]:
    """Its two sides with nothing between them."""
    folder = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))  # DPDK 24.11 takes a device in at most 127 characters
    end = f"net_memif{{n}},role={{role}},id=0,socket={folder}/m.sock,socket-abstract=no,rsize=11"
    return ["--front", end.format(n=0, role="server"), "--back", end.format(n=1, role="client")]


def conserved(report: dict) -> bool:
    return report["started"] == report["completed"] + report["failed"] + report["unfinished"]


@pytest.mark.parametrize(("options", "segments"), [(("--tls", "1.2"), 1), (("--tls", "1.3", "--key-share", "X25519"), 1),
                                                   ((), 2)], ids=["1.2", "one segment", "as it comes"])
def test_whole_connections(tmp_path: Path, options: tuple[str, ...], segments: int) -> None:
    status, report = generate(tmp_path, *joined(tmp_path), "--bind", "early", *options, "--connections", "64")
    assert status == 0 and conserved(report) and report["completed"] > 64
    assert report["failed"] == report["wrong_blade"] == report["split"] == report["unreadable"] == report["other"] == 0
    # Five packets of each client and its hello's segments, four of each blade, which acknowledges each segment of the hello but
    # the last, too. What was said again comes on top.
    of_client, of_blade = 5 + segments, 3 + segments
    assert report["front"]["sent"] >= of_client * report["completed"] and report["back"]["sent"] >= of_blade * report["completed"]
    if report["retransmitted"] == 0:
        assert report["front"]["sent"] == report["back"]["received"] == of_client * report["completed"]


def test_open_loop_starts_what_is_due(tmp_path: Path) -> None:
    status, report = generate(tmp_path, *joined(tmp_path), "--bind", "early", "--rate", "1000", "5000", "--seconds", "0.5")
    assert status == 0 and conserved(report)
    assert 1480 <= report["started"] <= 1520  # 3000 per second on average; all are started, however late
    rates = [interval["rate"] for interval in report["intervals"]]
    assert rates == sorted(rates) and rates[-1] > 4500


def test_a_wrong_blade_is_told(tmp_path: Path) -> None:
    status, report = generate(tmp_path, *joined(tmp_path), "--bind", "early", "--affinity", "name", "--blades", "2")
    assert status == 1
    assert 0.3 < report["wrong_blade"] / report["completed"] < 0.7  # all came to blade 1, half of them are for blade 2


def test_nobody_answers(tmp_path: Path) -> None:
    status, report = generate(tmp_path, "--front", "net_null0,no-rx=1", "--back", "net_null1,no-rx=1", "--connections", "16",
                              "--timeout-ms", "20", "--tries", "3")
    assert status == 1 and conserved(report)
    assert report["completed"] == 0 and report["unfinished"] == 0
    assert report["failed"] == report["failed_by_reason"]["no_syn_ack"] == report["started"]
    assert report["retransmitted"] == 2 * report["started"] and report["front"]["sent"] == 3 * report["started"]


def test_failed_connections_are_a_failure_unless_they_are_allowed(tmp_path: Path) -> None:
    """Too little time for most of them: what completes does not hide what fails."""
    words = [*joined(tmp_path), "--bind", "early", "--connections", "4096", "--timeout-ms", "1", "--tries", "1"]
    status, report = generate(tmp_path, *words)
    assert report["completed"] and report["failed"] and status == 1
    status, report = generate(tmp_path, *words, "--max-failed", "100")
    assert report["completed"] and report["failed"] and status == 0


def test_it_ends_by_a_signal_while_it_stays(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with subprocess.Popen([PROGRAM, *SHORT, "--json", file, *joined(tmp_path), "--bind", "early", "--stay"], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while not file.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.3)
            assert process.poll() is None, "it stays"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_mistakes_are_explained(tmp_path: Path) -> None:
    for words, what in ((("--clients", "3"), "power of two"), (("--service", "x"), "like 198.51.100.1:443"),
                        (("--name-key", "00"), "32 hex digits"), (("--front", "net_nonsense0"), "net_nonsense0")):
        done = subprocess.run([PROGRAM, *SHORT, *joined(tmp_path), *words], capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == 1 and what in done.stderr, (words, done.stderr)


@pytest.mark.parametrize("key_share", [loadgen.TWO_SEGMENTS, loadgen.ONE_SEGMENT])
@pytest.mark.parametrize("binding", connections.BINDINGS)
def test_through_keyrail(binding: str, key_share: str) -> None:
    """Counters on both sides are compared in connections.check()."""
    report = connections.measure(Context(quick=True), binding, key_share=key_share)
    assert report["completed"] and report["failed"] == 0


def test_through_testpmd() -> None:
    report = connections.measure_testpmd(Context(quick=True))
    assert report["completed"] and report["failed"] == 0


@pytest.mark.parametrize("dut", [*peers.DUTS, "direct"])
def test_over_veth(dut: str) -> None:
    report = peers.measure(Context(quick=True), dut)
    assert report["completed"] and conserved(report)
    assert report["failed"] == 0 or dut in ("haproxy", "nginx")
