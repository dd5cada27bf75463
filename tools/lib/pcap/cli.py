# SPDX-License-Identifier: Apache-2.0
"""tools/pcap: makes the captures of tests/captures anew."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from common.paths import ROOT
from common.say import say
from pcap.recordings import RECORDINGS, Recording
from pcap.stage import capture, server, stage

CAPTURES = ROOT / "tests/captures"


def record(recording: Recording, out: Path) -> Path:
    """A stage of its own for each: no session, port or late segment of another one gets in."""
    file = out / f"{recording.name}.pcap"
    with stage() as on, server(on, recording.server), capture(on, recording.device, file):
        recording.act(on)
    return file


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/pcap", description="Captures of real TLS clients and of generated hellos.")
    top.add_argument("--out", type=Path, default=CAPTURES, metavar="DIR", help="default: tests/captures")
    top.add_argument("--only", action="append", metavar="NAME", choices=[entry.name for entry in RECORDINGS],
                     help="only this one (may be given more than once)")
    top.add_argument("--list", action="store_true", help="say what there is, record nothing")
    return top


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    wanted = [entry for entry in RECORDINGS if not arguments.only or entry.name in arguments.only]
    if arguments.list:
        for entry in wanted:
            print(f"{entry.name:24} {entry.about}")
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    for entry in wanted:
        if not entry.installed():
            say(f"{entry.name}: not recorded, for its client is not installed ({entry.bring})")
            continue
        file = record(entry, arguments.out)
        print(f"{file} {file.stat().st_size} bytes", flush=True)
    return 0
