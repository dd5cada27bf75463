# SPDX-License-Identifier: Apache-2.0
"""Metrics: what `keyrail stats` says, as Prometheus reads it, and what handshakes and moves are worth."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import pytest
from clients import openssl
from clients.outcome import VERSIONS
from common.shell import run
from lab import readiness
from lab.namespaces import enter, wait_until
from lab.plan import AWAY4, CONTROL_SOCKET, DISPATCH, METRICS
from support.chassis import ROOT, Chassis

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
NAME = re.compile(r"(keyrail|process)_[a-z0-9_]+")
OPENMETRICS = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def scraped(*words: str) -> str:
    return run([*enter(DISPATCH), "curl", "--silent", "--fail", "--max-time", "10", *words]).stdout


def read(text: str) -> Samples:
    """Stricter than the parser: every family has help and a type, counters end in _total, no sample is there twice."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        assert NAME.fullmatch(family.name) and family.documentation, family
        assert family.type in ENDINGS, family
        for sample in family.samples:
            assert sample.name.removeprefix(family.name) in ENDINGS[family.type], sample
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} is there twice"
            assert family.type == "gauge" or sample.value >= 0, sample
            samples[key] = sample.value
    return samples


def total(samples: Samples, name: str, /, **labels: Any) -> float:
    return sum(value for (known, its), value in samples.items()
               if known == f"keyrail_{name}" and labels.items() <= dict(its).items())


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:keyrail|process)_[a-z0-9_]+", expression))


def test_prometheus_has_no_complaint(chassis: Chassis) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=scraped(f"http://{METRICS}/metrics"), capture_output=True, text=True,
                          check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_openmetrics_for_who_asks_for_it(chassis: Chassis) -> None:
    words = ("--include", f"http://{METRICS}/metrics")
    head, text = scraped("--header", OPENMETRICS, *words).split("\r\n\r\n", 1)
    assert "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8" in head and text.endswith("\n# EOF\n")
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    assert (families["keyrail_build"].type, families["keyrail_moves"].type) == ("info", "counter")
    plain, _ = scraped("--header", "Accept: text/plain", *words).split("\r\n\r\n", 1)
    assert "Content-Type: text/plain; version=0.0.4" in plain
    names = {sample.name for family in families.values() for sample in family.samples}
    assert names == {name for name, _ in read(scraped(f"http://{METRICS}/metrics"))}


def test_alerts_and_panels_name_metrics_that_exist(chassis: Chassis) -> None:
    """A family may have no sample now (nothing drains); its name and its labels are real all the same."""
    families = {family.name: family.type for family in text_string_to_metric_families(scraped(f"http://{METRICS}/metrics"))}
    known = {name + ending for name, kind in families.items() for ending in ENDINGS[kind]}
    board = json.loads(run(["/usr/bin/python3", "-B", ROOT / "hw/monitoring/dashboard.py"]).stdout)
    wanted = metrics_in((ROOT / "hw/monitoring/alerts.yml").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            wanted |= metrics_in(target["expr"])
    assert len(wanted) > 40 and not wanted - known, wanted - known


def test_metrics_say_what_stats_say(chassis: Chassis, session: Path) -> None:
    assert openssl.connect("1.3", session, source=AWAY4).ok
    assert openssl.connect("1.3", session, source=AWAY4).resumed
    # Agents tell once a second what handshakes there were.
    assert wait_until(lambda: any(blade["resumed"] for blade in chassis.keyrail("blade", "list")), 5)
    samples = read(scraped(f"http://{METRICS}/metrics"))
    stats, blades = chassis.stats().raw, chassis.keyrail("blade", "list")
    for reason in ("steer_home", "steer_new", "syn_cookie"):
        assert 0 < total(samples, "packets_total", reason=reason) <= stats["reasons"][reason]
    assert 0 < total(samples, "worker_rx_total") <= stats["rx"]
    assert total(samples, "moves_total", result="moved") == stats["moves"]["moved"]
    assert total(samples, "dataplane_connected") == 1
    for blade in blades:
        number = str(blade["id"])
        assert total(samples, "blade_state", blade=number, state="up") == 1
        assert total(samples, "blade_state", blade=number) == 1
        assert total(samples, "blade_info", blade=number, name=blade["name"], address=blade["address"], agent_version=blade["agent"]["version"]) == 1
    resumed = total(samples, "blade_handshakes_total", result="resumed")
    assert 0 < resumed <= sum(blade["resumed"] for blade in blades)
    assert 0 < total(samples, "handshakes_total", service="www", result="resumed") <= sum(blade["resumed"] for blade in blades)
    for name in ("flows", "holds", "moved_entries", "mbufs"):
        assert 0 <= total(samples, name) < total(samples, f"{name}_limit"), name
    assert total(samples, "port_rx_bytes_total", port="front0") > 40 * total(samples, "port_rx_packets_total", port="front0") > 0
    assert total(samples, "worker_busy_seconds_total") > 0
    config = chassis.keyrail("config", "show")
    assert total(samples, "config_revision") == config["revision"]
    assert (total(samples, "config_last_apply_successful"), total(samples, "config_confirm_pending")) == (1, 0)
    assert total(samples, "certificate_expiry_timestamp_seconds", who="agent", blade="1") > total(samples, "config_last_apply_timestamp_seconds")
    assert total(samples, "service_blades_up", service="www", sni="") == len(blades)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_client_waited_is_in_all_of_them(chassis: Chassis, session: Path, version: str) -> None:
    def holds() -> dict[str, Any]:
        return next(one for one in chassis.stats().raw["holds"] if one["tls_version"] == version)

    before = holds()["count"]
    blade = openssl.connect(version, session, source=AWAY4).blade
    with chassis.drained(blade, "--rate", "1/s"):
        assert openssl.connect(version, session, source=AWAY4).resumed
    known = holds()
    assert known["count"] > before and 0 < known["p50_us"] <= known["p99_us"] < 200_000, known
    samples = read(scraped(f"http://{METRICS}/metrics"))
    labels = {"service": "www", "tls_version": version}
    count = total(samples, "hold_duration_seconds_count", **labels)
    assert count >= known["count"]
    assert total(samples, "hold_duration_seconds_bucket", le="+Inf", **labels) == count
    steps = [value for (name, its), value in samples.items()
             if name == "keyrail_hold_duration_seconds_bucket" and labels.items() <= dict(its).items()]
    assert steps == sorted(steps) and steps[-1] == count, "cumulative"
    assert total(samples, "hold_duration_seconds_sum", **labels) >= known["sum_us"] / 1e6
    stages = {stage["name"]: stage for stage in chassis.stats().raw["moves"]["stages"]}
    assert list(stages) == ["ask", "request", "order", "take", "transfer", "store", "report", "answer", "release"]
    assert all(stage["count"] > 0 for stage in stages.values()), stages
    assert "STAGE OF A MOVE" in readiness.keyrail("stats")


def test_the_same_over_the_api(chassis: Chassis) -> None:
    samples = read(scraped("--unix-socket", str(CONTROL_SOCKET), "http://localhost/metrics"))
    assert samples.keys() == read(scraped(f"http://{METRICS}/metrics")).keys()


def test_nothing_else_over_tcp(chassis: Chassis) -> None:
    for path in ("/v1/status", "/v1/blades/1/drain", "/"):
        for method in ("GET", "POST"):
            code = run([*enter(DISPATCH), "curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}",
                        *(["--data", ""] if method == "POST" else []), f"http://{METRICS}{path}"]).stdout
            assert code == {"GET": "404", "POST": "405"}[method], (method, path)
    assert set(chassis.blade_states().values()) == {"up"}
