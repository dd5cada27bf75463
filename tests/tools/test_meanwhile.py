# SPDX-License-Identifier: Apache-2.0
"""Work beside the tests: its results, its priority, and that nothing of it stays."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from support.chassis import eventually
from testing import meanwhile
from testing.meanwhile import Meanwhile, going_on
from testing.report import Report


def priorities() -> Report:
    """Its own, and that of a process that it starts."""
    child = subprocess.run(["/usr/bin/python3", "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True, text=True,
                           check=True)
    return Report(passed=os.sched_getscheduler(0), skipped=int(child.stdout))


def test_each_result_is_there_when_it_is_asked_for() -> None:
    with Meanwhile({"slow": lambda: time.sleep(0.2), "reports": lambda: Report(passed=3)}) as work:
        assert work.result("reports") == Report(passed=3)
        assert work.result("slow") is None  # done, and the rest is for who asks
        assert work.result("never heard of") is None


def test_what_fails_is_left_to_who_asks() -> None:
    def fails() -> None:
        raise OSError("the disk is full")

    with Meanwhile({"fails": fails, "next": lambda: Report(passed=1)}) as work:
        assert work.result("fails") is None
        assert work.result("next") == Report(passed=1)


def test_it_is_idle_until_its_result_is_asked_for(tmp_path: Path) -> None:
    asked = tmp_path / "asked"

    def both() -> Report:
        before = priorities()
        asked.with_name("begun").touch()
        while not asked.exists() or os.sched_getscheduler(0) == os.SCHED_IDLE:
            time.sleep(0.02)
        after = priorities()
        return Report(passed=before.passed, failed=before.skipped, skipped=after.passed + after.skipped)

    with Meanwhile({"both": both}) as work:
        eventually(asked.with_name("begun").exists, 10, "it works")
        asked.touch()
        report = work.result("both")
    assert report == Report(passed=os.SCHED_IDLE, failed=os.SCHED_IDLE, skipped=2 * os.SCHED_OTHER)


def test_it_can_stand_still(tmp_path: Path) -> None:
    beat = tmp_path / "beat"

    def beats() -> None:
        while True:
            beat.write_text(str(time.monotonic_ns()))
            time.sleep(0.01)

    with Meanwhile({"beats": beats}) as work:
        eventually(beat.exists, 10, "it works")
        with work.standing_still():
            time.sleep(0.1)  # a signal is on its way
            before = beat.read_text()
            time.sleep(0.3)
            assert beat.read_text() == before
        eventually(lambda: beat.read_text() not in ("", before), 10, "it goes on")


def test_it_goes_on_while_a_test_waits_and_not_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanwhile, "ENDS_EARLIER", 0.5)
    beat = tmp_path / "beat"

    def beats() -> None:
        while True:
            beat.write_text(str(time.monotonic_ns()))
            time.sleep(0.01)

    def stands() -> bool:
        before = beat.read_text()
        time.sleep(0.2)
        return beat.read_text() == before

    with Meanwhile({"beats": beats}) as work:
        eventually(beat.exists, 10, "it works")
        with work.standing_still():
            eventually(stands, 10, "it stands still")
            with going_on(0.5):
                assert stands(), "so short a time is not used"
            with going_on(60.5):
                eventually(lambda: not stands(), 10, "it goes on")
            eventually(stands, 10, "a test that waits no longer")
            with going_on(1):
                eventually(stands, 10, "it ends earlier")
        assert meanwhile.LEADER not in os.environ
        eventually(lambda: not stands(), 10, "it goes on")
    with going_on(60):
        pass  # where nothing stands still


def test_who_waits_for_a_result_need_not_wait_for_ever() -> None:
    with Meanwhile({"long": lambda: time.sleep(1000)}, idle=False) as work:
        assert work.result("long", time.monotonic() + 0.1) is None


@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_stays(tmp_path: Path, interrupted: bool) -> None:
    pid = tmp_path / "pid"
    try:
        with Meanwhile({"long": lambda: subprocess.run(["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000"],
                                                       check=False)}):
            eventually(pid.exists, 10, "it works")
            if interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not Path(f"/proc/{pid.read_text().strip()}").exists() or eventually(
        lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), 5, "it has ended")
