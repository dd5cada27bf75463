# SPDX-License-Identifier: Apache-2.0
"""How far apart the two cores are, in nanoseconds for a cache line to go and come back.

What passes between two processes is cache lines that change cores. A hypervisor may move virtual cores between groups
that share a cache and groups that do not, every few seconds, and rates over virtual devices more than halve with it
(`tests/bench/README.md`). So each measurement stands between two looks, and is made again when the cores were far apart."""

from collections.abc import Callable
from typing import TypeVar

from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import measured

PROGRAM = "tests/bench/core_distance"  # Meson target
NEAR_NS = 150  # cores that share a cache: 50 to 90 ns where this was written, 330 to 390 where they do not
TRIES = 4

T = TypeVar("T")


class Cores:
    """Keeps what it saw, for the report."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: list[float] = []

    def distance(self) -> float:
        return float(measured([self._context.program(PROGRAM)]).stdout)

    def near(self, measure: Callable[[], T]) -> T:
        """What was measured with the cores near each other, or as near as they came in a few tries."""
        kept: list[tuple[float, T]] = []
        before = self.distance()
        for _ in range(1 if self._context.quick else TRIES):
            value = measure()
            after = self.distance()
            kept.append((max(before, after), value))
            if kept[-1][0] <= NEAR_NS:
                break
            before = after
        distance, value = min(kept, key=lambda pair: pair[0])
        self._seen.append(distance)
        return value

    def result(self, identity: str) -> Result:
        return Result.of(identity, self._seen)


def figure(identity: str) -> Figure:
    return Figure(identity, "ns", "a cache line from one of the two cores to the other and back, while the figures of this "
                  "section were measured")
