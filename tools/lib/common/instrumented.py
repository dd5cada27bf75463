# SPDX-License-Identifier: Apache-2.0
"""The build under sanitizers: one for the unit tests and the fuzz targets, for compiling is what takes the time."""

from pathlib import Path

from common import build
from common.paths import build_dir

# Without coverage in our own code the fuzzer would be blind; the fuzz targets themselves bring its main().
OPTIONS = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=0", "-Dwerror=false",
           "-Dc_args=-fsanitize=fuzzer-no-link", "-Dcpp_args=-fsanitize=fuzzer-no-link"]
# A finding ends the test; leaks of libraries at exit are not what is looked for here.
ENVIRONMENT = {"ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0:detect_stack_use_after_return=1",
               "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
               "KR_EXPLORE": "quick"}  # ten times slower here: not every interleaving again


def directory() -> Path:
    return build_dir().with_name(f"{build_dir().name}-sanitize")


def configured() -> Path:
    """It is clang's, for libFuzzer is; warnings are the normal build's business."""
    build.configure(directory(), OPTIONS, {"CC": "ccache clang-19", "CXX": "ccache clang++-19"})
    return directory()
