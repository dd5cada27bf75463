# SPDX-License-Identifier: Apache-2.0
"""The alert rules and the dashboard, by Prometheus' own tool. That each metric in them exists, tests/e2e/test_metrics.py shows."""

import json
import re
import subprocess
from pathlib import Path

from common.build import built_file
from common.paths import ROOT, build_dir

ALERTS = ROOT / "hw/monitoring/alerts.yml"
TESTS = ROOT / "tests/tools/alerts_test.yml"


def promtool(*words: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[str]:
    return re.findall(r"^ *- alert: (\w+)$", ALERTS.read_text(), re.MULTILINE)


def test_rules_are_understood() -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", str(ALERTS))


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """`rule_files` of promtool's tests are beside them."""
    for file in (ALERTS, TESTS):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert "SUCCESS" in promtool("test", "rules", TESTS.name, cwd=tmp_path)


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    tested = set(re.findall(r'alertname="(\w+)"', TESTS.read_text()))
    assert set(alerts()) == tested and len(alerts()) == len(set(alerts())), set(alerts()) ^ tested
    text = ALERTS.read_text()
    for key in (" summary: ", " description: ", "{severity: "):
        assert text.count(key) == len(alerts()), key


def test_dashboard_is_one() -> None:
    board = json.loads(built_file(build_dir(), "dashboard.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) > 25 and board["uid"] == "keyrail"
    places = set()
    for panel in panels:
        assert panel["title"] and panel["description"] and panel["targets"], panel
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, f"{panel['title']} lies on another panel"
        places |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["expr"].count('instance=~"$instance"') == len(re.findall(r"\b(?:keyrail|process)_\w+", target["expr"])), target


def test_expressions_of_the_dashboard_are_understood(tmp_path: Path) -> None:
    """As recording rules: what promtool has for expressions alone."""
    board = json.loads(built_file(build_dir(), "dashboard.json").read_text())
    expressions = [target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
                   for panel in board["panels"] for target in panel.get("targets", [])]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))
