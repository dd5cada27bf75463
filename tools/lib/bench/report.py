# SPDX-License-Identifier: Apache-2.0
"""The results as JSON and as Markdown, with what one must know to believe them."""

import json
import os
import platform
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import processes
from bench.figures import Figure, Result
from common.paths import ROOT, build_dir
from common.shell import run


def machine() -> dict[str, str | int | float]:
    """Of the machine, before the first measurement."""
    cpu = next(line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
               if line.startswith("model name"))
    options = json.loads(run(["meson", "introspect", "--buildoptions", build_dir()]).stdout)
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "cpu": cpu, "cores": os.cpu_count() or 1,
            "kernel": platform.release(), "load": os.getloadavg()[0],
            "dpdk": run(["pkg-config", "--modversion", "libdpdk"]).stdout.strip(),
            "commit": run(["git", "-C", ROOT, "describe", "--always", "--dirty"], check=False).stdout.strip(),
            "buildtype": next(option["value"] for option in options if option["name"] == "buildtype")}


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass
class Report:
    machine: dict[str, str | int | float]
    command: Sequence[str]
    quick: bool
    figures: dict[str, Figure] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def add(self, figures: Iterable[Figure], results: Iterable[Result]) -> None:
        """A section's; one result for each figure."""
        self.figures |= {figure.id: figure for figure in figures}
        self.results += results

    def json(self) -> str:
        results = [{key: value for key, value in asdict(result).items() if key != "reason" or value}
                   | {"unit": self.figures[result.id].unit, "target": self.figures[result.id].target}
                   for result in self.results]
        return json.dumps({"machine": self.machine, "command": shlex.join(self.command), "quick": self.quick,
                           "results": results, "commands": processes.commands()}, indent=1) + "\n"

    def markdown(self) -> str:
        lines = ["# Keyrail, measured", "", *(f"* {key}: {value}" for key, value in self.machine.items()),
                 f"* by: `{shlex.join(self.command)}`", ""]
        if self.quick:
            lines += ["**Quick: one short run of each. These figures show that the benches work, nothing else.**", ""]
        lines += ["| figure | median | min | max | unit | baseline | ratio | target | met |",
                  "|---|---|---|---|---|---|---|---|---|", *map(self._row, self.results), "",
                  "## Not measured", "", *([f"* `{result.id}`: {result.reason.splitlines()[0]}"
                                             for result in self.results if result.value is None] or ["Nothing."]),
                  "", "## What the figures are", "",
                  *(f"* `{figure.id}`: {figure.about}" for figure in self.figures.values()), "",
                  "## Command lines", "", "```", *processes.commands(), "```", ""]
        return "\n".join(lines)

    def _row(self, result: Result) -> str:
        figure = self.figures[result.id]
        target = "" if figure.target is None else f"{'>=' if figure.more_is_better else '<='} {number(figure.target)}"
        met = {None: "", True: "yes", False: "no"}[None if result.value is None else figure.meets(result.value)]
        cells = [f"`{result.id}`", *map(number, (result.value, result.min, result.max)), figure.unit,
                 number(result.baseline), number(result.ratio), target, met]
        return f"| {' | '.join(cells)} |"
