# SPDX-License-Identifier: Apache-2.0
"""What compiles on one Debian release only. Each was met once; who compiles on this machine's release alone hears of it here,
not when the other one is built."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.paths import ROOT
from testing.report import Report

INSTEAD = {
    r"\brte_ring_create_elem\(": 'its header has no extern "C" in DPDK 24.11: create_ring() of dataplane/core/shared.h',
    r"#include <fmt/core\.h>": "fmt 10 has no formatter of numbers there: <fmt/format.h>",
}


def complaints(root: Path) -> Iterator[str]:
    for file in sorted(path for folder in ("control", "dataplane", "tests", "tools") for path in (root / folder).rglob("*")
                       if path.suffix in (".h", ".cc", ".c")):
        text = file.read_text()
        for pattern, better in INSTEAD.items():
            for found in re.finditer(pattern, text):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{file.relative_to(root)}:{line}: {found[0].rstrip('(')}: {better}"


def check() -> Report:
    """One test."""
    report, found = Report(), list(complaints(ROOT))
    report.fails("\n".join(found)) if found else report.passes()
    return report
