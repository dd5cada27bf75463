# SPDX-License-Identifier: Apache-2.0
"""tools/test: runs the parts one after the other, tells each one's result and time, and sums up."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

from common.debian import RELEASES
from common.say import say
from common.shell import ToolError
from testing import baseline, builds, elsewhere, end_to_end, kernels, releases, sources
from testing.elsewhere import Elsewhere
from testing.meanwhile import Meanwhile
from testing.report import Report


@dataclass(frozen=True)
class Part:
    name: str
    about: str
    run: Callable[[], Report]
    needs_build: bool = False
    alone: bool = False  # it depends on time: nothing goes on beside it
    asked_for: bool = False  # only when --only names it
    ahead: Callable[[], object] | None = None  # what can be done of it beside other parts; all of it if a Report comes of it


PARTS = (
    Part("scripts", "shellcheck and pyflakes over the tools; which folder includes which; files that are named exist", sources.scripts),
    Part("format", "clang-format over all sources", sources.clang_format),
    Part("build", "everything, warnings as errors", builds.normal_build),
    Part("unit", "pure logic", builds.suite("unit"), True),
    Part("protocol", "channel, store, moves", builds.suite("protocol"), True),
    Part("pipeline", "packets in, packets out, without devices", builds.suite("pipeline"), True),
    Part("baseline", "no instruction beyond x86-64-v2 but by choice at run time; packets on such a CPU; hooks for Debian 12 and later",
         baseline.oldest_platform, True),
    Part("vdev", "the dispatcher on DPDK's virtual devices", builds.suite("vdev"), True, alone=True),
    Part("tools", "the tools themselves", end_to_end.tools),
    Part("differential", "tools/replay against tshark: captures and generated hellos", end_to_end.differential, True),
    Part("bench", "benches: do they run, are their counters conserved", end_to_end.bench, True, alone=True),
    Part("e2e", "real clients, servers and faults in the lab", end_to_end.lab, True, alone=True),
    Part("soak", "two minutes of mixed load and a random operator in the lab (three in all)", end_to_end.soak, True, alone=True),
    Part("packages", "packages made, installed as the README says, upgraded with live servers, purged; units (two to four minutes, and making them: eight)",
         end_to_end.packages, alone=True, asked_for=True),
    Part("kernels", "the lab on Debian's own kernels in QEMU: 6.1 binds early, 6.12 late", kernels.boot_them, alone=True, asked_for=True),
    Part("sanitize", "unit, pipeline and replay tests under address and undefined-behaviour sanitizers", builds.sanitizers,
         ahead=builds.compile_instrumented),
    Part("fuzz", f"every parser, {builds.FUZZ_SECONDS} s each", builds.fuzz),
    Part("tidy", "clang-tidy over our own sources", sources.clang_tidy, True, ahead=sources.clang_tidy),
)


def parser() -> argparse.ArgumentParser:
    known = [part.name for part in PARTS]
    top = argparse.ArgumentParser("tools/test", description="Builds, runs every test, closes with the sum.")
    top.add_argument("--only", action="append", metavar="PART", choices=known,
                     help=f"only this part (may be given more than once): {', '.join(known)}")
    top.add_argument("--on", metavar="RELEASE", choices=RELEASES,
                     help="in a root of that Debian release, made by debootstrap where there is none yet: "
                          f"{' or '.join(RELEASES)}; what another release can break, or what --only names")
    top.add_argument("--everywhere", action="store_true",
                     help="on this machine's release, and what another release can break on the other one")
    top.add_argument("--minutes", type=int, metavar="N",
                     help="with --everywhere: the other release comes last, and has what these minutes leave, from the start of this "
                          "command on; where that is too little it says what was not tested, and fails not")
    top.add_argument("--list", action="store_true", help="say what the parts are, run nothing")
    return top


def run_part(part: Part) -> Report:
    try:
        return part.run()
    except ToolError as error:
        return Report(failed=1, failures=[str(error)])


def run_beside(part: Part, meanwhile: Meanwhile | None, other: Elsewhere | None) -> Report:
    if part.alone and other:
        other.wait_for_root()
    with meanwhile.standing_still() if meanwhile and part.alone else nullcontext():
        return run_part(part)


def chosen(only: Sequence[str] | None) -> list[Part]:
    """The parts asked for, and the build before those that need it."""
    parts = [part for part in PARTS if (part.name in only if only else not part.asked_for)]
    if any(part.needs_build for part in parts) and not any(part.name == "build" for part in parts):
        parts.insert(0, next(part for part in PARTS if part.name == "build"))
    return parts


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    if arguments.minutes and not arguments.everywhere:
        raise ToolError("--minutes says how long --everywhere may take: give both", status=2)
    if arguments.list:
        for part in PARTS:
            print(f"{part.name:12} {part.about}{'; only when it is named' if part.asked_for else ''}")
        return 0
    if arguments.on:
        return summed_up(releases.run_on(arguments.on, arguments.only))
    with ExitStack() as stack:
        total = run_parts(chosen(arguments.only), stack, everywhere(arguments, stack))
    return summed_up(total)


def everywhere(arguments: argparse.Namespace, stack: ExitStack) -> Elsewhere | None:
    if not arguments.everywhere:
        return None
    began = float(os.environ.get("KR_BEGAN") or time.time())
    return Elsewhere(elsewhere.until(arguments.minutes, began) if arguments.minutes else 0, stack)


def with_the_other(parts: Sequence[Part], other: Elsewhere | None) -> list[Part]:
    """Ahead of the end-to-end tests here, some of which want its programs, if there is time. Else at the end."""
    if other is None:
        return list(parts)
    about = "what another release can break, in a root of Debian's other release"
    if other.limited:
        return [*parts, Part(other.release, about, other.run, ahead=other.build_ahead)]
    at = next((i for i, part in enumerate(parts) if part.name == "e2e"), len(parts))
    return [*parts[:at], Part(other.release, about, other.run), *parts[at:]]


def run_parts(parts: Sequence[Part], stack: ExitStack, other: Elsewhere | None = None) -> Report:
    begin = time.monotonic()
    with stack:
        total = _run_parts(with_the_other(parts, other), stack, other)
    say(f"all parts took {(time.monotonic() - begin) / 60:.1f} minutes")
    return total


def _run_parts(parts: Sequence[Part], stack: ExitStack, other: Elsewhere | None) -> Report:
    """Once all is built, what later parts can do ahead goes on beside the others."""
    total, built, meanwhile = Report(), True, None
    for number, part in enumerate(parts):
        if part.needs_build and not built:
            say(f"{part.name}: not run, for the build failed")
            continue
        say(f"{part.name}: {part.about}")
        part_begin = time.monotonic()
        until = other.until if other and part.name == other.release else 0
        report = (meanwhile and meanwhile.result(part.name, until)) or run_beside(part, meanwhile, other)
        for failure in report.failures:
            print(f"FAILED {part.name}: {failure}", flush=True)
        print(f"{part.name}: {report} ({time.monotonic() - part_begin:.0f} s)", flush=True)
        built = built and not (part.name == "build" and report.failed)
        total.add(report)
        if part.name == "build" and built and (ahead := {later.name: later.ahead for later in parts[number + 2:] if later.ahead}):
            say(f"{', '.join(ahead)}: what only needs a processor goes on beside the parts before, at idle priority")
            meanwhile = stack.enter_context(Meanwhile(ahead))
    return total


def summed_up(total: Report) -> int:
    """The closing line, what was left out before it; the exit status that goes with it."""
    if total.left_out:
        print(f"NOT TESTED: {', '.join(total.left_out)}", flush=True)
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0
