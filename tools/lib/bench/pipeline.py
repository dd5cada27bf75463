# SPDX-License-Identifier: Apache-2.0
"""The packet path without devices (tests/bench/pipeline_bench.cc): time, cycles and instructions of one packet, or of one
ClientHello where that takes two."""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import measured
from common.shell import ToolError

BENCH = "tests/bench/pipeline_bench"
TARGETS = (BENCH,)
BURST = 32  # the figures' own; that of 64 packets is beside them

# id behind "pipeline.": what, and the target in ns
CASES: dict[str, tuple[str, float | None]] = {
    "established.1": ("packet of the only connection", 20),
    "established.16k": ("packet of one of 16 384 connections", 35),
    "established.1m": ("packet of one of a million connections", 80),
    "established.16m": ("packet of one of 16 million connections", None),
    "syn": ("SYN, answered with a cookie", 40),
    "ack": ("bare ACK that completes a handshake", None),
    "hello.pq_two_segments": ("ClientHello of today, X25519MLKEM768 and a PSK, both of its segments: parse, name, steer, "
                              "flow entry", 150),
    "hello.pq_two_bursts": ("the same, each segment in a burst of its own: held", None),
    "hello.tls13_psk": ("ClientHello of one segment, 517 bytes, TLS 1.3 with a PSK", 150),
    "hello.tls12_id": ("ClientHello of TLS 1.2 with a session id", None),
    "hello.forged": ("the ClientHello of one segment with a bit of its name changed: foreign", None),
    "return": ("packet from a blade to its client", None),
    "synflood": ("three SYNs for each packet of one of 16 384 connections", None),
}
QUICK = ("established.16k", "syn", "hello.pq_two_segments", "hello.tls13_psk", "return")


def _figures() -> Iterator[Figure]:
    for case, (about, target) in CASES.items():
        name = f"pipeline.{case}"
        yield Figure(name, "ns", f"{about}; bursts of {BURST}", target)
        yield Figure(f"{name}.cycles", "cycles", "the same, by the time-stamp counter")
        yield Figure(f"{name}.burst64", "ns", "the same, bursts of 64")
        yield Figure(f"{name}.instructions", "instr", "the same, counted by callgrind: noise cannot move it")


FIGURES = tuple(_figures())


def rounds(context: Context, only: Sequence[str], *options: str) -> list[dict]:
    """One run of the bench over these cases: what it found."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as scratch:
        file = Path(scratch) / "pipeline.json"
        measured([context.program(BENCH), "--json", file, "--only", *only, *options,
                  *(["--quick"] if context.quick else [])], timeout=900)
        return json.loads(file.read_text())


def counted(context: Context, identity: str, *options: str, caches: bool = False) -> dict[str, float]:
    """Of one packet: "Ir", instructions, and with `caches` also misses in simulated ones: "D1mr", "DLmr", ..."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as scratch:
        file = Path(scratch) / "callgrind"
        done = measured(["valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
                         f"--cache-sim={'yes' if caches else 'no'}", f"--callgrind-out-file={file}",
                         context.program(BENCH), "--once", identity, *options], timeout=900)
        events = re.search(r"^events: (.*)$", file.read_text(), re.MULTILINE)
        totals = re.search(r"^totals: (.*)$", file.read_text(), re.MULTILINE)
    if not events or not totals or not done.stdout:
        raise ToolError(f"callgrind counted nothing for {identity}; does pipeline_bench --once know it?")
    count = json.loads(done.stdout.splitlines()[-1])["count"]
    return {event: int(total) / count
            for event, total in zip(events[1].split(), totals[1].split(), strict=False)}


def run(context: Context) -> Iterator[Result]:
    cases = [f"pipeline.{case}" for case in CASES if not context.quick or case in QUICK]
    samples: dict[str, list[float]] = defaultdict(list)
    for turn in range(context.runs):
        context.progress(f"pipeline: run {turn + 1} of {context.runs}")
        for entry in rounds(context, cases):
            if entry["burst"] == BURST:
                samples[entry["id"]].append(entry["ns"])
                samples[f"{entry['id']}.cycles"].append(entry["cycles"])
            else:
                samples[f"{entry['id']}.burst64"].append(entry["ns"])
    for identity, found in samples.items():
        yield Result.of(identity, found)
    for case in cases[:1] if context.quick else cases:
        context.progress(f"pipeline: instructions of {case}")
        yield Result.of(f"{case}.instructions", [counted(context, case)["Ir"]])
