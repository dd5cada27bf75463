# SPDX-License-Identifier: Apache-2.0
"""The parts that build and run: Meson's suites, the same under sanitizers, and the fuzz targets."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import build
from common.paths import ROOT, build_dir
from common.say import Progress
from common.shell import ToolError, run, tail
from testing.report import Report, from_junit

FUZZ_SECONDS = 10
# Without coverage in our own code the fuzzer would be blind; the fuzz targets themselves bring its main().
INSTRUMENTED = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1", "-Dwerror=false",
                "-Dc_args=-fsanitize=fuzzer-no-link", "-Dcpp_args=-fsanitize=fuzzer-no-link"]
# A finding ends the test; leaks of libraries at exit are not what is looked for here.
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0:detect_stack_use_after_return=1",
                     "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def normal_build() -> Report:
    """One test: everything compiles, with warnings as errors."""
    build.configure(build_dir())
    build.compile_all(build_dir())
    return Report(passed=1)


def suite(name: str) -> Callable[[], Report]:
    """A part that runs one Meson test suite of the normal build."""
    return lambda: _meson_tests(build_dir(), name)


def _meson_tests(directory: Path, name: str, variables: dict[str, str] | None = None) -> Report:
    log = directory / "meson-logs/testlog.junit.xml"
    log.unlink(missing_ok=True)
    done = run(["meson", "test", "-C", directory, "--no-rebuild", "--suite", name], check=False, timeout=1200,
               env={**os.environ, **(variables or {})})
    if not log.exists():
        if "No suitable tests" in done.stdout + done.stderr or "No tests defined" in done.stdout + done.stderr:
            return Report()
        return Report(failed=1, failures=[f"meson test wrote no log:\n{tail(done.stdout + done.stderr)}"])
    report = from_junit(log)
    if done.returncode != 0 and not report.failed:  # a test program that died before it could name a test
        report.fails(f"meson test --suite {name}\n{tail(done.stdout, 30)}")
    return report


def _instrumented() -> Path:
    """One build for sanitizers and fuzzing, for compiling is what takes the time. It is clang's, for libFuzzer is;
    warnings are the normal build's business."""
    directory = build_dir().with_name(f"{build_dir().name}-sanitize")
    build.configure(directory, INSTRUMENTED, {"CC": "ccache clang-16", "CXX": "ccache clang++-16"})
    return directory


def sanitizers() -> Report:
    """The unit tests once more, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    directory = _instrumented()
    build.compile_all(directory, _test_targets(directory, ROOT / "tests/unit"))
    return _meson_tests(directory, "unit", SANITIZER_OPTIONS)


def fuzz() -> Report:
    """Each libFuzzer target for some seconds, from its seeds: one test per target."""
    directory = _instrumented()
    targets = [target for target in build.targets(directory)
               if target.kind == "executable" and target.defined_in.is_relative_to(ROOT / "tests/fuzz")]
    build.compile_all(directory, [str(target.file.relative_to(directory)) for target in targets])
    report, progress = Report(), Progress("fuzzing")
    for target in targets:
        progress.update(target.name)
        complaint = _fuzz_one(target)
        report.fails(complaint) if complaint else report.passes()
    progress.done()
    return report


def _fuzz_one(target: build.Target) -> str:
    seeds = ROOT / "tests/fuzz/seeds" / target.name.removesuffix("_fuzz")
    with tempfile.TemporaryDirectory(prefix="keyrail-fuzz-") as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        done = run([target.file, f"-max_total_time={FUZZ_SECONDS}", "-timeout=5", "-rss_limit_mb=2048",
                    "-print_final_stats=1", f"-artifact_prefix={scratch}/", corpus,
                    *([seeds] if seeds.is_dir() else [])], check=False, timeout=FUZZ_SECONDS + 60)
        if done.returncode == 0:
            return ""
        kept = [f"{path.name}: {path.read_bytes()[:256].hex()}" for path in Path(scratch).iterdir() if path.is_file()]
        return f"{target.name}: {' '.join(kept)}\n{tail(done.stderr, 30)}"


def _test_targets(directory: Path, folder: Path) -> list[str]:
    found = [str(target.file.relative_to(directory)) for target in build.targets(directory)
             if target.kind == "executable" and target.defined_in.is_relative_to(folder)]
    if not found:
        raise ToolError(f"no test programs are defined in {folder.relative_to(ROOT)}")
    return found
