# SPDX-License-Identifier: Apache-2.0
"""The parts in pytest: end-to-end tests in the lab, replay against tshark, benches as far as they run, the tools themselves."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from common.paths import ROOT, build_dir
from common.say import say
from common.shell import run
from testing.report import Report, from_junit

# Not from the user's environment: plugins and options there would change what runs.
CLEARED = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTHONPATH")


def lab() -> Report:
    """All of them, or those that KR_E2E names in pytest's own words (-k)."""
    chosen = os.environ.get("KR_E2E")
    return _pytest(ROOT / "tests/e2e", *(["-k", chosen] if chosen else []))


def soak() -> Report:
    """Two minutes of it, with a new seed each time: it says which."""
    report = Report()
    if subprocess.run([ROOT / "tools/soak", "--minutes", "2", "--no-build"], check=False).returncode == 0:
        report.passes()
    else:
        report.fails("tools/soak --minutes 2: connections failed, see above; its seed is there, too")
    return report


def differential() -> Report:
    return _pytest(ROOT / "tests/differential")


def bench() -> Report:
    return _pytest(ROOT / "tests/bench")


def tools() -> Report:
    return _pytest(ROOT / "tests/tools")


def page() -> Report:
    """In headless Chromium; its modules are those of the lock file, made once. Screenshots stay in build/page."""
    begin = time.monotonic()
    run(["bash", "-c", ". \"$0\" && part=page ensure_packages", ROOT / "tools/lib/bootstrap.sh"], timeout=900)
    home = build_dir() / "page"
    home.mkdir(parents=True, exist_ok=True)
    lists = {file: (ROOT / "tests/page" / file).read_text() for file in ("package.json", "package-lock.json")}
    done = all((home / file).exists() and (home / file).read_text() == text for file, text in lists.items())
    if not done or not (home / "node_modules").exists():
        for file, text in lists.items():
            (home / file).write_text(text)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", home], timeout=300)
        say(f"page: its packages and modules took {time.monotonic() - begin:.0f} s")
    return _pytest(ROOT / "tests/page")


def packages() -> Report:
    return _pytest(ROOT / "tests/packages")


def replay(variables: dict[str, str]) -> Report:
    """tools/replay alone, of a build that `variables` name."""
    return _pytest(ROOT / "tests/tools/test_replay.py", variables=variables)


def _pytest(what: Path, *words: str, variables: dict[str, str] | None = None) -> Report:
    kept = {name: value for name, value in os.environ.items() if name not in CLEARED}
    environment = {**kept, **(variables or {})}
    with tempfile.TemporaryDirectory(prefix="keyrail-test-") as scratch:
        log = Path(scratch) / "junit.xml"
        # Straight to our own output: the test names are the progress.
        code = subprocess.run(
            ["/usr/bin/python3", "-B", "-m", "pytest", "-v", "--no-header", "--tb=short", "-p", "no:cacheprovider",
             "--color=no", "--durations=8", f"--junitxml={log}", f"--rootdir={ROOT / 'tests'}", *words, what],
            env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, check=False).returncode
        if not log.exists():
            return Report(failed=1, failures=[f"pytest could not start (exit status {code})"])
        report = from_junit(log)
        report.failures = [failure.splitlines()[0] for failure in report.failures]  # pytest has shown them
        return report
