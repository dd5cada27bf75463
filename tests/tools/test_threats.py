# SPDX-License-Identifier: Apache-2.0
"""The table of threats (control/protocol/README.md): behind each "cannot" stands a test, and it is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.paths import ROOT

TABLE = ROOT / "control/protocol/README.md"


def rows(text: str) -> Iterator[list[str]]:
    lines = text.partition("## Threats")[2].splitlines()
    for line in lines:
        if line.startswith("|") and not line.startswith(("|---", "| who | can")):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def claims(cell: str) -> list[str]:
    """Split at the semicolons outside of brackets."""
    outside = re.sub(r"\([^)]*\)", lambda found: found[0].replace(";", ","), cell)
    return [claim.strip() for claim in outside.split(";")]


def named(claim: str) -> list[tuple[str, list[str]]]:
    """The files in its last brackets, each with the tests that follow it."""
    brackets = re.findall(r"\(([^()]*)\)", claim)
    found: list[tuple[str, list[str]]] = []
    for word in re.findall(r"`([^`]*)`", brackets[-1] if brackets else ""):
        if "/" in word:
            found.append((word, []))
        elif found:
            found[-1][1].append(word)
    return found


def faults(text: str, tests: Path) -> list[str]:
    said = []
    for who, _, cannot in rows(text):
        for claim in claims(cannot):
            where = named(claim)
            if not where:
                said.append(f"{who}: no test is named for: {claim}")
            for name, functions in where:
                file = tests / name
                if not file.is_file():
                    said.append(f"{who}: there is no tests/{name}")
                    continue
                if not functions and not name.startswith("fuzz/"):
                    said.append(f"{who}: which test of {name}?")
                source = file.read_text()
                for function in functions:
                    pattern = rf"^def {function}\(" if file.suffix == ".py" else rf"^TEST(_F|_P)?\(\w+, {function}\)"
                    if not re.search(pattern, source, re.MULTILINE):
                        said.append(f"{who}: tests/{name} has no test {function}")
    return said


def test_each_cannot_has_its_test() -> None:
    text = TABLE.read_text()
    assert len(list(rows(text))) >= 18
    assert faults(text, ROOT / "tests") == []


@pytest.mark.parametrize(("cannot", "fault"), [
    ("fly", "no test is named for: fly"),
    ("fly (`unit/a_test.cc` `Flies`); swim", "no test is named for: swim"),
    ("fly (`unit/b_test.cc` `Flies`)", "there is no tests/unit/b_test.cc"),
    ("fly (`unit/a_test.cc` `Fli`)", "tests/unit/a_test.cc has no test Fli"),
    ("fly (`unit/a_test.cc`)", "which test of unit/a_test.cc?"),
    ("fly (`unit/a_test.py` `test_fly`)", "tests/unit/a_test.py has no test test_fly"),
    ("fly (high; `unit/a_test.cc` `Flies`)", None),
    ("fly; run (`unit/a_test.cc` `Flies` `Runs`)", "no test is named for: fly"),
])
def test_what_it_finds(tmp_path: Path, cannot: str, fault: str | None) -> None:
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit/a_test.cc").write_text("TEST_F(Bird, Flies) {\nTEST(Bird, Runs) {\n// Swims\n")
    (tmp_path / "unit/a_test.py").write_text("def test_flying() -> None:\n")
    found = faults(f"## Threats\n\n| who | can | cannot |\n|---|---|---|\n| a bird | sing | {cannot} |\n", tmp_path)
    assert found == ([] if fault is None else [f"a bird: {fault}"])
