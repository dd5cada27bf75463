# SPDX-License-Identifier: Apache-2.0
"""Real clients: replay reads in every capture what tshark reads. KR_CAPTURES=DIR looks at other captures instead."""

import os
from pathlib import Path

import pytest

from common.paths import ROOT
from differential.oracle import by_replay, by_tshark, differences, replayed

FOLDER = Path(os.environ.get("KR_CAPTURES", ROOT / "tests/captures"))
FILES = sorted(file for file in FOLDER.rglob("*") if file.suffix in (".pcap", ".pcapng", ".cap", ".trace"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_replay_agrees_with_tshark(file: Path) -> None:
    lines = replayed(file)
    wrong = differences(by_tshark(file), by_replay(lines))
    assert not wrong, "\n".join(wrong)
    if FOLDER == ROOT / "tests/captures":
        assert lines and all(line["complete"] and "reason" not in line for line in lines)
