# SPDX-License-Identifier: Apache-2.0
"""Two processes and two ports between them, a core each: testpmd sends packets of established connections through
keyrail-dp, and through testpmd's own io and macswap in its place, which look at nothing.

    testpmd [net_pcap -> link 0] ===> DUT ===> [link 1 -> net_null] testpmd, which counts

What blades send back goes the other way, by testpmd's flowgen; there the DUT's own port counts, on net_null.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench import cores, dispatcher, links, testpmd
from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import measured
from common.paths import ROOT
from common.shell import ToolError
from lab.namespaces import wait_until

TARGETS = (dispatcher.PROGRAM, dispatcher.FEED, cores.PROGRAM)
DUT_CORE, GENERATOR_CORE = 0, 1
FLOWS = 1024
FCS = 4  # counted in a frame's size, but no virtual device carries it
SIZES = {64: 0.6, 600: 0.8}  # bytes of a frame, FCS included: the least share of macswap's rate that we want
PEERS = ("macswap", "io")
FLOWGEN_SOURCE = "10.254.0.0"  # testpmd's cfg_ip_src: taken for a VIP
NULL = "net_null0,no-rx=1"
LINKS = {"memif": links.MEMIF, "vhost": links.VHOST}


def _figures() -> Iterator[Figure]:
    for link in LINKS:
        for size, target in SIZES.items():
            name = f"wire.{link}.{size}"
            yield Figure(f"{name}.mpps", "Mpps", f"established packets of {size} bytes through keyrail-dp on one core "
                         f"over {link}; baseline: macswap in its place", more_is_better=True)
            yield Figure(f"{name}.ratio_macswap", "ratio", "that to testpmd macswap; baseline: macswap's Mpps", target,
                         more_is_better=True)
            yield Figure(f"{name}.ratio_io", "ratio", "that to testpmd io; baseline: io's Mpps", more_is_better=True)
    for size in SIZES:
        yield Figure(f"wire.memif.return.{size}.ratio_macswap", "ratio", f"packets of {size} bytes from blades to "
                     f"{FLOWS} clients (flowgen) to testpmd macswap; baseline: macswap's Mpps", more_is_better=True)
    yield cores.figure("wire.core_round_trip_ns")


FIGURES = tuple(_figures())


Dut = dispatcher.Dispatcher | testpmd.Testpmd


@contextmanager
def device_under_test(kind: str, front: str, back: str, scratch: Path) -> Iterator[Dut]:
    """For Keyrail a service of plain layer 4: the first packet of a connection that it meets makes it a flow."""
    if kind == "keyrail":
        setup = dispatcher.Setup(front, back, dispatcher.FRONT_MAC, steering="tuple", vips=(dispatcher.VIP, FLOWGEN_SOURCE),
                                 cores=f"(0,1)@{DUT_CORE}")
        with dispatcher.running(setup) as dut:
            yield dut
    else:
        with testpmd.running("dut", scratch, (front, back), kind, DUT_CORE) as peer:
            yield peer


def check(dut: dispatcher.Dispatcher, reason: str) -> None:
    """Once nothing comes any more: every packet is in one counter, and was the packet that was meant."""
    if not wait_until(lambda: dispatcher.lost(dut.stats()) == 0, 2):
        raise ToolError(f"keyrail-dp lost {dispatcher.lost(dut.stats())} packets: in none of its counters")
    stats = dut.stats()
    if not stats[reason] or stats[reason] < 0.99 * (stats["rx"] - FLOWS - 100):
        counted = {name: count for name, count in stats.items() if count}
        raise ToolError(f"keyrail-dp took {stats[reason]} packets of {stats['rx']} for '{reason}': this measured something "
                        f"else; its counters: {counted}")


def finish(generator: testpmd.Testpmd, dut: Dut, reason: str) -> None:
    """The DUT ends first: DPDK's memif driver may crash when the other end goes away while it is polled."""
    generator.pause()
    if isinstance(dut, dispatcher.Dispatcher):
        check(dut, reason)
    dut.process.stop()


def forward_rate(kind: str, link: links.Link, size: int, seconds: float) -> float:
    """Packets a second that come out at the other side."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as path, ExitStack() as undo:
        scratch = Path(path)
        capture = scratch / "flows.pcap"
        measured([ROOT / "tools/pktgen/capture", "established", "--out", capture, "--clients", str(FLOWS),
                  "--size", str(size), "--mac", dispatcher.FRONT_MAC, "--vip", dispatcher.VIP, "--port", str(dispatcher.PORT)])
        (front, to_front), (back, to_back) = (link.ends(scratch, number) for number in (0, 1))
        dut = undo.enter_context(device_under_test(kind, front, back, scratch))
        devices = (f"net_pcap0,rx_pcap={capture},infinite_rx=1", to_front, to_back, NULL)
        with testpmd.running("generator", scratch, devices, "io", GENERATOR_CORE, testpmd.PAIRED_PORTS) as generator:
            dut.wait_linked()
            rate = testpmd.per_second(lambda: generator.received(2), seconds)
            finish(generator, dut, "flow")
        return rate


def return_rate(kind: str, link: links.Link, size: int, seconds: float) -> float:
    """Packets a second that leave for clients."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as path, ExitStack() as undo:
        scratch = Path(path)
        back, to_back = link.ends(scratch, 0)
        dut = undo.enter_context(device_under_test(kind, NULL, back, scratch))
        with testpmd.running("generator", scratch, (to_back,), "flowgen", GENERATOR_CORE,
                             (f"--txpkts={size - FCS}", f"--flowgen-flows={FLOWS}", "--port-topology=loop")) as generator:
            dut.wait_linked()
            rate = testpmd.per_second(lambda: dut.sent(0), seconds)
            finish(generator, dut, "returned")
        return rate


def interleaved(context: Context, near: cores.Cores, what: str, rate: Callable[[str], float],
                duts: tuple[str, ...]) -> dict[str, list[float]]:
    """Mpps of each DUT, one after the other in each round: what disturbs the machine disturbs all of them."""
    found: dict[str, list[float]] = defaultdict(list)
    for turn in range(context.runs):
        context.progress(f"wire: {what}, round {turn + 1} of {context.runs}")
        for dut in duts:
            found[dut].append(near.near(lambda: rate(dut)) / 1e6)
    return found


def ratio(identity: str, samples: list[float], baselines: list[float]) -> Result:
    ratios = [sample / baseline for sample, baseline in zip(samples, baselines, strict=True)]
    return replace(Result.of(identity, ratios), baseline=Result.of("", baselines).value)


def run(context: Context) -> Iterator[Result]:
    near = cores.Cores(context)
    sizes, peers = (list(SIZES), PEERS) if not context.quick else ([600], ("macswap",))
    for name, link in LINKS.items():
        for size in sizes:
            found = interleaved(context, near, f"{name}, {size} bytes",
                                lambda dut: forward_rate(dut, link, size, context.seconds), ("keyrail", *peers))
            yield Result.of(f"wire.{name}.{size}.mpps", found["keyrail"], found["macswap"])
            for peer in peers:
                yield ratio(f"wire.{name}.{size}.ratio_{peer}", found["keyrail"], found[peer])
    for size in sizes:
        found = interleaved(context, near, f"memif, {size} bytes from blades",
                            lambda dut: return_rate(dut, links.MEMIF, size, context.seconds), ("keyrail", "macswap"))
        yield ratio(f"wire.memif.return.{size}.ratio_macswap", found["keyrail"], found["macswap"])
    yield near.result("wire.core_round_trip_ns")
