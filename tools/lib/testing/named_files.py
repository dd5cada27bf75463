# SPDX-License-Identifier: Apache-2.0
"""Our own files that READMEs and comments name exist: a name, or the end of a path, of some file of the tree."""

import re
from collections.abc import Iterator
from pathlib import Path

from common.paths import ROOT
from testing.report import Report

FOLDERS = ("control", "dataplane", "hw", "tests", "tools")
_COMMENT = {".md": "", ".cc": "//", ".h": "//", ".c": "//", ".proto": "//"}
_NAME = re.compile(r"(?<![\w./*{<-])((?:[\w-]+/)*[\w-]+\.(?:cc|h|bpf\.c|py|md|proto))(?![\w*])")
# Named here, and not ours: of the kernel, of libraries, of other programs.
OTHERS = {"net/tcp_states.h", "eh_alloc.cc", "linux/futex.h", "pcap.h", "ctype.h"}


def _endings(files: list[Path]) -> set[str]:
    return {"/".join(path.parts[i:]) for path in files for i in range(len(path.parts))}


def unknown(root: Path) -> Iterator[str]:
    files = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    files += [path.relative_to(root) for path in root.glob("*.md")]
    known = _endings(files) | OTHERS
    for path in sorted(path for path in files if path.suffix in _COMMENT):
        mark = _COMMENT[path.suffix]
        for number, line in enumerate((root / path).read_text().splitlines(), 1):
            text = line[line.index(mark):] if mark in line else ""
            yield from (f"{path}:{number} names {name}, which does not exist"
                        for name in _NAME.findall(text) if name not in known)


def check() -> Report:
    report = Report()
    faults = list(unknown(ROOT))
    if faults:
        report.fails("\n".join(faults))
    else:
        report.passes()
    return report
