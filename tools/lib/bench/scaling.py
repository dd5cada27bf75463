# SPDX-License-Identifier: Apache-2.0
"""How a packet's cost grows with what there is: connections, services, blades, moved sessions; and with two workers.

The first of each row is the baseline of the others: their ratio is the growth. Cache misses are those of callgrind's
simulation of this machine's caches, which begin cold; they say what more cores would contend for.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench import dispatcher, pipeline, testpmd
from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import measured
from common.paths import ROOT

TARGETS = (*pipeline.TARGETS, dispatcher.PROGRAM, dispatcher.FEED)
HELLO, PACKET = "pipeline.hello.tls13_psk", "pipeline.established.flows"

# What grows: the case that is looked at, and the steps. pipeline_bench has an option of the same name.
ROWS: dict[str, tuple[str, tuple[int, ...]]] = {
    "flows": (PACKET, (1, 1_000, 16_000, 100_000, 1_000_000, 4_000_000, 16_000_000)),
    "services": (HELLO, (1, 100, 10_000)),
    "blades": (HELLO, (3, 100, 1_000)),
    "moved": (HELLO, (0, 100_000, 1_000_000, 10_000_000)),
}
QUICK_ROWS, QUICK_STEPS = ("flows", "moved"), 2
MISSES = {"D1mr": "d1_misses", "DLmr": "ll_misses", "I1mr": "i1_misses"}
MISSING_CASES = ("established.16k", "established.1m", "syn", "hello.tls13_psk")
FLOWS = 8192
WORKERS = {1: "(0,1)@0", 2: "(0,1)@0,2@1"}  # EAL --lcores: the control thread beside the first worker


def short(count: int) -> str:
    for size, unit in ((1_000_000, "m"), (1_000, "k")):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)


def _figures() -> Iterator[Figure]:
    for row, (case, steps) in ROWS.items():
        about = "an established packet" if case == PACKET else "a ClientHello (TLS 1.3, PSK)"
        for count in steps:
            yield Figure(f"scaling.{row}.{short(count)}", "ns", f"{about}, with {count:,} {row}")
    for workers in WORKERS:
        yield Figure(f"scaling.workers.{workers}", "Mpps", "established packets through keyrail-dp with as many workers, a "
                     "core and a queue each, from captures in memory; without RSS, so that of two workers each hands half "
                     "of what comes over to the other", more_is_better=True)
    for case in MISSING_CASES:
        for what in MISSES.values():
            yield Figure(f"scaling.{case}.{what}", "misses", f"of a packet ({case}) in the {what[:2].upper()} cache, reading")


FIGURES = tuple(_figures())


def grow(context: Context, row: str, case: str, steps: tuple[int, ...]) -> Iterator[Result]:
    samples: dict[int, list[float]] = defaultdict(list)
    for turn in range(context.runs):
        context.progress(f"scaling: {row}, round {turn + 1} of {context.runs}")
        for count in steps:
            found = pipeline.rounds(context, [case], f"--{row}", str(count), "--burst", str(pipeline.BURST))
            samples[count].append(found[0]["ns"])
    for count, found in samples.items():
        yield Result.of(f"scaling.{row}.{short(count)}", found, samples[steps[0]])


def forwarded(context: Context, workers: int) -> float:
    """Mpps that leave a keyrail-dp which makes its own packets: each worker's queue replays a capture."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as scratch:
        capture = Path(scratch) / "flows.pcap"
        measured([ROOT / "tools/pktgen/capture", "established", "--out", capture, "--clients", str(FLOWS),
                  "--mac", dispatcher.FRONT_MAC])
        queues = ",".join([f"rx_pcap={capture}"] * workers)
        setup = dispatcher.Setup(f"net_pcap0,{queues},infinite_rx=1", "net_null0,no-rx=1", dispatcher.FRONT_MAC,
                                 steering="tuple", workers=workers, cores=WORKERS[workers])
        with dispatcher.running(setup) as dut:
            return testpmd.per_second(lambda: dut.sent(1), context.seconds) / 1e6


def run(context: Context) -> Iterator[Result]:
    for row, (case, steps) in ROWS.items():
        if not context.quick:
            yield from grow(context, row, case, steps)
        elif row in QUICK_ROWS:
            yield from grow(context, row, case, steps[:QUICK_STEPS])
    samples: dict[int, list[float]] = defaultdict(list)
    for turn in range(context.runs):
        context.progress(f"scaling: workers, round {turn + 1} of {context.runs}")
        for workers in WORKERS:
            samples[workers].append(forwarded(context, workers))
    for workers, found in samples.items():
        yield Result.of(f"scaling.workers.{workers}", found, samples[1])
    for case in MISSING_CASES[:1] if context.quick else MISSING_CASES:
        context.progress(f"scaling: cache misses of {case}")
        events = pipeline.counted(context, f"pipeline.{case}", caches=True)
        for event, what in MISSES.items():
            yield Result.of(f"scaling.{case}.{what}", [events[event]])
