# SPDX-License-Identifier: Apache-2.0
"""Debian's other release, beside and after this one's tests (tools/test --everywhere). Its root is made while this release is
built: that is mostly waiting for the network and the disk. With a limit (--minutes) it comes last, is built at idle priority
beside this release's parts, and its parts follow as long as there is time for them; what there is none for is named, and no fault."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack

from common.debian import RELEASES, own_release, root_of
from common.say import say
from common.shell import ToolError
from testing import releases
from testing.meanwhile import Meanwhile
from testing.report import Report

# What finds most in a minute comes first, and none is begun that would not end: seconds that each takes on two cores, and some
# more. What a build takes nobody knows before: it may take what there is.
SECONDS = {"build": 0, "unit": 60, "pipeline": 20, "vdev": 25, "baseline": 45, "tools": 60, "protocol": 340, "e2e": 480}
assert set(SECONDS) == set(releases.CORE_PARTS)
PATIENCE = 300  # seconds that this release's parts wait for the root: what is behind them depends on time


class Elsewhere:
    """`until`: of time.monotonic(); 0: there is no limit."""

    def __init__(self, until: float, stack: ExitStack) -> None:
        self.release = next(release for release in RELEASES if release != own_release())
        self.until = until
        self._root = stack.enter_context(Meanwhile({"root": lambda: releases.prepared_root(self.release)}, idle=False))
        if until:
            os.environ[releases.AHEAD] = self.release
            stack.callback(os.environ.pop, releases.AHEAD)

    @property
    def limited(self) -> bool:
        return self.until != 0

    def wait_for_root(self) -> None:
        """Before what depends on time: nothing goes on beside that. A mirror that takes too long is not waited for."""
        self._root.result("root", self._sooner(time.monotonic() + PATIENCE))
        self._root.end()

    def build_ahead(self) -> None:
        """Where its root is whole by then. It may stand still for long: nothing in here has a time limit."""
        with releases.being_made(self.release):
            pass
        if root_of(self.release).exists():
            releases.build_in(self.release, releases.AGENT, timeout=None)
            releases.build_in(self.release, timeout=None)

    def run(self) -> Report:
        self.wait_for_root()
        try:
            return self._in_order() if self.limited else releases.run_on(self.release, None)
        except releases.NoRoot as reason:
            say(f"Debian {self.release}: {reason}")
            return Report(left_out=[f"{self.release}: all, for there is no root"])
        except ToolError as error:
            return Report(failed=1, failures=[str(error)])

    def _sooner(self, moment: float) -> float:
        return min(moment, self.until or moment)

    def _in_order(self) -> Report:
        total, left = Report(), list(SECONDS)
        while begin := fitting(left, self.until - time.monotonic()):
            report = releases.run_on(self.release, begin, self.until, releases.CORE_E2E)
            total.add(report)
            left = [part for part in left if part not in begin]
            if "build" in begin and not report.passed:
                break
        total.left_out += [f"{self.release} {part}" for part in left]
        return total


def fitting(parts: Sequence[str], seconds: float) -> list[str]:
    """Those of them that end in so many seconds, in their order; the build by itself, for then one knows more."""
    if seconds < 10:
        return []
    if "build" in parts:
        return ["build"]
    chosen: list[str] = []
    for part in parts:
        if sum(SECONDS[each] for each in [*chosen, part]) <= seconds:
            chosen.append(part)
    return chosen


def until(minutes: int, began: float) -> float:
    """The end of so many minutes since `began` of time.time(), as time.monotonic() has it."""
    return time.monotonic() + 60 * minutes - (time.time() - began)
