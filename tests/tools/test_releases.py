# SPDX-License-Identifier: Apache-2.0
"""tools/test --on RELEASE: what it says when it cannot, and how it reads what the inside printed."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from common.debian import RELEASES, own_release
from common.paths import ROOT
from common.shell import ToolError
from testing import baseline, cli, elsewhere, releases
from testing.report import Report


def test_this_machines_own_release_needs_no_root() -> None:
    with pytest.raises(ToolError, match="this machine is Debian"):
        releases.run_on(own_release(), ["unit"])


def test_an_unknown_release_is_refused_with_those_there_are() -> None:
    done = subprocess.run([ROOT / "tools/test", "--on", "sarge"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "sarge" in done.stderr and "trixie" in done.stderr


@pytest.mark.parametrize(("printed", "status", "expected"), [
    ("unit: 7 passed, 0 failed (3 s)\n12 passed, 0 failed, 3 skipped\n", 0, (12, 0, 3)),
    ("FAILED unit: x\n1 passed, 2 failed\n", 1, (1, 2, 0)),
    ("the build broke\n", 1, (0, 1, 0)),  # no sum: that is a failure, whatever else it printed
    ("5 passed, 0 failed\n", 137, (5, 1, 0)),  # killed behind its sum
])
def test_the_sum_of_the_inside(printed: str, status: int, expected: tuple[int, int, int]) -> None:
    report = releases._read_sum("trixie", printed, status)
    assert (report.passed, report.failed, report.skipped) == expected
    assert len(report.failures) >= (1 if report.failed else 0)


OTHER = next(release for release in RELEASES if release != own_release())


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Tests of four parts; the other release has a root as soon as it is asked for."""
    monkeypatch.setenv("KR_ROOTS", str(tmp_path))
    monkeypatch.setattr(cli, "PARTS", tuple(cli.Part(name, "", lambda: Report(passed=1)) for name in ("build", "unit", "e2e", "tidy")))
    monkeypatch.setattr(releases, "prepared_root", lambda release, until=0: (tmp_path / release).mkdir(exist_ok=True))
    monkeypatch.setattr(releases, "build_in", lambda release, *targets, timeout=0: (tmp_path / "built").write_text(release))
    return tmp_path


def parts_of(printed: str) -> list[str]:
    return [line.partition(":")[0] for line in printed.splitlines() if " s)" in line]


def test_everywhere_is_here_and_ahead_of_the_lab_what_the_other_release_can_break(monkeypatch: pytest.MonkeyPatch, prepared: Path,
                                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(releases, "run_on", lambda release, parts: Report(passed=10, failed=1, failures=[f"something on {release}"]))
    assert cli.main(["--everywhere"]) == 1
    printed = capsys.readouterr().out
    assert (prepared / OTHER).exists()
    assert parts_of(printed) == ["build", "unit", OTHER, "e2e", "tidy"]
    assert f"FAILED {OTHER}: something on {OTHER}" in printed
    assert printed.splitlines()[-1] == "14 passed, 1 failed"


@pytest.mark.parametrize(("inside", "expected", "says"), [
    ("echo 'unit: 7 passed, 0 failed (3 s)'; sleep 60", (7, 0, ["trixie pipeline"]), "time is up, after unit"),
    ("echo 'FAILED unit: x'; echo 'unit: 6 passed, 1 failed (3 s)'; sleep 60", (6, 1, ["trixie pipeline"]), "time is up, after unit"),
    ("sleep 60", (0, 0, ["trixie unit", "trixie pipeline"]), "time is up, after nothing"),
    ("echo '7 passed, 0 failed'", (7, 0, []), ""),
    ("exit 1", (0, 1, []), ""),  # that is no want of time
])
def test_what_has_come_to_no_result_when_time_is_up_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                                               inside: str, expected: tuple[int, int, list[str]], says: str) -> None:
    monkeypatch.setattr(releases, "prepared_root", lambda release, until: Path(release))
    monkeypatch.setattr(releases, "inside", lambda root, script, network: ["bash", "-c", inside])
    report = releases.run_on("trixie", ["unit", "pipeline"], time.monotonic() + 2)
    assert (report.passed, report.failed, report.left_out) == expected
    assert len(report.failures) == report.failed and not report.skipped
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("parts", "inside"), [(["e2e"], "test_moves"), (None, releases.CORE_E2E)])
def test_whose_end_to_end_tests_run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], parts: list[str] | None,
                                    inside: str) -> None:
    monkeypatch.setenv("KR_E2E", "test_moves")
    monkeypatch.setattr(releases, "prepared_root", lambda release, until: Path(release))
    monkeypatch.setattr(releases, "inside", lambda root, script, network: ["sh", "-c", 'echo "$KR_E2E"; echo "1 passed, 0 failed"'])
    assert releases.run_on("trixie", parts).passed == 1
    assert capfd.readouterr().out == f"trixie: {inside}\n"


def test_who_has_minutes_tests_the_other_release_last(monkeypatch: pytest.MonkeyPatch, prepared: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    """What was installed before counts, too; what there is no time for is named, and fails nothing."""
    asked: list[tuple[list[str], float]] = []

    def run_on(release: str, parts: list[str], until: float, e2e: str) -> Report:
        assert release == OTHER and e2e == releases.CORE_E2E
        asked.append((parts, until))
        return Report(passed=1)

    monkeypatch.setattr(releases, "run_on", run_on)
    monkeypatch.setenv("KR_BEGAN", str(time.time() - 600))
    assert cli.main(["--everywhere", "--minutes", "15"]) == 0
    printed = capsys.readouterr().out
    assert parts_of(printed) == ["build", "unit", "e2e", "tidy", OTHER]
    assert (prepared / "built").read_text() == OTHER, "ahead"
    assert [parts for parts, _ in asked] == [["build"], ["unit", "pipeline", "vdev", "baseline", "tools"]]
    assert all(290 < until - time.monotonic() <= 300 for _, until in asked)
    assert printed.splitlines()[-2:] == [f"NOT TESTED: {OTHER} protocol, {OTHER} e2e", "6 passed, 0 failed"]
    assert releases.AHEAD not in os.environ
    with pytest.raises(ToolError, match="give both"):
        cli.main(["--minutes", "50"])


def test_who_has_no_minutes_left_says_what_was_left_out(monkeypatch: pytest.MonkeyPatch, prepared: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    """Though its build would go on for long."""
    monkeypatch.setattr(releases, "build_in", lambda release, *targets, timeout=0: time.sleep(1000))
    monkeypatch.setenv("KR_BEGAN", str(time.time() - 58))
    begin = time.monotonic()
    assert cli.main(["--everywhere", "--minutes", "1"]) == 0
    assert time.monotonic() - begin < 30
    everything = ", ".join(f"{OTHER} {part}" for part in elsewhere.SECONDS)
    assert capsys.readouterr().out.splitlines()[-2:] == [f"NOT TESTED: {everything}", "4 passed, 0 failed"]


def test_what_does_not_build_there_is_a_failure(monkeypatch: pytest.MonkeyPatch, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(releases, "run_on", lambda release, parts, until, e2e: Report(failed=1, failures=["error: x"]))
    assert cli.main(["--everywhere", "--minutes", "60"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert f"FAILED {OTHER}: error: x" in printed and printed[-1] == "4 passed, 1 failed"
    assert f"{OTHER} unit" in printed[-2] and f"{OTHER} build" not in printed[-2]


@pytest.mark.parametrize("minutes", [[], ["--minutes", "60"]], ids=["all", "limited"])
def test_without_a_mirror_everywhere_says_that_it_tests_one_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minutes: list[str],
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    """It is not this tree's fault; who asked for that release alone did not get what they asked for."""
    monkeypatch.setenv("KR_ROOTS", str(tmp_path))
    monkeypatch.setattr(releases, "mirror", lambda: "http://127.0.0.1:9/debian")
    monkeypatch.setattr(cli, "PARTS", (cli.Part("unit", "", lambda: Report(passed=1)),))
    assert cli.main(["--everywhere", *minutes]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-2:] == [f"NOT TESTED: {OTHER}: all, for there is no root", "1 passed, 0 failed"]
    assert f"Debian {OTHER}: http://127.0.0.1:9/debian has no Debian {OTHER}" in said.err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(releases.NoRoot):
        cli.main(["--on", OTHER])


@pytest.mark.parametrize(("listed", "raises"), [
    ("", releases.NoRoot),  # no mirror, no lists
    ("one\ntwo\n", releases.NoRoot),  # all are there, and could not be installed
    ("one\n", releases.NoPackage),
])
def test_a_package_that_a_release_does_not_have_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listed: str,
                                                             raises: type[ToolError]) -> None:
    (tmp_path / OTHER / "etc/apt/apt.conf.d").mkdir(parents=True)
    (tmp_path / OTHER / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (tmp_path / OTHER / "lists").write_text(listed)
    monkeypatch.setenv("KR_ROOTS", str(tmp_path))
    monkeypatch.setattr(releases, "wanted_packages", lambda: {"one", "two"})
    monkeypatch.setattr(releases, "inside", lambda root, script, network: ["cat", str(root / "lists")] if "pkgnames" in script else ["false"])
    with pytest.raises(ToolError) as told:
        releases.prepared_root(OTHER)
    assert told.type is raises
    assert ("two" in str(told.value)) == (raises is releases.NoPackage)


@pytest.mark.parametrize(("dump", "says"), [
    ("  NEEDED               libc.so.6\n0 DF *UND*\t0 (GLIBC_2.36) arc4random\n0 w D *UND*\t0 Base _ITM_x\n", ""),
    ("0 DF *UND*\t0 (GLIBC_2.38) __isoc23_strtoul\n", "__isoc23_strtoul of GLIBC_2.38"),
    ("0 DF *UND*\t0 (OPENSSL_3.2.0) SSL_x\n", "SSL_x of OPENSSL_3.2.0"),
    ("0 DF *UND*\t0 (GLIBCXX_3.4.33) _ZSt1x\n", "_ZSt1x of GLIBCXX_3.4.33"),
    ("  NEEDED               libstdc++.so.6\n", "libstdc++.so.6"),
    ("0 g DF .text\t0 Base SSL_free\n", ""),
])
def test_what_debian_12_does_not_have(dump: str, says: str) -> None:
    complaint = baseline._asks_for_too_much(dump)
    assert says in complaint and bool(says) == bool(complaint)
