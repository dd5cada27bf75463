# SPDX-License-Identifier: Apache-2.0
"""tools/bench: each section runs, checks its own counters, and says of every figure what it is or why not. (Connections and
peers: test_loadgen.py.) KR_BUILD = build directory."""

import importlib
import json
import os
from pathlib import Path

import pytest

from bench import cli
from bench.context import Context
from bench.figures import Figure, Result
from bench.report import Report

BEST_IS_NONE = ("misses", ".longer", ".skipped")  # a run without any is as good as can be
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
@pytest.mark.parametrize("section", sorted({*cli.SECTIONS} - {"connections", "peers"}))
def test_a_section_runs(tmp_path: Path, section: str) -> None:
    file = tmp_path / "results.json"
    assert cli.main(["--quick", "--only", section, "--json", str(file), "--md", str(tmp_path / "report.md")]) == 0
    results = json.loads(file.read_text())["results"]
    assert [result["id"] for result in results] == [
        figure.id for figure in importlib.import_module(f"bench.{section}").FIGURES]
    measured = [result for result in results if result["value"] is not None]
    assert measured and all(result["value"] > 0 for result in measured if not result["id"].endswith(BEST_IS_NONE))
    assert all(result["reason"] == "not in a quick run" for result in results if result["value"] is None)


def test_every_figure_is_there_once() -> None:
    ids = [figure.id for section in cli.SECTIONS for figure in importlib.import_module(f"bench.{section}").FIGURES]
    assert len(ids) == len({*ids})
    cases = ("established.1", "established.16k", "established.1m", "established.16m", "syn", "ack", "hello.tls13_psk",
             "hello.tls12_id", "hello.pq_two_segments", "return")
    published = {f"pipeline.{case}{suffix}" for case in cases for suffix in ("", ".instructions")}
    published |= {f"wire.{link}.{size}.ratio_macswap" for link in ("memif", "vhost") for size in (64, 600)}
    published |= {f"connections.{binding}.per_second" for binding in ("late", "early")}
    published |= {f"peers.{peer}.per_second" for peer in ("keyrail", "haproxy", "nginx")}
    published |= {"peers.ratio_haproxy", "peers.ratio_haproxy_veth", "peers.added_latency_p50_us", "memory.flow_bytes",
                  "moves.p50_us", "moves.p99_us", "moves.per_second"}
    assert not published - {*ids}


def test_what_fails_has_its_reason() -> None:
    class Section:
        FIGURES = (Figure("a", "ns", "first"), Figure("b", "ns", "second"))

        @staticmethod
        def run(_context: Context):
            yield Result.of("a", [1.0])
            raise cli.ToolError("no such thing")

    results, whole = cli.measure(Section, Context())
    assert not whole
    assert [(result.id, result.value, result.reason) for result in results] == [("a", 1.0, ""), ("b", None, "no such thing")]


def test_medians_and_ratios() -> None:
    result = Result.of("a", [3.0, 1.0, 8.0], [2.0, 1.0, 2.0])
    assert (result.value, result.min, result.max, result.baseline, result.ratio) == (3.0, 1.0, 8.0, 2.0, 1.5)
    report = Report({"cpu": "x"}, ["tools/bench"], quick=False)
    report.add([Figure("a", "ns", "first", 2.0), Figure("b", "1/s", "second", 2.0, more_is_better=True)],
               [result, Result.of("b", [2.0])])
    rows = [line for line in report.markdown().splitlines() if line.startswith("| `")]
    assert rows[0].endswith("| <= 2 | no |") and rows[1].endswith("| >= 2 | yes |")
