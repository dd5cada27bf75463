# SPDX-License-Identifier: Apache-2.0
"""The tools' own logic: what can be told without a lab."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from clients import openssl
from common import hugepages
from common.paths import ROOT
from common.shell import ToolError, run
from lab import chassis, processes, servers, state
from lab.cli import parser
from lab.plan import Blade, Options
from testing import cli
from testing.report import Report, from_junit


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool of huge pages in ordinary files: 10 there, 4 of them free."""
    for name, value in (("nr_hugepages", 10), ("free_hugepages", 4), ("resv_hugepages", 0)):
        (tmp_path / name).write_text(str(value))
    monkeypatch.setattr(hugepages, "POOL", tmp_path)
    return tmp_path


def test_huge_pages_are_added_and_given_back(pool: Path) -> None:
    assert hugepages.add(21) == 7  # 11 wanted, 4 free
    assert (pool / "nr_hugepages").read_text() == "17\n"
    hugepages.give_back(7)
    assert (pool / "nr_hugepages").read_text() == "10\n"


def test_enough_huge_pages_stay_as_they_are(pool: Path) -> None:
    assert hugepages.add(8) == 0
    assert (pool / "nr_hugepages").read_text() == "10"


@pytest.mark.parametrize("words", [["up", "--blades", "0"], ["up", "--blades", "x"], ["up", "--server", "iis"], []])
def test_wrong_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(words)
    assert end.value.code == 2 and "usage:" in capsys.readouterr().err


def test_configuration_files_are_toml_and_say_what_was_chosen() -> None:
    control = tomllib.loads(chassis.control_config(Options(blades=2, plain=True)))
    assert [blade["id"] for blade in control["blade"]] == [1, 2] and control["pool"][0]["blades"] == [1, 2]
    assert control["service"][0]["steering"] == "tuple"
    assert tomllib.loads(chassis.control_config(Options()))["service"][0]["steering"] == "session"
    agent = tomllib.loads(chassis.agent_config(Blade(2), Options()))["blade"]
    assert agent["id"] == 2 and agent["listen"] == "10.77.0.12:7401" and agent["accept_program"] is True


def test_templates_are_filled_completely() -> None:
    for file in servers.TEMPLATES.iterdir():
        names = dict.fromkeys(("DIR", "LOG", "WWW", "BLADE", "TICKETS", "SERVER_NAME", "CERTIFICATE", "KEY", "COMBINED"), 1)
        text = "\n".join(line for line in servers.fill(file, names).splitlines() if not line.startswith("#"))
        assert "@" not in text, file


def test_a_process_is_known_by_pid_and_start_time(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        began = processes.start_time(child.pid)
        assert began
        ours = processes.Process("client", "sleep", [], child.pid, began)
        reused = processes.Process("client", "sleep", [], child.pid, began - 1)
        assert ours.alive and not reused.alive
        processes.stop([reused], grace=0)
        assert child.poll() is None, "a process that only has the pid was ended"
        processes.stop([ours])
        assert not ours.alive
        child.wait(5)


def test_state_survives_a_write_and_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RUN", tmp_path)
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    assert state.load() is None
    saved = state.State(Options(server="apache"), "/build", 3, True, False,
                        [processes.Process("blade1", "apache", ["apache2"], 7, 8)])
    saved.save()
    assert state.load() == saved
    with pytest.raises(ToolError, match="blade1 apache"):
        saved.process("blade1", "nginx")
    (tmp_path / "lab.json").write_text("{")
    with pytest.raises(ToolError, match="cannot be read"):
        state.load()


def test_old_kernel_is_told_plainly_where_late_binding_is_asked_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    agent = tmp_path / "keyrail-agent"
    agent.write_text("#!/bin/sh\necho no bpf_sk_assign_tcp_reqsk >&2\nexit 3\n")
    agent.chmod(0o755)
    monkeypatch.setattr(chassis, "built_file", lambda build, name: tmp_path / name)
    with pytest.raises(ToolError, match=r"Linux 6\.9.*") as refusal:
        chassis.check_kernel(tmp_path, Options(bind="late"))
    assert refusal.value.status == 3 and "--bind auto" in str(refusal.value)
    chassis.check_kernel(tmp_path, Options())
    assert "bound early" in capsys.readouterr().err


def test_failures_are_told_with_command_and_last_words() -> None:
    with pytest.raises(ToolError, match=r"(?s)exit status 3 from: sh -c.*disk on fire"):
        run(["sh", "-c", "echo disk on fire >&2; exit 3"])
    with pytest.raises(ToolError, match="not installed"):
        run(["keyrail-no-such-program"])


def test_junit_files_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "log.xml"
    file.write_text("""<testsuites><testsuite><testcase classname="a" name="good"/>
        <testcase name="bad"><failure message="m">why</failure></testcase>
        <testcase name="worse"><error>oh</error></testcase>
        <testcase name="left"><skipped/></testcase></testsuite></testsuites>""")
    report = from_junit(file)
    assert str(report) == "1 passed, 2 failed, 1 skipped"
    assert "why" in report.failures[0]


@pytest.mark.parametrize("report, status", [(Report(passed=1), 0), (Report(), 1), (Report(passed=5, failed=1), 1)])
def test_exit_status_and_closing_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                      report: Report, status: int) -> None:
    monkeypatch.setattr(cli, "PARTS", (cli.Part("only", "one part", lambda: report),))
    assert cli.main([]) == status
    assert capsys.readouterr().out.splitlines()[-1] == f"{report.passed} passed, {report.failed} failed"


def test_parts_that_need_the_build_are_not_run_without_it(monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Report:
        raise ToolError("does not compile")

    ran: list[str] = []
    monkeypatch.setattr(cli, "PARTS", (cli.Part("build", "", broken),
                                       cli.Part("unit", "", lambda: ran.append("unit") or Report(passed=1), True)))
    assert cli.main(["--only", "unit"]) == 1
    assert not ran and "does not compile" in capsys.readouterr().out


@pytest.mark.parametrize("tickets", [["-no_ticket"], []], ids=["id", "ticket"])
def test_session_names_are_read_from_real_sessions(tmp_path: Path, tickets: list[str]) -> None:
    """A TLS 1.2 session's id, or where its ticket begins, from a session that openssl itself makes with openssl."""
    key, certificate, session = tmp_path / "key", tmp_path / "certificate", tmp_path / "session"
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", certificate, "-subj", "/CN=test"])
    server = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-key", str(key), "-cert",
                               str(certificate), *tickets, "-www"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        port = next(line for line in server.stdout if line.startswith("ACCEPT")).rpartition(":")[2].strip()
        run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-sess_out", session], stdin="Q\n")
    finally:
        server.kill()
        server.wait()
    name = openssl.session_name(session)
    assert len(name) == 64 and int(name, 16)


def test_a_second_up_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(state, "LOCK", lock)
    with state.locked():
        with subprocess.Popen(["flock", "--nonblock", str(lock), "true"]) as other:
            assert other.wait(5) == 1
        assert lock.exists()
    assert not lock.exists()


def test_packages_are_listed_once_and_commented() -> None:
    lines = (ROOT / "tools/packages.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    assert len(names) == len(set(names)) and all(name == name.strip() for name in names)
    for group in "\n".join(lines).split("\n\n"):
        assert group.startswith("#"), group


def test_tools_that_need_root_say_so() -> None:
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", ROOT / "tools/demo"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1 and "sudo" in done.stderr


def test_everything_that_is_run_is_there() -> None:
    assert all(os.access(ROOT / name, os.X_OK) for name in ("tools/lab", "tools/demo", "tools/test", "tools/pcap", "tools/fuzz",
                                                              ".ci/run"))
