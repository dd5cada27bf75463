# SPDX-License-Identifier: Apache-2.0
"""What a part of the tests came to, and how it is counted."""

import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Report:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)  # what to show, each with its reason
    left_out: list[str] = field(default_factory=list)  # what was to be tested and could not: no time, no mirror

    def passes(self, count: int = 1) -> None:
        self.passed += count

    def fails(self, what: str) -> None:
        self.failed += 1
        self.failures.append(what)

    def add(self, other: "Report") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.left_out += other.left_out

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def from_junit(file: Path) -> Report:
    """Counts the test cases of a JUnit file, as Meson, GoogleTest and pytest write it."""
    report = Report()
    for case in xml.parse(file).getroot().iter("testcase"):
        name = ".".join(filter(None, [case.get("classname"), case.get("name")]))
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            text = (bad[0].text or bad[0].get("message") or "").strip()
            report.fails(f"{name}\n{_shortened(text)}")
        elif case.find("skipped") is not None:
            report.skipped += 1
        else:
            report.passes()
    return report


def _shortened(text: str, lines: int = 40) -> str:
    kept = text.splitlines()[-lines:]
    return "\n".join("    " + line for line in kept)
