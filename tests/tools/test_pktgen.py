# SPDX-License-Identifier: Apache-2.0
"""tools/pktgen: the scripts as they are, by Lua 5.3, with something in pktgen's place (tests/support/pktgen.lua): a model
of ports for their logic, testpmd for traffic through keyrail-dp. And the captures that they replay."""

import csv
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import dispatcher
from common import build, hugepages
from common.paths import ROOT, build_dir

SCRIPTS = ROOT / "tools/pktgen"
LINE_PPS = 14880952


@dataclass
class Run:
    """What a script left behind."""

    output: str
    report: dict
    rows: list[dict[str, str]]
    calls: list[str]


def run(script: str, folder: Path, **settings: str | Path | float) -> Run:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("KR_")}
    variables |= {f"KR_{name}": str(value) for name, value in settings.items()}
    variables |= {"KR_REPORT": str(folder / "report"), "KR_PKTGEN_LOG": str(folder / "calls")}
    done = subprocess.run(["lua5.3", ROOT / "tests/support/pktgen.lua", SCRIPTS / f"{script}.lua"], env=variables,
                          capture_output=True, text=True, check=False, timeout=120)
    calls, output = (folder / "calls").read_text().splitlines(), done.stdout + done.stderr
    assert calls[-1] == "quit ", output  # pktgen would wait at its prompt
    report, rows = folder / "report.json", folder / "report.csv"
    if not report.exists():
        return Run(output, {}, [], calls)
    return Run(output, json.loads(report.read_text()), list(csv.DictReader(rows.open())), calls)


def capture(kind: str, folder: Path, *arguments: str) -> Path:
    file = folder / f"{kind}.pcap"
    subprocess.run([SCRIPTS / "capture", kind, "--out", file, *arguments], check=True, capture_output=True, timeout=60)
    return file


def facts(file: Path) -> dict:
    return json.loads(Path(f"{file}.json").read_text())


def test_a_flood_of_syns(tmp_path: Path) -> None:
    made = run("syn_flood", tmp_path, RATE=10, SECONDS=2, VIP="198.51.100.9", MAC="02:00:00:00:00:09", MODEL_PPS=1e6)
    [trial] = made.report["trials"]
    assert trial["sent"] == pytest.approx(LINE_PPS * 0.2, rel=1e-6) and trial["received"] == 2_000_000
    assert trial["loss"] == pytest.approx(100 * (1 - trial["received"] / trial["sent"]), rel=1e-4)
    assert made.rows[0]["sent"] == str(trial["sent"])
    assert {"range.dst_mac 0 start 02:00:00:00:00:09", "range.dst_ip 0 start 198.51.100.9", "set_range 0 on",
            "range 0 tcp flag clr all", "range 0 tcp flag set syn"} <= set(made.calls)


@pytest.mark.parametrize("capacity, tolerated", [(4_321_000, 0), (100_000, 0), (4_321_000, 10), (1e9, 0)])
def test_the_sweep_finds_what_is_forwarded_without_loss(tmp_path: Path, capacity: float, tolerated: float) -> None:
    made = run("rate_sweep", tmp_path, TRAFFIC="syns", PRECISION=0.1, LOSS=tolerated, MODEL_PPS=capacity)
    best, limit = made.report["best"], min(LINE_PPS, capacity / (1 - tolerated / 100))
    assert limit - LINE_PPS * 0.001 <= best["sent_pps"] <= limit * 1.000001
    assert all(trial["passes"] == (trial["loss"] <= tolerated) for trial in made.report["trials"])
    assert len(made.rows) == len(made.report["trials"]) <= 11


def test_a_sweep_in_which_everything_is_lost_has_no_best(tmp_path: Path) -> None:
    assert "best" not in run("rate_sweep", tmp_path, TRAFFIC="syns", MODEL_PPS=0).report


MISTAKES = {
    "KR_RATE must be a number": {"RATE": "fast"},
    "KR_TRAFFIC must be syns or replay, not floods": {"TRAFFIC": "floods"},
    "made by tools/pktgen/capture, is missing": {"CAPTURE": "/none.pcap"},
}


@pytest.mark.parametrize("complaint", MISTAKES)
def test_mistakes_are_told_and_leave_no_report(tmp_path: Path, complaint: str) -> None:
    made = run("rate_sweep", tmp_path, **MISTAKES[complaint])
    assert complaint in made.output and not made.report


def test_a_capture_that_pktgen_was_not_started_with(tmp_path: Path) -> None:
    """pktgen sends frames of its own then, here of 60 bytes."""
    made = run("hello_storm", tmp_path, CAPTURE=capture("storm", tmp_path, "--clients", "10"))
    assert "start pktgen with -s 0:" in made.output and not made.report


def hellos(file: Path) -> list[dict]:
    done = subprocess.run([ROOT / "tools/replay", file], capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("vip", ["198.51.100.1", "2001:db8:100::1"])
def test_captures_are_what_they_say(tmp_path: Path, vip: str) -> None:
    for key_share, segments in (("X25519MLKEM768", 2), ("X25519", 1)):
        storm = capture("storm", tmp_path, "--clients", "50", "--vip", vip, "--key-share", key_share)
        found = hellos(storm)
        assert len(found) == facts(storm)["hellos"] == 50 and facts(storm)["packets"] == 50 * (2 + segments)
        assert all(line["complete"] and line["segments"] == segments and line["psk_identities"] for line in found)
        assert len({line["src"] for line in found}) == 50
    assert all(line["hello_bytes"] == 517 for line in found)
    mixed = capture("mixed", tmp_path, "--clients", "50", "--vip", vip)
    found = hellos(mixed)
    assert len(found) == facts(mixed)["hellos"] == 45  # every tenth is a SYN only
    assert all(line["complete"] for line in found)
    assert {line["segments"] for line in found} == {1, 2} and {line["version"] for line in found} == {"TLS 1.2", "TLS 1.3"}
    checked = subprocess.run(["tshark", "-r", mixed, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
                              "-T", "fields", "-e", "tcp.checksum.status"], capture_output=True, text=True, check=True)
    assert checked.stdout.split() == ["1"] * facts(mixed)["packets"]


def test_frames_have_the_size_that_is_asked_for(tmp_path: Path) -> None:
    file = capture("established", tmp_path, "--clients", "20", "--size", "600")
    assert facts(file)["bytes"] == 20 * 596  # without the FCS
    assert hellos(file) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_storm_through_the_dispatcher(tmp_path: Path) -> None:
    """testpmd sends what the capture says, keyrail-dp reads the hellos and forwards all: every packet is accounted for."""
    build.configure(build_dir())
    build.compile_all(build_dir(), [dispatcher.PROGRAM, dispatcher.FEED])

    sockets = tempfile.mkdtemp(prefix="kr-", dir="/tmp")  # DPDK 24.11 takes a device in at most 127 characters

    def memif(number: int, role: str) -> str:
        return f"net_memif{number},role={role},socket={sockets}/m{number},socket-abstract=no,rsize=11,bsize=2048"

    setup = dispatcher.Setup(front=memif(0, "server"), back=memif(1, "server"), binding="early")
    with dispatcher.running(setup) as dut:
        file = capture("storm", tmp_path, "--clients", "1000", "--mac", dut.front_mac)
        pages = hugepages.add(256)
        # DPDK's memif driver may crash a worker that receives while its other end goes, so that one stays meanwhile.
        sent = tmp_path / "sent"
        with ThreadPoolExecutor(1) as beside:
            storm = beside.submit(run, "hello_storm", tmp_path, SECONDS=1, CAPTURE=file, TESTPMD=_testpmd(file, memif),
                                  TESTPMD_STAYS=sent)
            try:
                while not sent.exists() and not storm.done():
                    time.sleep(0.05)
                stats = dut.stats()
            finally:
                sent.unlink(missing_ok=True)
                made = storm.result()
                hugepages.give_back(pages)
    assert made.report, made.output
    [trial] = made.report["trials"]
    assert trial["sent"] > 3000 and stats["flows"] == 1000
    assert dispatcher.lost(stats) == 0
    assert stats["rx"] - stats["from_kernel"] == trial["sent"]
    assert 0 <= stats["tx"] - trial["received"] <= stats["from_kernel"]  # those that left at the front
    assert stats["steer_foreign"] > 1000  # hellos whose names are no session's here


def _testpmd(file: Path, memif: Callable[[int, str], str]) -> str:
    devices = (f"net_pcap0,rx_pcap={file},infinite_rx=1", memif(0, "client"), memif(1, "client"), "net_null0,no-rx=1")
    return " ".join(["dpdk-testpmd", "'--lcores=(0,1)@1'", "-m", "256", "--in-memory", "--no-pci", "--no-telemetry",
                     *(f"--vdev={device}" for device in devices), "--", "-i", "--no-mlockall", "--no-flush-rx",
                     "--total-num-mbufs=16384", "--forward-mode=io"])
