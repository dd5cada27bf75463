# SPDX-License-Identifier: Apache-2.0
"""What clients wait for their sessions in the lab, end to end: the dispatcher's own figure, from a complete ClientHello to its
release, against what a full handshake would have taken them longer, in the same run. The whole chassis and its clients share
this machine's cores. Each client comes alone."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.context import Context
from bench.figures import Figure, Result
from clients import handshakes
from common.shell import ToolError, run as run_program
from lab import chassis, lifecycle, readiness
from lab.namespaces import enter, wait_until
from lab.plan import CLIENT, CONFIG, PORT, SERVER_NAME, VIP4, WEB_CA, Blade, Options
from lab.waits import Waits, quantile

STORE_TOOL = "tests/support/store_tool"
TARGETS = (STORE_TOOL, "dataplane/keyrail-dp", "control/daemon/keyraild", "control/agent/keyrail-agent", "control/cli/keyrail",
           "control/hooks/libkeyrail-tls.so")
PAUSES_MS = (5, 20, 100)
VERSION = "1.2"  # what it saves is the most there, and is what the targets are about
SPORADIC, OTHERS = (0.25, 1.0), (0.5, 1.5)  # p50 and p99, by the saving
OPTIONS = Options(cert="rsa2048")


def _figures(name: str, about: str, most: tuple[float, float] | None) -> tuple[Figure, ...]:
    return tuple(Figure(f"holds.{name}.{part}{suffix}", unit, f"{about}: {what}", target)
                 for part, goal in zip(("p50", "p99"), most or (None, None), strict=True)
                 for suffix, unit, what, target in (("_us", "us", f"{part} of holds; baseline: what a full handshake adds", None),
                                                    ("", "ratio", f"{part} by what a full handshake adds", goal)))


FIGURES = (
    *(figure for pause in PAUSES_MS
      for figure in _figures(f"sporadic.{pause}ms", f"clients {pause} ms apart, their blade drains", SPORADIC)),
    *_figures("busy", "the same, 20 ms apart, beside a spinning process per core", None),
    *_figures("drain", "the same, 5 ms apart, while 20 000 other sessions are drained at 4000/s", OTHERS),
    *_figures("content", "5 ms apart, to another pool's content", OTHERS),
    Figure("holds.auto.longer", "ratio", "hold_budget auto, 20 ms apart: holds that took longer than a full handshake adds", 0.01),
    Figure("holds.auto.skipped", "ratio", "of those clients, the ones whose session was not moved: the wait would be too long"),
)


def client(kind: str, count: int, *more: object) -> list[str]:
    return [*enter(CLIENT), sys.executable, "-B", handshakes.__file__, kind, VERSION, str(count), VIP4, str(PORT), SERVER_NAME,
            str(WEB_CA), *map(str, more)]


def generation() -> int:
    status = readiness.keyrail_json("status")
    return int(status["dataplane"]["snapshot_generation"])  # type: ignore[index,call-overload]


@contextmanager
def published(change: Callable[[], object]) -> Iterator[None]:
    """After the change the dispatcher has another snapshot."""
    before = generation()
    change()
    if not wait_until(lambda: generation() > before, 5):
        raise ToolError("the dispatcher got no new snapshot in 5 s")
    yield


def drain(blades: tuple[int, ...], *more: str) -> None:
    with published(lambda: [readiness.keyrail("blade", "drain", str(blade), *more) for blade in blades]):
        pass


def resume(blades: tuple[int, ...]) -> None:
    with published(lambda: [readiness.keyrail("blade", "resume", str(blade)) for blade in blades]):
        pass


@contextmanager
def configured(change: Callable[[str], str]) -> Iterator[None]:
    good = CONFIG.read_text()

    def write(text: str) -> None:
        CONFIG.write_text(text)
        readiness.keyrail("config", "reload")

    with published(lambda: write(change(good))):
        try:
            yield
        finally:
            with published(lambda: write(good)):
                pass


@contextmanager
def leaving(rate: str = "1/s") -> Iterator[None]:
    """Blade 1 drains; slowly, so that sessions wait for their clients."""
    drain((1,), "--rate", rate)
    try:
        yield
    finally:
        resume((1,))


@contextmanager
def leaving_full(context: Context) -> Iterator[None]:
    """With 20 000 sessions that are newer than the clients', so that these do not move ahead of all others."""
    run_program([context.program(STORE_TOOL), "fill", Blade(1).store, "20000", str(PORT), "www"])
    with leaving("4000/s"):
        yield


@contextmanager
def to_images() -> Iterator[None]:
    """The content is blade 3's alone."""
    lines = ["[[service.route]]", f'sni = "{SERVER_NAME}"', 'pool = "images"', "[[pool]]", 'name = "images"', "blades = [3]"]
    with configured(lambda text: text + "\n".join(lines) + "\n"):
        yield


def come_again(count: int, pause_ms: float, where: Callable[[], Any]) -> Waits:
    """So many clients get sessions on blade 1; then, one after the other, they come again."""
    drain((2, 3), "--rate", "1/s")
    with subprocess.Popen(client("again", count, pause_ms), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            if process.stdout.readline() != "ready\n":
                raise ToolError("the clients got no sessions")
        finally:
            resume((2, 3))
        with where():
            before = Waits.now(VERSION)
            answer, _ = process.communicate("\n", timeout=120)
            if process.returncode != 0:
                raise ToolError(f"the clients failed (exit status {process.returncode})")
            json.loads(answer)
            return Waits.now(VERSION).since(before)


@contextmanager
def busy_neighbours() -> Iterator[None]:
    spinning = [subprocess.Popen(["taskset", "-c", str(core), "sh", "-c", "while :; do :; done"])
                for core in sorted(os.sched_getaffinity(0))]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def learn_costs() -> None:
    """Hooks measure some of many handshakes."""
    for _ in range(5):
        for kind in ("full", "resumed"):
            run_program(client(kind, 300))
        if wait_until(lambda: any(costs["saving_us"] for costs in
                                  readiness.keyrail_json("stats")["economics"]["handshakes"]  # type: ignore[call-overload,index]
                                  if costs["tls_version"] == VERSION), 3):
            return
    raise ToolError("what handshakes cost is not known after 3000 of them")


def one_run(context: Context) -> dict[str, Waits]:
    count = 10 if context.quick else 100
    found = {f"sporadic.{pause}ms": come_again(count, pause, leaving) for pause in PAUSES_MS}
    with busy_neighbours():
        found["busy"] = come_again(count, 20, leaving)
    found["content"] = come_again(count, 5, to_images)
    budget = f'hold_budget = "{chassis.HOLD_BUDGET}"'
    with configured(lambda text: text.replace(budget, 'hold_budget = "auto"')):
        found["auto"] = come_again(count, 20, leaving)
    found["drain"] = come_again(count, 5, lambda: leaving_full(context))
    return found


def known(counts: Counter[int], share: float) -> float:
    if (value := quantile(counts, share)) is None:
        raise ToolError("no client had to wait for its session, so there is nothing to measure")
    return value


def summed_up(runs: list[dict[str, Waits]]) -> Iterator[Result]:
    samples: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, waits in run.items():
            if name == "auto":
                held = waits.waited.total()
                samples["longer"].append(waits.longer / max(held, 1))
                samples["skipped"].append(waits.skipped / max(held + waits.skipped, 1))
                continue
            for part, share in (("p50", 0.5), ("p99", 0.99)):
                samples[f"{name}.{part}"].append(known(waits.waited, share))
            samples[f"{name}.saving"].append(known(waits.saving, 0.5))
    for name in [name for name in samples if name.endswith((".p50", ".p99"))]:
        savings = samples[f"{name[:-4]}.saving"]
        yield Result.of(f"holds.{name}_us", samples[name], savings)
        yield Result.of(f"holds.{name}", [waited / saved for waited, saved in zip(samples[name], savings, strict=True)])
    yield Result.of("holds.auto.longer", samples["longer"])
    yield Result.of("holds.auto.skipped", samples["skipped"])


def run(context: Context) -> Iterator[Result]:
    if os.geteuid() != 0:
        raise ToolError("the lab needs root")
    lifecycle.up(OPTIONS, fresh=False)
    try:
        learn_costs()
        runs = []
        for turn in range(context.runs):
            context.progress(f"holds: run {turn + 1} of {context.runs}")
            runs.append(one_run(context))
        stages = "; ".join(f"{stage['name']} {stage['p50_us']}/{stage['p99_us']}" for stage in Waits.now(VERSION).stages)
        context.progress(f"where the time of these moves went, p50/p99 in us: {stages}")
        yield from summed_up(runs)
    finally:
        lifecycle.down()
