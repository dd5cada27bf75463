# SPDX-License-Identifier: Apache-2.0
"""Thousands of random hellos, cut, shuffled, overlapped and doubled: replay reads what tshark reads when they lie
whole and in order. KR_SEED=N draws others."""

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from differential.oracle import by_replay, by_tshark, differences, replayed
from differential.streams import Case, case
from differential.wire import FRAMINGS, interleaved, mangled, uncut, write_capture

SEED = int(os.environ.get("KR_SEED", "20261122"))
COUNTS = {"ethernet": 2000}  # of conversations; of other framings fewer
SHOWN = 3


def write_in_order(file: Path, cases: list[Case]) -> None:
    write_capture(file, (packet for one in cases for packet in one.conversation.packets(uncut)))


def write_mangled(file: Path, cases: list[Case], framing: str) -> None:
    random = Random(SEED)
    lanes = [one.conversation.packets(lambda *how: mangled(random, *how)) for one in cases]
    write_capture(file, interleaved(random, lanes), FRAMINGS[framing])


@pytest.mark.parametrize("framing", FRAMINGS)
def test_replay_agrees_with_tshark(tmp_path: Path, framing: str) -> None:
    numbers = range(COUNTS.get(framing, 100))
    whole, cut = tmp_path / "whole.pcap", tmp_path / "cut.pcap"
    cases = [case(SEED, number, in_records=False) for number in numbers]
    write_in_order(whole, [one for one in cases if not one.bad])
    write_mangled(cut, [case(SEED, number, in_records=True) for number in numbers], framing)
    theirs, lines = by_tshark(whole), replayed(cut)
    assert sum(map(len, theirs.values())) == sum(one.good for one in cases), "tshark did not see them all"
    wrong = differences(theirs, by_replay(line for line in lines if "reason" not in line))
    assert not wrong, f"KR_SEED={SEED}: {len(wrong)} of {len(cases)} differ\n" + "\n".join(wrong[:SHOWN])
    refused = Counter(line["src"] for line in lines if "reason" in line)
    assert refused == Counter(one.client for one in cases if one.bad), f"KR_SEED={SEED}"
