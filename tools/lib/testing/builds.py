# SPDX-License-Identifier: Apache-2.0
"""The parts that build and run: Meson's suites, the same under sanitizers, and the fuzz targets."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from common import build, instrumented
from common.paths import ROOT, build_dir
from common.shell import ToolError, run, tail
from fuzzing import campaign, targets
from testing import end_to_end
from testing.report import Report, from_junit

FUZZ_SECONDS = 10


def normal_build() -> Report:
    """One test: everything compiles, with warnings as errors."""
    build.configure(build_dir())
    build.compile_all(build_dir())
    return Report(passed=1)


def suite(name: str) -> Callable[[], Report]:
    """A part that runs one Meson test suite of the normal build."""
    return lambda: meson_tests(build_dir(), "--suite", name)


def meson_tests(directory: Path, *chosen: str, variables: dict[str, str] | None = None, under: Sequence[str] = ()) -> Report:
    """A suite, or tests by their names; `under` an emulator, which is slow."""
    log = directory / f"meson-logs/testlog{'-' + under[0] if under else ''}.junit.xml"
    log.unlink(missing_ok=True)
    wrapper = [f"--wrapper={' '.join(under)}", "--timeout-multiplier=10"] if under else []
    done = run(["meson", "test", "-C", directory, "--no-rebuild", *wrapper, *chosen], check=False, timeout=1800,
               env={**os.environ, **(variables or {})})
    if not log.exists():
        if "No suitable tests" in done.stdout + done.stderr or "No tests defined" in done.stdout + done.stderr:
            return Report()
        return Report(failed=1, failures=[f"meson test wrote no log:\n{tail(done.stdout + done.stderr)}"])
    report = from_junit(log)
    if done.returncode != 0 and not report.failed:  # a test program that died before it could name a test
        report.fails(f"meson test {' '.join([*wrapper, *chosen])}\n{tail(done.stdout, 30)}")
    return report


def compile_for_sanitizers() -> Path:
    """Where it is."""
    directory = instrumented.configured()
    programs = [*_test_targets(directory, ROOT / "tests/unit"), *_test_targets(directory, ROOT / "tests/pipeline")]
    build.compile_all(directory, [*programs, "dataplane/keyrail-replay"])
    return directory


def sanitizers() -> Report:
    """The tests of pure logic, of the packet path and of tools/replay once more, under AddressSanitizer and
    UndefinedBehaviorSanitizer."""
    directory = compile_for_sanitizers()
    # Three to ten times slower, and the timeouts are for who hangs.
    report = meson_tests(directory, "--timeout-multiplier=6", "--suite", "unit", "--suite", "pipeline",
                         variables=instrumented.ENVIRONMENT)
    report.add(end_to_end.replay({**instrumented.ENVIRONMENT, "KR_BUILD": str(directory)}))
    return report


def compile_instrumented() -> None:
    """For the tests under sanitizers and for the fuzz targets: they share a build."""
    compile_for_sanitizers()
    targets.built(targets.names())


def fuzz() -> Report:
    """Each libFuzzer target for some seconds, from its seeds: one test per target."""
    report = Report()
    for outcome in campaign.run(targets.names(), FUZZ_SECONDS, os.cpu_count() or 1):
        kept = "".join(f"\n    {file.name}: {file.read_bytes()[:256].hex()}" for file in outcome.found)
        report.fails(outcome.complaint + kept) if outcome.complaint else report.passes()
    return report


def _test_targets(directory: Path, folder: Path) -> list[str]:
    found = [str(target.file.relative_to(directory)) for target in build.targets(directory)
             if target.kind == "executable" and target.defined_in.is_relative_to(folder)]
    if not found:
        raise ToolError(f"no test programs are defined in {folder.relative_to(ROOT)}")
    return found
