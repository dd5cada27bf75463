# SPDX-License-Identifier: Apache-2.0
"""Several fuzz targets, some at a time: used by tools/fuzz and by tools/test."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import instrumented
from common.say import Progress
from fuzzing import targets
from fuzzing.targets import Outcome, Run


def findings() -> Path:
    """Inputs that broke something stay here."""
    return instrumented.directory() / "findings"


def run(wanted: Sequence[str], seconds: int, jobs: int = 1, corpus: Path | None = None) -> Iterator[Outcome]:
    """Each target's outcome as it ends. Without `corpus`, what the fuzzer learns is thrown away at the end."""
    programs = targets.built(wanted)
    with tempfile.TemporaryDirectory(prefix="keyrail-fuzz-") as scratch:
        yield from _run(programs, seconds, jobs, corpus or Path(scratch))


def _run(programs: dict[str, Path], seconds: int, jobs: int, home: Path) -> Iterator[Outcome]:
    waiting, running, done = list(programs), list[Run](), 0
    progress = Progress(f"fuzzing, {seconds} s each")
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running.append(targets.start(name, programs[name], seconds, home, findings()))
            time.sleep(0.2)
            for ended in [run for run in running if run.process.poll() is not None]:
                running.remove(ended)
                done += ended.outcome().executions
                yield ended.outcome()
            executions = done + sum(run.executions() for run in running)
            progress.update(f"{', '.join(run.name for run in running)}; {executions} executions so far")
    finally:
        for run in running:
            run.process.terminate()
            run.process.wait()
        progress.done()
