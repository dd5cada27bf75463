# SPDX-License-Identifier: Apache-2.0
"""tools/fuzz: the fuzz targets for as long as you like."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fuzzing import campaign, seeds, targets


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/fuzz", description="Runs the fuzz targets; exit status 1 on a finding.")
    top.add_argument("--seconds", type=positive, default=60, metavar="N", help="for each target, default 60")
    top.add_argument("--only", action="append", metavar="TARGET", choices=targets.names(),
                     help="only this one (may be given more than once)")
    top.add_argument("--jobs", type=positive, default=1, metavar="N", help="so many at a time, default 1")
    top.add_argument("--corpus", type=Path, metavar="DIR",
                     help="start from, and keep what is learnt in, DIR/TARGET; else it is thrown away")
    top.add_argument("--make-seeds", action="store_true", help="make tests/fuzz/seeds anew from tests/captures")
    top.add_argument("--list", action="store_true", help="say what the targets are, run nothing")
    return top


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    wanted = [name for name in targets.names() if not arguments.only or name in arguments.only]
    if arguments.list:
        for name in wanted:
            print(f"{name:14} {targets.about(name)}")
        return 0
    if arguments.make_seeds:
        seeds.make()
        return 0
    total, broken = 0, 0
    for outcome in campaign.run(wanted, arguments.seconds, arguments.jobs, arguments.corpus):
        total += outcome.executions
        broken += bool(outcome.complaint)
        print(f"{outcome.name:14} {outcome.executions:12} executions", flush=True)
        if outcome.complaint:
            print(f"FOUND: {outcome.complaint}")
        for file in outcome.found:
            print(f"    reproducer: {file}", flush=True)
    print(f"{'all':14} {total:12} executions, {broken} of {len(wanted)} targets with a finding")
    return 1 if broken else 0
