# SPDX-License-Identifier: Apache-2.0
"""The parts that look at the source: format, clang-tidy, scripts."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.paths import ROOT, build_dir
from common.say import Progress
from common.shell import ToolError, run, tail
from testing import arrows, named_files, portable
from testing.report import Report

PRODUCT = ("control", "dataplane")
FOLDERS = (*PRODUCT, "hw", "tests", "tools")
SCRIPTS = ("tools/lab", "tools/demo", "tools/test", "tools/pcap", "tools/fuzz", "tools/replay", "tools/loadgen",
           "tools/bench", "tools/soak", "tools/package", "tools/pktgen/capture", "tools/pktgen/dut", "tools/lib/bootstrap.sh", ".ci/run",
           "hw/blade/keyrail-blade.in", "hw/debian/keyrail-blade.postinst", "hw/debian/keyrail-blade.prerm", "hw/debian/keyrail-blade.postrm",
           "hw/debian/keyrail-dispatcher.postrm")


def _files(*suffixes: str) -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in suffixes)


def clang_format() -> Report:
    """One test per file; in few calls, for to start takes longer than to look."""
    files, batch = [*_files(".h", ".cc", ".c", ".mjs"), *sorted((ROOT / "control/daemon/page").glob("*.js"))], 50
    batches = [files[begin:begin + batch] for begin in range(0, len(files), batch)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        complaints = "".join(pool.map(_format_complaints, batches))
    report = Report()
    for file in files:
        if f"{file}:" in complaints:
            report.fails(f"{file.relative_to(ROOT)} is not formatted: clang-format-19 -i {file.relative_to(ROOT)}")
        else:
            report.passes()
    return report


def _format_complaints(files: list[Path]) -> str:
    done = run(["clang-format-19", "--dry-run", "--Werror", *files], check=False)
    if done.returncode != 0 and not any(f"{file}:" in done.stderr for file in files):
        raise ToolError(f"clang-format-19 failed:\n{tail(done.stderr, 20)}")
    return done.stderr


def clang_tidy() -> Report:
    """One test per translation unit of the product: a file, or several that Meson compiles together (its -unity files,
    whose sources count as headers). Generated ones are not ours; our own headers count too."""
    build = build_dir()
    database = json.loads((build / "compile_commands.json").read_text())
    units = sorted({(Path(entry["directory"]) / entry["file"]).resolve() for entry in database})
    return _in_parallel("clang-tidy", [unit for unit in units if _is_ours(unit, build)], build)


def _is_ours(unit: Path, build: Path) -> bool:
    if unit.is_relative_to(build):
        return "-unity" in unit.name and any(unit.is_relative_to(build / folder) for folder in PRODUCT)
    return unit.suffix == ".cc" and any(unit.is_relative_to(ROOT / folder) for folder in PRODUCT)


def _in_parallel(what: str, units: list[Path], build: Path) -> Report:
    report, progress = Report(), Progress(what)

    def check(unit: Path) -> str:
        # -Wno-unknown-warning-option: the database is GCC's, which has warnings that clang has not.
        # The path-sensitive analyzer takes four times as long as all other checks together: editors run it, by
        # .clang-tidy, and the sanitizers look for the same mistakes here.
        done = run(["clang-tidy-19", "--quiet", "-p", build, "--extra-arg=-Wno-unknown-warning-option",
                    "--checks=-clang-analyzer-*", unit], check=False, timeout=600)
        return "" if done.returncode == 0 else f"{unit.name}\n{tail(done.stdout or done.stderr, 20)}"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for complaint in pool.map(check, units):
            report.fails(complaint) if complaint else report.passes()
            progress.update(f"{report.passed + report.failed} of {len(units)} files")
    progress.done()
    return report


def scripts() -> Report:
    """shellcheck for the shell, pyflakes for the Python: one test each; which folder includes which; whether the
    files exist that READMEs and comments name; and what would not compile on another release."""
    report = Report()
    _lint(report, ["shellcheck", "-x", "-P", ROOT], (ROOT / name for name in SCRIPTS))
    python = [ROOT / "hw/keyrail-hw", *(path for folder in ("hw", "tools", "tests") for path in (ROOT / folder).rglob("*.py"))]
    _lint(report, ["/usr/bin/python3", "-m", "pyflakes"], sorted(python))
    report.add(arrows.check())
    report.add(named_files.check())
    report.add(portable.check())
    return report


def _lint(report: Report, command: list[str | Path], files: Iterable[Path]) -> None:
    done = run([*command, *files], check=False)
    if done.returncode == 0:
        report.passes()
    else:
        report.fails(f"{command[0]}\n{tail(done.stdout + done.stderr, 30)}")
