# SPDX-License-Identifier: Apache-2.0
"""The manual page and the completion of keyrail, as they are made from its commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.build import built_file
from common.paths import ROOT, build_dir

BLADES = '[\n  {\n    "name": "front",\n    "id": 1\n  }\n]'  # as keyrail --json blade list has it


def keyrail() -> Path:
    return built_file(build_dir(), "keyrail")


def document(kind: str) -> str:
    return subprocess.run([sys.executable, "-B", ROOT / "control/cli/documents.py", keyrail(), kind, "1.2"],
                          capture_output=True, text=True, check=True).stdout


def commands(tree: dict, words: tuple[str, ...] = ()) -> list[str]:
    if not tree["commands"]:
        return [" ".join(words)]
    return [one for inner in tree["commands"] for one in commands(inner, (*words, inner["name"]))]


def test_manual_has_every_command_and_no_mistake() -> None:
    page = document("man")
    tree = json.loads(subprocess.run([keyrail(), "--dump-commands"], capture_output=True, text=True, check=True).stdout)
    for command in commands(tree):
        assert f".SS {command}" in page, command
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr


@pytest.mark.parametrize("line, offered", [
    (["bla"], "blade"), (["blade", "dr"], "drain"), (["blade", "drain", "fr"], "front"), (["blade", "drain", "front", "--ra"], "--rate"),
    (["--socket", "/x", "config", "app"], "apply"), (["config", "apply", "/etc/x", "--conf"], "--confirm"), (["config", "apply", "x"], ""),
])
def test_bash_completes(tmp_path: Path, line: list[str], offered: str) -> None:
    script = tmp_path / "completion"
    script.write_text(document("bash"))
    shell = (f"source {script}; keyrail() {{ printf '%s' \"$BLADES\"; }}; COMP_WORDS=(keyrail \"$@\"); COMP_CWORD=$#; _keyrail; "
             "printf '%s' \"${COMPREPLY[*]}\"")
    done = subprocess.run(["bash", "-c", shell, "bash", *line], env={"BLADES": BLADES, "PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True, check=True)
    assert done.stdout == offered, done.stderr
