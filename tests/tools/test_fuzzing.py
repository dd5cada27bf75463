# SPDX-License-Identifier: Apache-2.0
"""tools/fuzz without a fuzzer: shell scripts stand in for the targets. And what is checked in for it."""

from pathlib import Path

import pytest

from common import instrumented
from fuzzing import campaign, cli, targets
from lab import processes

QUIET = 'echo "#2\tINITED" >&2; echo "stat::number_of_executed_units: 1234" >&2'
CRASHES = """for word; do case $word in -artifact_prefix=*) echo bad > "${word#*=}crash-1";; esac; done
echo ouch; exit 77"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that is run for every target."""
    program = tmp_path / "program"
    monkeypatch.setattr(targets, "built", lambda wanted: dict.fromkeys(wanted, program))
    monkeypatch.setattr(instrumented, "directory", lambda: tmp_path / "build")
    return program


def becomes(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def interrupt_when(ready: bool) -> None:
    if ready:
        raise KeyboardInterrupt


def test_executions_are_counted(stand_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    becomes(stand_in, QUIET)
    assert cli.main(["--only", "headers", "--only", "hold", "--jobs", "2", "--seconds", "1"]) == 0
    assert "all                    2468 executions, 0 of 2" in capsys.readouterr().out


def test_a_finding_is_kept_and_named(stand_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    becomes(stand_in, CRASHES)
    assert cli.main(["--only", "headers", "--seconds", "1"]) == 1
    kept = campaign.findings() / "headers-crash-1"
    text = capsys.readouterr().out
    assert kept.read_text() == "bad\n" and f"reproducer: {kept}" in text and "exit status 77" in text and "ouch" in text


def test_a_corpus_is_kept_where_it_was_asked_for(stand_in: Path, tmp_path: Path) -> None:
    becomes(stand_in, f'{QUIET}; for word; do [ -d "$word" ] && touch "$word/learnt" && break; done')
    assert cli.main(["--only", "headers", "--seconds", "1", "--corpus", str(tmp_path / "corpus")]) == 0
    assert (tmp_path / "corpus/headers/learnt").exists()


def test_a_campaign_that_is_ended_leaves_no_process(stand_in: Path, tmp_path: Path) -> None:
    becomes(stand_in, f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 60")  # there is whole
    runs = campaign.run(["headers"], 1)
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign.time, "sleep", lambda _: interrupt_when((tmp_path / "pid").exists()))
        next(runs)
    assert processes.start_time(int((tmp_path / "pid").read_text())) is None


def test_seeds_belong_to_targets_and_are_few() -> None:
    folders = list(targets.SEEDS.iterdir())
    files = [file for folder in folders for file in folder.iterdir()]
    assert {folder.name for folder in folders} <= set(targets.names())
    assert 0 < len(files) < 150 and sum(file.stat().st_size for file in files) < 300_000
