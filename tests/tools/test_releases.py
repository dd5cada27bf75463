# SPDX-License-Identifier: Apache-2.0
"""tools/test --on RELEASE: what it says when it cannot, and how it reads what the inside printed."""

import subprocess

import pytest

from common.debian import own_release
from common.paths import ROOT
from common.shell import ToolError
from testing import releases


def test_this_machines_own_release_needs_no_root() -> None:
    with pytest.raises(ToolError, match="this machine is Debian"):
        releases.run_on(own_release(), ["unit"])


def test_an_unknown_release_is_refused_with_those_there_are() -> None:
    done = subprocess.run([ROOT / "tools/test", "--on", "sarge"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "sarge" in done.stderr and "trixie" in done.stderr


@pytest.mark.parametrize(("printed", "status", "expected"), [
    ("unit: 7 passed, 0 failed (3 s)\n12 passed, 0 failed, 3 skipped\n", 0, (12, 0, 3)),
    ("FAILED unit: x\n1 passed, 2 failed\n", 1, (1, 2, 0)),
    ("the build broke\n", 1, (0, 1, 0)),  # no sum: that is a failure, whatever else it printed
    ("5 passed, 0 failed\n", 137, (5, 1, 0)),  # killed behind its sum
])
def test_the_sum_of_the_inside(printed: str, status: int, expected: tuple[int, int, int]) -> None:
    report = releases._read_sum("trixie", printed, status)
    assert (report.passed, report.failed, report.skipped) == expected
    assert len(report.failures) >= (1 if report.failed else 0)
