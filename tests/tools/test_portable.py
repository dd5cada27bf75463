# SPDX-License-Identifier: Apache-2.0
"""The check of what compiles on one release only: what it must find, and what it must let be."""

from pathlib import Path

import pytest

from testing import portable


@pytest.mark.parametrize(("line", "says"), [
    ('asks = rte_ring_create_elem("asks", 8, 64, 0, 0);', "a.cc:2: rte_ring_create_elem: "),
    ("#include <fmt/core.h>", "a.cc:2: #include <fmt/core.h>: "),
    ('asks = create_ring("asks", 8, 64, 0, 0);', ""),
    ('unsigned flags) __asm__("rte_ring_create_elem");', ""),
    ("#include <fmt/format.h>", ""),
])
def test_it_is_found_where_it_is_used(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "dataplane").mkdir()
    (tmp_path / "dataplane/a.cc").write_text(f"// a file\n{line}\n")
    found = list(portable.complaints(tmp_path))
    assert [complaint.startswith(f"dataplane/{says}") for complaint in found] == ([True] if says else [])
