# SPDX-License-Identifier: Apache-2.0
"""Builds what tools/replay runs, and nothing else."""

from collections.abc import Sequence

from common.build import compile_all, configure
from common.paths import build_dir


def main(_arguments: Sequence[str]) -> int:
    configure(build_dir())
    compile_all(build_dir(), ["dataplane/keyrail-replay"])
    return 0
