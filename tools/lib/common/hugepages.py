# SPDX-License-Identifier: Apache-2.0
"""Huge pages of 2 MB: adds what is missing, gives back what it added, leaves other people's alone."""

from pathlib import Path

from common.say import say
from common.shell import ToolError

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
SIZE_MB = 2


def _read(name: str) -> int:
    return int((POOL / name).read_text())


def _write(pages: int) -> None:
    (POOL / "nr_hugepages").write_text(f"{pages}\n")


def add(megabytes: int) -> int:
    """Sees to it that so much is free; returns how many pages it added, to be handed to give_back()."""
    if not POOL.exists():
        raise ToolError("this kernel has no huge pages of 2 MB (is CONFIG_HUGETLBFS off?)")
    missing = -(-megabytes // SIZE_MB) - (_read("free_hugepages") - _read("resv_hugepages"))
    if missing <= 0:
        return 0
    before = _read("nr_hugepages")
    _write(before + missing)
    if _read("nr_hugepages") < before + missing:  # memory is in pieces: have the kernel join them, once
        Path("/proc/sys/vm/compact_memory").write_text("1\n")
        _write(before + missing)
    added = _read("nr_hugepages") - before
    if added < missing:
        give_back(added)
        raise ToolError(f"only {added} of {missing} huge pages of 2 MB could be had: free memory, or reserve "
                        f"them at boot with 'hugepages={before + missing}' on the kernel's command line")
    say(f"{added} huge pages of 2 MB added")
    return added


def give_back(pages: int) -> None:
    if pages > 0:
        _write(max(0, _read("nr_hugepages") - pages))
