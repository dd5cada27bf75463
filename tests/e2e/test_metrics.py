# SPDX-License-Identifier: Apache-2.0
"""Metrics: what `keyrail stats` says, as Prometheus reads it, and what handshakes and moves are worth."""

import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from clients import openssl
from common.shell import run
from lab.namespaces import enter
from lab.plan import AWAY4, CONTROL_SOCKET, DISPATCH, METRICS
from support.chassis import Chassis

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
NAME = re.compile(r"keyrail_[a-z0-9_]+")


def scraped(*words: str) -> str:
    return run([*enter(DISPATCH), "curl", "--silent", "--fail", "--max-time", "10", *words]).stdout


def read(text: str) -> Samples:
    """Stricter than the parser: every family has help and a type, counters end in _total, no sample is there twice."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        assert NAME.fullmatch(family.name) and family.documentation, family
        assert family.type in ("counter", "gauge"), family
        for sample in family.samples:
            assert sample.name == family.name + ("_total" if family.type == "counter" else ""), sample
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} is there twice"
            assert family.type == "gauge" or sample.value >= 0, sample
            samples[key] = sample.value
    return samples


def total(samples: Samples, name: str, /, **labels: Any) -> float:
    return sum(value for (known, its), value in samples.items()
               if known == f"keyrail_{name}" and labels.items() <= dict(its).items())


def test_metrics_say_what_stats_say(chassis: Chassis, session: Path) -> None:
    assert openssl.connect("1.3", session, source=AWAY4).ok
    assert openssl.connect("1.3", session, source=AWAY4).resumed
    samples = read(scraped(f"http://{METRICS}/metrics"))
    stats, blades = chassis.stats().raw, chassis.keyrail("blade", "list")
    for reason in ("steer_home", "steer_new", "syn_cookie"):
        assert 0 < total(samples, "packets_total", reason=reason) <= stats["reasons"][reason]
    assert 0 < total(samples, "worker_rx_total") <= stats["rx"]
    assert total(samples, "moves_total", result="moved") == stats["moves"]["moved"]
    assert total(samples, "dataplane_connected") == 1
    for blade in blades:
        assert total(samples, "blade_state", name=blade["name"], state="up") == 1
        assert total(samples, "blade_state", name=blade["name"]) == 1
    resumed = total(samples, "handshakes_total", result="resumed")
    assert 0 < resumed <= sum(blade["resumed"] for blade in blades)
    assert total(samples, "service_blades_up", service="www", sni="") == len(blades)


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
