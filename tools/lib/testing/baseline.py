# SPDX-License-Identifier: Apache-2.0
"""The part that checks what the product runs on. CPUs: x86-64-v2 with AES-NI, which ipsec-mb wants (servers since 2010), and
faster code only behind a choice at run time. Libraries: the hook library loads on Debian 12 and later, wherever it was built.

What the compiler wrote is looked at, file by file, and the packet path's tests run on such a CPU, by QEMU."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.build import built_file
from common.paths import build_dir
from common.shell import ToolError, run
from testing import builds
from testing.report import Report

PRODUCT = ("control", "dataplane")
CHOSEN_AT_RUN_TIME = re.compile(r"_(avx2|avx512)\.cc\.o$")
LESSER_CPU = ("qemu-x86_64", "-cpu", "Westmere", "-E", "KR_EMULATED_CPU=1")
TESTS = ("pipeline", "dataplane")  # Meson's names; the latter are the unit tests
# x86-64-v3 and later: all that is encoded by VEX or EVEX begins with v (what else does is not for user programs), and BMI,
# LZCNT, MOVBE. TZCNT is not among them: older CPUs run it as BSF, and compilers know when that is the same.
NEWER = re.compile(r"^\s+[0-9a-f]+:\t(v[a-z0-9]+|andn|bextr|bls\w+|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|lzcnt|movbe)\s")
SYMBOL = re.compile(r"^[0-9a-f]+ <(.+)>:$")


# What Debian 12 has, of all that the hook library may ask for: one library serves the servers of every release.
OLDEST = {"GLIBC": (2, 36), "OPENSSL": (3, 0, 0)}
LIBRARIES = {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}  # libssl is the server's own, and its symbols are found at run time
VERSION = re.compile(r"\(?([A-Z]+)_([0-9.]+)\)?")


def oldest_platform() -> Report:
    """CPU and libraries."""
    report = lesser_cpu()
    complaint = _asks_for_too_much(run(["objdump", "-T", "-p", built_file(build_dir(), "libkeyrail-tls.so")]).stdout)
    report.fails(complaint) if complaint else report.passes()
    return report


def _asks_for_too_much(dump: str) -> str:
    """Of a library, by what `objdump -T -p` says of it: the first symbol or library that Debian 12 does not have."""
    for line in dump.splitlines():
        words = line.split()
        if words[:1] == ["NEEDED"] and words[1] not in LIBRARIES:
            return f"libkeyrail-tls.so needs {words[1]}, which a server may not have"
        if "*UND*" not in words or not (match := VERSION.search(line)):
            continue
        if tuple(int(number) for number in match[2].split(".")) > OLDEST.get(match[1], (0,)):
            return f"libkeyrail-tls.so calls {words[-1]} of {match[0].strip('()')}, which Debian 12 does not have"
    return ""


def lesser_cpu() -> Report:
    report = Report()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for complaint in pool.map(_newer_instruction, _objects()):
            report.fails(complaint) if complaint else report.passes()
    _both_would_see_it(report)
    _prefetches(report)
    report.add(builds.meson_tests(build_dir(), *TESTS, under=LESSER_CPU))
    return report


def _objects() -> list[Path]:
    found = sorted(file for folder in PRODUCT for file in (build_dir() / folder).rglob("*.o")
                   if (file.name.endswith((".cc.o", ".c.o")) or "-unity" in file.name)
                   and not CHOSEN_AT_RUN_TIME.search(file.name) and "bpf" not in file.name)
    if not found:
        raise ToolError(f"no object files are in {build_dir()}: is it built?")
    return found


def _newer_instruction(file: Path) -> str:
    """The first one, and the function that it is in."""
    function = ""
    for line in run(["objdump", "-d", "--no-show-raw-insn", file]).stdout.splitlines():
        if match := SYMBOL.match(line):
            function = match[1]
        elif match := NEWER.match(line):
            return (f"{file.relative_to(build_dir())} has {match[1]} in {function}: beyond x86-64-v2; code for faster CPUs "
                    "belongs into a file *_avx2.cc or *_avx512.cc, called when the CPU has it")
    return ""


PREFETCHING = {"parse::process": "keyrail5parse7process", "the worker": "keyrail6Worker"}  # and the mangled names


def _prefetches(report: Report) -> None:
    """Compilers drop a prefetch when they take it for a function without effect: a million flows cost three times as much
    (GCC 12 did so for calls that were not inlined early)."""
    functions = {function for file in _objects() if file.is_relative_to(build_dir() / "dataplane")
                 for function in _functions_with("\tprefetch", file)}
    for what, mangled in PREFETCHING.items():
        kept = any(mangled in function for function in functions)
        report.passes() if kept else report.fails(f"{what} prefetches nothing: the compiler dropped it")


def _functions_with(instruction: str, file: Path) -> set[str]:
    found, function = set(), ""
    for line in run(["objdump", "-d", "--no-show-raw-insn", file]).stdout.splitlines():
        if match := SYMBOL.match(line):
            function = match[1]
        elif instruction in line:
            found.add(function)
    return found


AVX2 = """
int main() { asm("vpabsd %ymm0, %ymm0"); }
"""


def _both_would_see_it(report: Report) -> None:
    """A program that needs AVX2 does not pass either check."""
    program = build_dir() / "needs-avx2"
    try:
        run(["g++", "-O1", "-mavx2", "-x", "c++", "-o", program, "-"], stdin=AVX2)
        seen = _newer_instruction(program)
        emulated = run([*LESSER_CPU, program], check=False).returncode
    finally:
        program.unlink(missing_ok=True)
    report.passes() if seen else report.fails("AVX2 is not seen in what objdump says")
    report.passes() if emulated else report.fails(f"{' '.join(LESSER_CPU)} runs AVX2")
