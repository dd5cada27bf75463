# SPDX-License-Identifier: Apache-2.0
"""tools/bench: every figure that Keyrail publishes, measured on this machine in one run."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from bench import report
from bench.context import Context
from bench.figures import Result
from common.build import compile_all, configure
from common.paths import build_dir
from common.say import say
from common.shell import ToolError

# Each is a module with FIGURES (what it promises), TARGETS (what must be built) and run(context), which yields Results.
SECTIONS = ("pipeline", "wire", "connections", "peers", "memory", "moves", "scaling")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "tools/bench", description="Measures Keyrail on this machine, side by side with what it is compared to: "
        "medians of five runs. Writes a Markdown report to stdout. Nothing else should run meanwhile.",
        epilog="A figure that could not be measured is in the report with the reason. Exit status 1 if a section "
        "failed.")
    top.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    top.add_argument("--md", type=Path, metavar="FILE", help="write the report there instead of to stdout")
    top.add_argument("--only", action="append", metavar="SECTION", choices=SECTIONS,
                     help=f"only this section (may be given more than once): {', '.join(SECTIONS)}")
    top.add_argument("--quick", action="store_true",
                     help="one short run of some of them: shows that it works, measures nothing")
    top.add_argument("--list", action="store_true", help="say what is measured, run nothing")
    return top


def list_figures(sections: Sequence[ModuleType]) -> None:
    for section in sections:
        for figure in section.FIGURES:
            print(f"{figure.id:42} {figure.unit:8} {figure.about}")


def measure(section: ModuleType, context: Context) -> tuple[list[Result], bool]:
    """A result for each of the section's figures, in their order, and whether the section came to its end."""
    found: dict[str, Result] = {}
    reason, whole = "not in a quick run" if context.quick else "its section did not measure it", True
    try:
        for result in section.run(context):
            found[result.id] = result
    except ToolError as error:
        reason, whole = str(error), False
        say(reason)
    return [found.get(figure.id) or Result.missing(figure.id, reason) for figure in section.FIGURES], whole


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    chosen = [name for name in SECTIONS if not arguments.only or name in arguments.only]
    sections = [importlib.import_module(f"bench.{name}") for name in chosen]
    if arguments.list:
        list_figures(sections)
        return 0
    configure(build_dir())
    outcome = report.Report(report.machine(), ["tools/bench", *words], quick=arguments.quick)
    compile_all(build_dir(), sorted({target for section in sections for target in section.TARGETS}))
    context = Context(quick=arguments.quick)
    if not arguments.quick and (load := outcome.machine["load"]) > 0.5:
        say(f"this machine is not quiet (load {load:.1f}): what else it does will distort what is measured")
    whole = True
    for name, section in zip(chosen, sections, strict=True):
        say(f"{name}: {len(section.FIGURES)} figures")
        results, good = measure(section, context)
        whole &= good
        outcome.add(section.FIGURES, results)
        write(outcome, arguments)  # each time: half an hour is long, and may be cut short
    if not arguments.md:
        sys.stdout.write(outcome.markdown())
    return 0 if whole else 1


def write(outcome: report.Report, arguments: argparse.Namespace) -> None:
    if arguments.json:
        arguments.json.write_text(outcome.json())
    if arguments.md:
        arguments.md.write_text(outcome.markdown())
