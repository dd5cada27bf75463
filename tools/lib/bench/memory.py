# SPDX-License-Identifier: Apache-2.0
"""What a connection costs in memory: a flow table filled until one of 10 000 had to make room for others; and a ClientHello,
as long as it is held."""

import json
from collections.abc import Iterator
from pathlib import Path

from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import measured
from common.shell import ToolError

BENCH, HOLDS = "tests/bench/flow_memory", "tests/bench/hold_memory"
TARGETS = (BENCH, HOLDS)
FULL_MEGABYTES = 2048
GIGABITS, BUDGET_SECONDS = 100, 0.020  # hold budget as it comes (control/daemon/moves/economics.h)
FIGURES = (
    Figure("memory.flow_bytes", "B", "of flow table for each connection that it holds when one of 10 000 had to make "
           "room", 32),
    Figure("memory.flows_in_2gib", "flows", "connections that a table of 2 GiB holds then, really filled", 64 << 20,
           more_is_better=True),
    Figure("memory.flows_before_first", "flows", "of these, how many come before the first one has to make room", 64 << 20,
           more_is_better=True),
    Figure("memory.hold_bytes", "B", "of hold table and mbufs for a ClientHello of today (two segments) while it is held"),
    Figure("memory.holds_100gbe", "hellos", "held at once when 100 GbE brings nothing but new connections, and each waits as "
           "long as the hold budget lets it (20 ms)"),
    Figure("memory.holds_100gbe_mb", "MB", "that these take"),
)


def available_megabytes() -> int:
    text = Path("/proc/meminfo").read_text()
    return int(text.split("MemAvailable:")[1].split()[0]) // 1024


def _holds(context: Context) -> Iterator[Result]:
    sizes = json.loads(measured([context.program(HOLDS), str(GIGABITS)], timeout=60).stdout)
    held = sizes["hellos_per_second"] * BUDGET_SECONDS
    yield Result.of("memory.hold_bytes", [sizes["held"]])
    yield Result.of("memory.holds_100gbe", [held])
    yield Result.of("memory.holds_100gbe_mb", [held * sizes["held"] / 1e6])


def run(context: Context) -> Iterator[Result]:
    yield from _holds(context)
    megabytes = 16 if context.quick else FULL_MEGABYTES
    while megabytes > available_megabytes() // 2:
        megabytes //= 2
    context.progress(f"memory: filling {megabytes} MB of flow table")
    done = json.loads(measured([context.program(BENCH), str(megabytes)], timeout=900).stdout)
    if done["found"] != done["entered"] - done["evicted"]:
        raise ToolError(f"of {done['entered']} connections {done['evicted']} were evicted and {done['found']} found")
    yield Result.of("memory.flow_bytes", [done["bytes"] / done["found"]])
    if megabytes == FULL_MEGABYTES:
        yield Result.of("memory.flows_in_2gib", [done["found"]])
        yield Result.of("memory.flows_before_first", [done["before_first"]])
    elif not context.quick:
        yield Result.missing("memory.flows_in_2gib", f"memory for a table of only {megabytes} MB is free")
