# SPDX-License-Identifier: Apache-2.0
"""Whole TLS connections through keyrail-dp on one core, over memif: late and early binding, clients and blades played by
keyrail-loadgen on another core.

Rates are those of a closed loop: a new connection whenever one has ended. Latencies are of an open loop at half of that.
"""

import signal
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import cores, dispatcher, links, loadgen, testpmd
from bench.context import Context
from bench.figures import Figure, Result
from common.shell import ToolError
from lab.namespaces import wait_until

TARGETS = (dispatcher.PROGRAM, dispatcher.FEED, loadgen.PROGRAM, cores.PROGRAM)
DUT_CORE, LOAD_CORE = 0, 1
BINDINGS = ("late", "early")
TARGET_RATE = 1_000_000
CONNECTIONS = 512  # at once: enough that neither side waits for the other


def _figures() -> Iterator[Figure]:
    for binding in BINDINGS:
        target = TARGET_RATE if binding == "late" else None
        yield Figure(f"connections.{binding}.per_second", "1/s", f"connections of seven client packets, SYN to FIN, with TLS "
                     f"1.3 PSK hellos of two segments (X25519MLKEM768) and {binding} binding; baseline: testpmd", target,
                     more_is_better=True)
        yield Figure(f"connections.{binding}.failed", "1", "of those, the share that failed or said something again")
        for q in ("p50", "p99"):
            yield Figure(f"connections.{binding}.{q}_us", "us", "from when a connection was meant to start to the server's "
                         "first byte, at half that rate")
    yield Figure("connections.testpmd.per_second", "1/s", "testpmd io in keyrail-dp's place, which looks at nothing: what the "
                 "links and the generator allow", more_is_better=True)
    yield Figure("connections.late.one_segment.per_second", "1/s", "late binding, six client packets: TLS 1.3 PSK hellos of one "
                 "segment (X25519)", more_is_better=True)
    yield Figure("connections.late.tls12.per_second", "1/s", "late binding, TLS 1.2 hellos that name their session by its id",
                 more_is_better=True)
    yield cores.figure("connections.core_round_trip_ns")


FIGURES = tuple(_figures())


def check(stats: dict[str, int], report: dict, binding: str) -> None:
    """keyrail-dp's counters against the generator's: every packet is in one, and is what it was meant to be."""
    if dispatcher.lost(stats) != 0:
        raise ToolError(f"keyrail-dp lost {dispatcher.lost(stats)} packets: in none of its counters")
    bound = stats["syn_cookie"] if binding == "late" else stats["bind_early"]
    if bound < report["completed"] or stats["returned"] < 3 * report["completed"]:
        raise ToolError(f"keyrail-dp bound {bound} connections and returned {stats['returned']} packets, but "
                        f"{report['completed']} connections were completed: {stats}")


def ends(path: str) -> tuple[list[str], list[str]]:
    """Of the two links: the device under test's, and the generator's."""
    pairs = [links.MEMIF.ends(Path(path), number) for number in (0, 1)]
    return [dut for dut, _ in pairs], [generator for _, generator in pairs]


def measure(context: Context, binding: str, tls: str = "1.3", rate: float = 0,
            key_share: str = loadgen.TWO_SEGMENTS) -> dict:
    """keyrail-loadgen's report of one run through keyrail-dp."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as path:
        ours, theirs = ends(path)
        with dispatcher.running(dispatcher.Setup(*ours, binding=binding, cores=f"(0,1)@{DUT_CORE}")) as dut:
            load = loadgen.Load(*theirs, front_mac=dut.front_mac, back_mac=dut.back_mac, bind=binding, tls=tls, rate=rate,
                                key_share=key_share, connections=CONNECTIONS, warm_up=context.seconds / 2,
                                seconds=context.seconds, core=LOAD_CORE)
            with loadgen.running(context.program(loadgen.PROGRAM), load, Path(path)) as generator:
                report = generator.report()
                wait_until(lambda: dispatcher.lost(dut.stats()) == 0, 2)
                check(dut.stats(), report, binding)
                dut.process.stop()  # first: net_memif crashes a process that polls it while the other end goes away
                return report


def measure_testpmd(context: Context) -> dict:
    """The same with testpmd in its place, which looks at nothing: what the links and the generator allow."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as path:
        ours, theirs = ends(path)
        with testpmd.running("dut", Path(path), ours, "io", DUT_CORE) as dut:
            load = loadgen.Load(*theirs, bind="early", connections=CONNECTIONS, warm_up=context.seconds / 2,
                                seconds=context.seconds, core=LOAD_CORE)
            with loadgen.running(context.program(loadgen.PROGRAM), load, Path(path)) as generator:
                report = generator.report()
                dut.process.stop(signal.SIGINT)
                return report


def failed(report: dict) -> float:
    return (report["failed"] + report["retransmitted"] + report["unfinished"]) / report["started"]


def run(context: Context) -> Iterator[Result]:
    rounds: dict[str, list[dict]] = {binding: [] for binding in BINDINGS}
    most: list[float] = []
    near = cores.Cores(context)
    for turn in range(context.runs):
        context.progress(f"connections: round {turn + 1} of {context.runs}")
        for binding in BINDINGS:
            rounds[binding].append(near.near(lambda: measure(context, binding)))
        most.append(near.near(lambda: measure_testpmd(context))["per_second"])
    yield Result.of("connections.testpmd.per_second", most)
    for binding, reports in rounds.items():
        yield Result.of(f"connections.{binding}.per_second", [report["per_second"] for report in reports], most)
        yield Result.of(f"connections.{binding}.failed", [failed(report) for report in reports])
    yield near.result("connections.core_round_trip_ns")
    if context.quick:
        return
    context.progress("connections: hellos of one segment")
    short = [near.near(lambda: measure(context, "late", key_share=loadgen.ONE_SEGMENT))["per_second"]
             for _ in range(context.runs)]
    yield Result.of("connections.late.one_segment.per_second", short)
    context.progress("connections: TLS 1.2")
    tls12 = [near.near(lambda: measure(context, "late", "1.2"))["per_second"] for _ in range(context.runs)]
    yield Result.of("connections.late.tls12.per_second", tls12)
    for binding, reports in rounds.items():
        context.progress(f"connections: latency with {binding} binding")
        half = statistics.median(report["per_second"] for report in reports) / 2
        paced = [measure(context, binding, rate=half)["first_byte_us"] for _ in range(context.runs)]
        for q in ("p50", "p99"):
            yield Result.of(f"connections.{binding}.{q}_us", [latency[q] for latency in paced])
