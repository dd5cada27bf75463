# SPDX-License-Identifier: Apache-2.0
"""Builds the targets that it is given, and nothing else: for commands that are programs of ours (bootstrap.sh, run_built)."""

from collections.abc import Sequence

from common.build import compile_all, configure
from common.paths import build_dir


def main(targets: Sequence[str]) -> int:
    configure(build_dir())
    compile_all(build_dir(), targets)
    return 0
