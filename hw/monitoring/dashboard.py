# SPDX-License-Identifier: Apache-2.0
"""Grafana's dashboard of a chassis, on standard output; import it with a Prometheus that scrapes keyraild's metrics.

    dashboard.py > dashboard.json"""

import itertools
import json
from typing import Any

Panel = dict[str, Any]
HERE = 'instance=~"$instance"'
WIDTH, HEIGHT = 24, 8
RATE = "[$__rate_interval]"


def target(expression: str, legend: str) -> dict[str, Any]:
    """`{}` in it stands for the choice of dispatchers."""
    return {"expr": expression.replace("{}", "{" + HERE + "}").replace("{,", "{" + HERE + ", "), "legendFormat": legend, "refId": ""}


def panel(kind: str, title: str, about: str, unit: str, *targets: dict[str, Any], width: int = 8, **more: Any) -> Panel:
    for letter, one in zip("ABCDEFGH", targets, strict=False):
        one["refId"] = letter
    return {"type": kind, "title": title, "description": about, "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "fieldConfig": {"defaults": {"unit": unit, **more}, "overrides": []}, "targets": list(targets), "width": width}


def graph(title: str, about: str, unit: str, *targets: dict[str, Any], width: int = 8) -> Panel:
    return panel("timeseries", title, about, unit, *targets, width=width, min=0)


def number(title: str, about: str, unit: str, *targets: dict[str, Any], bad_below: float | None = None, bad_above: float | None = None) -> Panel:
    red, green = {"color": "red"}, {"color": "green"}
    steps = [{**green, "value": None}]
    if bad_below is not None:
        steps = [{**red, "value": None}, {**green, "value": bad_below}]
    if bad_above is not None:
        steps = [{**green, "value": None}, {**red, "value": bad_above}]
    return panel("stat", title, about, unit, *targets, width=4, thresholds={"mode": "absolute", "steps": steps})


def quantiles(metric: str, by: str) -> list[dict[str, Any]]:
    return [target(f"histogram_quantile({share}, sum by (le{by and ', ' + by}) (rate({metric}_bucket{{}}{RATE})))",
                   f"{name} {{{{{by}}}}}" if by else name) for share, name in ((0.5, "median"), (0.99, "99 of 100"))]


ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        number("Dataplane", "1: keyrail-dp is connected", "none", target("min(keyrail_dataplane_connected{})", ""), bad_below=1),
        number("Service with the fewest blades", "Blades that take clients, of the service or route that has the fewest", "none",
               target("min(keyrail_service_blades_up{})", ""), bad_below=1),
        number("Blades down", "Blades that take nothing new", "none", target('sum(keyrail_blade_state{,state="down"})', ""), bad_above=1),
        number("Resumed", "Share of handshakes that resumed a session", "percentunit",
               target(f'sum(rate(keyrail_handshakes_total{{,result="resumed"}}{RATE})) / sum(rate(keyrail_handshakes_total{{}}{RATE}))', "")),
        number("CPU saved", "Cores of TLS servers that resumptions save", "none", target(f"sum(rate(keyrail_handshake_cpu_saved_seconds_total{{}}{RATE}))", "")),
        number("Configuration", "Revision that is in force", "none", target("max(keyrail_config_revision{})", ""))],
    "Services": [
        graph("Handshakes", "By service and how they ended", "ops",
              target(f"sum by (service, result) (rate(keyrail_handshakes_total{{}}{RATE}))", "{{service}} {{result}}")),
        graph("Resumed", "Share of handshakes that resumed a session", "percentunit",
              target(f'sum by (service, tls_version) (rate(keyrail_handshakes_total{{,result="resumed"}}{RATE}))'
                     f" / sum by (service, tls_version) (rate(keyrail_handshakes_total{{}}{RATE}))", "{{service}} TLS {{tls_version}}")),
        graph("Blades that take clients", "By service and route", "none", target("keyrail_service_blades_up{}", "{{service}} {{sni}} {{alpn}}")),
        graph("CPU of a handshake", "Of the server, mean of the latest", "s",
              target("keyrail_handshake_cpu_seconds{}", "{{service}} TLS {{tls_version}} {{result}}")),
        graph("Waits for sessions", "From a complete ClientHello to its release, where the session had to be moved", "s",
              *quantiles("keyrail_hold_duration_seconds", "service")),
        graph("What a wait is worth", "What a full handshake would have taken held clients longer; what the next must expect; the longest allowed", "s",
              target("keyrail_hold_saving_seconds{}", "worth, {{service}} TLS {{tls_version}}"),
              target("keyrail_hold_expected_seconds{}", "expected, {{service}} TLS {{tls_version}}"),
              target('keyrail_hold_budget_seconds{,kind="in_force"}', "allowed, {{service}} TLS {{tls_version}}"))],
    "Blades": [
        graph("State", "1: the blade is in that state (up is not shown)", "none", target('keyrail_blade_state{,state!="up"} == 1', "{{blade}} {{state}}")),
        graph("Load", "Of its processors", "percentunit", target("keyrail_blade_load_ratio{}", "{{blade}}")),
        graph("Sessions", "In the blade's store", "none", target("keyrail_blade_sessions{}", "{{blade}}")),
        graph("New connections", "That keyrail-dp gave to the blade", "ops", target(f"rate(keyrail_blade_flows_total{{}}{RATE})", "{{blade}}")),
        graph("Handshakes", "Of the blade's servers", "ops",
              target(f"rate(keyrail_blade_handshakes_total{{}}{RATE})", "{{blade}} {{result}}")),
        graph("Drains", "Sessions of blades that are being drained", "none", target("keyrail_blade_drain_sessions{}", "{{blade}} {{state}}"))],
    "Moves": [
        graph("Moves", "By how they ended", "ops", target(f"sum by (result) (rate(keyrail_moves_total{{}}{RATE}))", "{{result}}")),
        graph("From order to acknowledgement", "Of moves that came to their end", "s", *quantiles("keyrail_move_duration_seconds", "")),
        graph("Not moved", "A full handshake was cheaper, or would be over earlier; or the wait was over before the session came", "ops",
              target(f"sum(rate(keyrail_moves_skipped_not_worth_total{{}}{RATE}))", "not worth it"),
              target(f"sum(rate(keyrail_moves_skipped_long_wait_total{{}}{RATE}))", "would have waited too long"),
              target(f"sum(rate(keyrail_holds_expired_total{{}}{RATE}))", "came too late"))],
    "Dataplane": [
        graph("Packets in", "By port", "pps", target(f"rate(keyrail_port_rx_packets_total{{}}{RATE})", "{{port}}")),
        graph("Traffic", "By port", "Bps", target(f"rate(keyrail_port_rx_bytes_total{{}}{RATE})", "{{port}} in"),
              target(f"rate(keyrail_port_tx_bytes_total{{}}{RATE})", "{{port}} out")),
        graph("Workers", "Share of the core that is in use", "percentunit", target(f"rate(keyrail_worker_busy_seconds_total{{}}{RATE})", "worker {{worker}}")),
        graph("Drops", "By reason", "pps", target(f'sum by (reason) (rate(keyrail_packets_total{{,reason=~"drop_.*"}}{RATE})) > 0', "{{reason}}")),
        graph("Missed and damaged", "What ports could not take or send", "pps",
              target(f"rate(keyrail_port_rx_missed_total{{}}{RATE})", "{{port}} missed"), target(f"rate(keyrail_port_rx_errors_total{{}}{RATE})", "{{port}} damaged"),
              target(f"rate(keyrail_port_tx_errors_total{{}}{RATE})", "{{port}} not sent")),
        graph("Room", "Share in use of what keyrail-dp has room for", "percentunit",
              target("keyrail_flows{} / keyrail_flows_limit{}", "flows"), target("keyrail_holds{} / keyrail_holds_limit{}", "held hellos"),
              target("keyrail_moved_entries{} / keyrail_moved_entries_limit{}", "moved sessions"), target("keyrail_mbufs{} / keyrail_mbufs_limit{}", "packet buffers"))],
    "Control": [
        graph("Repositories", "Changes that wait, were lost, or failed", "none", target("keyrail_repository_waiting{}", "{{kind}} waiting"),
              target(f"increase(keyrail_repository_lost_total{{}}{RATE})", "{{kind}} lost"), target(f"increase(keyrail_repository_failures_total{{}}{RATE})", "{{kind}} failed")),
        graph("Days left of certificates", "The CA's, keyraild's, the agents'", "d",
              target("(keyrail_certificate_expiry_timestamp_seconds{} - time()) / 86400", "{{who}} {{blade}}")),
        graph("CPU of keyraild", "Cores", "none", target(f"rate(process_cpu_seconds_total{{}}{RATE})", "{{instance}}"), width=4),
        graph("Memory of keyraild", "In RAM", "bytes", target("process_resident_memory_bytes{}", "{{instance}}"), width=4)],
}


def placed() -> list[Panel]:
    """Rows of panels, each beside the one before until the line is full."""
    panels: list[Panel] = []
    ids, y = itertools.count(1), 0
    for title, row in ROWS.items():
        panels.append({"id": next(ids), "type": "row", "title": title, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": []})
        x, y = 0, y + 1
        for one in row:
            width = one.pop("width")
            height = 4 if one["type"] == "stat" else HEIGHT
            if x + width > WIDTH:
                x, y = 0, y + height
            panels.append({"id": next(ids), **one, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        y += height
    return panels


def dashboard() -> dict[str, Any]:
    variables = [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                 {"name": "instance", "type": "query", "label": "Dispatcher", "query": "label_values(keyrail_build_info, instance)", "multi": True,
                  "includeAll": True, "allValue": ".*", "refresh": 2, "current": {"text": "All", "value": "$__all"},
                  "datasource": {"type": "prometheus", "uid": "${datasource}"}}]
    return {"title": "Keyrail chassis", "uid": "keyrail", "tags": ["keyrail"], "schemaVersion": 37, "version": 1, "editable": True, "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"}, "templating": {"list": variables}, "annotations": {"list": []}, "panels": placed()}


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
