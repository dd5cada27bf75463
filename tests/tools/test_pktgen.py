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
MAC = "02:00:00:00:00:f0"
SYN_FRAME = 74  # without FCS
LINE_PPS = 1e10 / 8 / (SYN_FRAME + 24)


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
    subprocess.run([SCRIPTS / "capture", kind, "--out", file, "--mac", MAC, *arguments], check=True, capture_output=True, timeout=60)
    return file


def facts(file: Path) -> dict:
    return json.loads(Path(f"{file}.json").read_text())


def syns(folder: Path) -> dict[str, str | float]:
    """The settings of a run that replays SYNs."""
    return {"CAPTURE": str(capture("syns", folder, "--clients", "100")), "MODEL_FRAME": SYN_FRAME}


def test_a_flood_of_syns(tmp_path: Path) -> None:
    made = run("syn_flood", tmp_path, RATE=10, SECONDS=2, MODEL_PPS=1e6, **syns(tmp_path))
    [trial] = made.report["trials"]
    assert trial["sent"] == pytest.approx(LINE_PPS * 0.2, rel=1e-6) and trial["received"] == 2_000_000
    assert trial["loss"] == pytest.approx(100 * (1 - trial["received"] / trial["sent"]), rel=1e-4)
    assert trial["first"]["asked_pps"] == pytest.approx(LINE_PPS / 10) and trial["paced"]
    assert made.rows[0]["sent"] == str(trial["sent"])
    assert "pcap 0 on" in made.calls


@pytest.mark.parametrize("capacity, tolerated", [(4_321_000, 0), (100_000, 0), (4_321_000, 10), (1e9, 0)])
def test_the_sweep_finds_what_is_forwarded_without_loss(tmp_path: Path, capacity: float, tolerated: float) -> None:
    made = run("rate_sweep", tmp_path, PRECISION=0.1, LOSS=tolerated, MODEL_PPS=capacity, **syns(tmp_path))
    best, limit = made.report["best"], min(LINE_PPS, capacity / (1 - tolerated / 100))
    assert limit - LINE_PPS * 0.001 <= best["sent_pps"] <= limit * 1.000001
    assert all(trial["passes"] == (trial["loss"] <= tolerated) for trial in made.report["trials"])
    assert len(made.rows) == len(made.report["trials"]) <= 2 * 11  # two that agree at each rate


def test_one_bad_trial_is_no_answer(tmp_path: Path) -> None:
    """A pause of the machine, in the first trial of the first rate and in the last of the second."""
    made = run("rate_sweep", tmp_path, MODEL_PAUSES="1", **syns(tmp_path))
    assert [trial["passes"] for trial in made.report["trials"]] == [False, True, True]
    assert made.report["best"]["rate"] == 100
    made = run("rate_sweep", tmp_path, MODEL_PAUSES="1", TRIALS=1, PRECISION=50, **syns(tmp_path))
    assert made.report["best"]["rate"] == 50, "with one trial it is"


def test_what_pktgen_does_not_send_passes_for_nothing(tmp_path: Path) -> None:
    made = run("rate_sweep", tmp_path, MODEL_MAX_PPS=LINE_PPS * 0.3, **syns(tmp_path))
    assert 29 <= made.report["best"]["rate"] <= 30 * 1.05
    assert not made.report["trials"][0]["paced"] and "where" in made.output


def test_a_sweep_in_which_everything_is_lost_has_no_best(tmp_path: Path) -> None:
    assert "best" not in run("rate_sweep", tmp_path, MODEL_PPS=0, **syns(tmp_path)).report


def test_a_loss_curve_ends_at_two_rates_without_loss(tmp_path: Path) -> None:
    made = run("loss_curve", tmp_path, MODEL_PPS=LINE_PPS * 0.72, **syns(tmp_path))
    assert [trial["rate"] for trial in made.report["trials"]] == [100, 90, 80, 70, 60]
    assert [trial["loss"] > 0 for trial in made.report["trials"]] == [True, True, True, False, False]


def stats(folder: Path, **each: int) -> Path:
    """A command in the place of `keyrail stats --json`: so many more at each call."""
    script, calls = folder / "stats", folder / "stats-calls"
    counted = ", ".join(f"\\\"{name}\\\": $((n * {count}))" for name, count in each.items())
    script.write_text(f'#!/bin/sh\nn=$(cat {calls} 2>/dev/null || echo 1)\necho $((n + 1)) >{calls}\n'
                      f'echo "{{\\"reasons\\": {{{counted}}}}}"\n')
    script.chmod(0o755)
    return script


def test_hellos_are_the_dispatchers_own_count(tmp_path: Path) -> None:
    file = capture("storm", tmp_path, "--clients", "10")
    frame = facts(file)["bytes"] / facts(file)["packets"]
    made = run("hello_storm", tmp_path, CAPTURE=file, MODEL_FRAME=frame, SECONDS=2,
               STATS=stats(tmp_path, steer_foreign=5000, flow=7000, steer_tuple=10))
    [trial] = made.report["trials"]
    assert trial["hellos_per_second"] == 2500
    assert trial["reasons"] == {"steer_foreign": 5000, "flow": 7000, "steer_tuple": 10}
    made = run("hello_storm", tmp_path, CAPTURE=file, MODEL_FRAME=frame)
    assert "hellos_per_second" not in made.report["trials"][0] and "give KR_STATS" in made.output


def test_packets_of_no_connection_are_no_result(tmp_path: Path) -> None:
    file = capture("storm", tmp_path, "--clients", "10")
    made = run("hello_storm", tmp_path, CAPTURE=file, MODEL_FRAME=facts(file)["bytes"] / facts(file)["packets"],
               STATS=stats(tmp_path, steer_midstream=9000, syn_cookie=4000))
    assert "9000 packets were of no connection" in made.output and not made.report


MISTAKES: dict[str, dict[str, str | float]] = {
    "KR_RATE must be a number": {"RATE": "fast"},
    "KR_RATE must be from 0.001 to 100": {"RATE": 101},
    "KR_TRIALS must be a whole number": {"TRIALS": 2.5},
    "KR_TX: pktgen has no port 2": {"TX": "0,2"},
    "KR_RX: 'one' is no list of ports": {"RX": "one"},
    "KR_VIP is no setting": {"VIP": "198.51.100.1"},
    "KR_STATS: 'true' does not print": {"STATS": "true"},
    "made by tools/pktgen/capture, is missing": {"CAPTURE": "/none.pcap"},
}


@pytest.mark.parametrize("complaint", MISTAKES)
def test_mistakes_are_told_and_leave_no_report(tmp_path: Path, complaint: str) -> None:
    for name in ("report.json", "report.csv"):
        (tmp_path / name).write_text("of an earlier run")
    made = run("rate_sweep", tmp_path, **(syns(tmp_path) | MISTAKES[complaint]))
    assert complaint in made.output and not made.report and not (tmp_path / "report.csv").exists()


CAPTURE_MISTAKES = {
    "are required: --mac": ["syns"],
    "is for many": ["syns", "--mac", "ff:ff:ff:ff:ff:ff"],
    "is no MAC address": ["syns", "--mac", "02:00:00:00:00"],
    "'70000' is no number from 1 to 65535": ["syns", "--mac", MAC, "--port", "70000"],
    "'9000' is no number from 64 to 1518": ["established", "--mac", MAC, "--size", "9000"],
    "are of different kinds": ["syns", "--mac", MAC, "--sources", "2001:2::/48"],
    "has no room for clients": ["syns", "--mac", MAC, "--sources", "198.18.0.0/31"],
}


@pytest.mark.parametrize("complaint", CAPTURE_MISTAKES)
def test_a_capture_says_what_is_wrong(tmp_path: Path, complaint: str) -> None:
    done = subprocess.run([SCRIPTS / "capture", *CAPTURE_MISTAKES[complaint]], cwd=tmp_path, capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 2 and complaint in done.stderr and not list(tmp_path.iterdir())


def test_syns_have_a_real_clients_options(tmp_path: Path) -> None:
    file = capture("syns", tmp_path, "--clients", "2000")
    seen = subprocess.run(["tshark", "-r", file, "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-e", "ip.src", "-e",
                           "tcp.options.mss_val", "-e", "tcp.options.wscale.shift", "-e", "tcp.checksum.status"],
                          capture_output=True, text=True, check=True)
    lines = [line.split() for line in seen.stdout.splitlines()]
    assert len({line[0] for line in lines}) == 2000 and {tuple(line[1:]) for line in lines} == {("1460", "7", "1")}


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
    assert facts(capture("established", tmp_path, "--clients", "24", "--size", "imix"))["bytes"] == (
        2 * (7 * 60 + 4 * 590 + 1514))


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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_device_under_test_says_what_becomes_of_packets(tmp_path: Path) -> None:
    """A capture in the front port's place, which is sent for ever."""
    file, counters = capture("storm", tmp_path, "--clients", "100"), tmp_path / "stats"
    with subprocess.Popen([SCRIPTS / "dut", "--front", f"net_pcap0,rx_pcap={file},infinite_rx=1", "--front-mac", MAC, "--back",
                           "net_null0,no-rx=1", "--megabytes", "512", "--cores", "(0,1)@0", "--stats", counters, "--json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(3)]
            assert all(lines), process.stderr.read() if process.stderr else ""
            kept = json.loads(counters.read_text())["reasons"]
        finally:
            process.terminate()
            process.wait(30)
    last = json.loads(lines[-1])
    assert last["rx_pps"] > 1000 and last["reasons_pps"]["steer_foreign"] > 100 and last["flows"] == 100
    assert kept["steer_foreign"] > 100 and "drop_other_mac" in kept and kept["drop_other_mac"] == 0
    assert subprocess.run([SCRIPTS / "dut", "--front", "a", "--back", "b", "--vip", "300.1.1.1"], capture_output=True, text=True,
                          check=False).stderr == "keyrail: --vip 300.1.1.1: must be an IPv4 address\n"


def _testpmd(file: Path, memif: Callable[[int, str], str]) -> str:
    devices = (f"net_pcap0,rx_pcap={file},infinite_rx=1", memif(0, "client"), memif(1, "client"), "net_null0,no-rx=1")
    return " ".join(["dpdk-testpmd", "'--lcores=(0,1)@1'", "-m", "256", "--in-memory", "--no-pci", "--no-telemetry",
                     *(f"--vdev={device}" for device in devices), "--", "-i", "--no-mlockall", "--no-flush-rx",
                     "--total-num-mbufs=16384", "--forward-mode=io"])
