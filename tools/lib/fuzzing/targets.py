# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets of tests/fuzz: which there are, building them, running one."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import build, instrumented
from common.paths import ROOT
from common.shell import tail

SOURCES = ROOT / "tests/fuzz"
SEEDS = SOURCES / "seeds"
PULSE = re.compile(r"^#(\d+)\t.*\n", re.MULTILINE)  # libFuzzer's word now and then: "#4096  pulse  cov: 120 ..."
TOTAL = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
# Longest that one input may take (seconds), most memory (MB), and a hello of 64 KiB with something around it.
LIMITS = ("-timeout=5", "-rss_limit_mb=2048", "-max_len=70000", "-print_final_stats=1")


@dataclass
class Outcome:
    """What came of one target."""

    name: str
    executions: int
    found: list[Path]  # inputs that reproduce what was found
    complaint: str  # the target's last words; "" when all is well


@dataclass
class Run:
    """A target that runs: it writes to `log`, and reproducers to `findings`."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    findings: Path
    before: set[Path]

    def executions(self) -> int:
        """By its last word."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 4096))
            words = PULSE.findall(log.read().decode(errors="replace"))
        return int(words[-1]) if words else 0

    def outcome(self) -> Outcome:
        """When the process has ended."""
        text = self.log.read_text(errors="replace")
        total = TOTAL.search(text)
        failed = f"{self.name}: exit status {self.process.returncode}\n{tail(PULSE.sub('', text), 30)}"
        return Outcome(self.name, int(total[1]) if total else self.executions(),
                       sorted(set(self.findings.iterdir()) - self.before), failed if self.process.returncode else "")


def names() -> list[str]:
    return sorted(file.name.removesuffix("_fuzz.cc") for file in SOURCES.glob("*_fuzz.cc"))


def about(name: str) -> str:
    """The first line of what the source says about itself."""
    return (SOURCES / f"{name}_fuzz.cc").read_text().splitlines()[1].removeprefix("// ")


def built(wanted: Sequence[str]) -> dict[str, Path]:
    """Builds them; returns the program of each."""
    directory = instrumented.configured()
    programs = {name: build.built_file(directory, f"{name}_fuzz") for name in wanted}
    build.compile_all(directory, [str(program.relative_to(directory)) for program in programs.values()])
    return programs


def start(name: str, program: Path, seconds: int, home: Path, findings: Path) -> Run:
    """From its seeds, and from `home`/NAME, where new inputs go."""
    corpus, seeds, log = home / name, SEEDS / name, home / f"{name}.log"
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = [program, f"-max_total_time={seconds}", *LIMITS, f"-artifact_prefix={findings}/{name}-", corpus,
               *([seeds] if seeds.is_dir() else [])]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   env={**os.environ, **instrumented.ENVIRONMENT})
    return Run(name, process, log, findings, before)
