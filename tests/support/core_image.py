# SPDX-License-Identifier: Apache-2.0
"""What a core dump of a process would show: its memory, but for the mappings that are kept out of dumps."""

import re
from collections.abc import Iterator
from pathlib import Path

MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$")
MOST = 1 << 30  # reserved address space is no memory


def _mappings(pid: int) -> Iterator[tuple[int, int, str, bool]]:
    """Start, end, name, and whether a dump has it (proc(5): "dd" is MADV_DONTDUMP, "io" a device's)."""
    place = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if found := MAPPING.match(line):
            place = (int(found[1], 16), int(found[2], 16), found[3], found[4])
        elif line.startswith("Rss:") and line.split()[1] == "0":
            place = None  # never touched
        elif line.startswith("VmFlags:") and place and place[2].startswith("r") and place[3] != "[vvar]":
            flags = line.split()[1:]
            yield place[0], place[1], place[3] or "anonymous", not {"dd", "io"} & set(flags)


def found_in(pid: int, secret: bytes) -> tuple[list[str], list[str]]:
    """Names of the mappings where the secret is: of those in a dump, and of those that are kept out."""
    inside: list[str] = []
    outside: list[str] = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end, name, dumped in _mappings(pid):
            if end - start > MOST:
                continue
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, OverflowError):
                continue
            if secret in content:
                (inside if dumped else outside).append(name)
    return inside, outside
