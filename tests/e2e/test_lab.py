# SPDX-License-Identifier: Apache-2.0
"""tools/lab itself: idempotent, exact about exit statuses, and gone without a trace. Runs last: it ends the lab."""

import json
import os
import shlex
from pathlib import Path

from lab import namespaces
from lab.plan import CONFIG, NETNS, RUN, SHM, Options
from support.chassis import Chassis, lab

HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


def traces() -> list[str]:
    """Whatever of the lab can be found on this machine."""
    found = [str(path) for path in (RUN, SHM) if path.exists()] + namespaces.existing()
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if "keyrail" in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = process.joinpath("cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(RUN) in words:
            found.append(words.replace("\0", " "))
    return found


def test_up_twice_is_up_once(chassis: Chassis) -> None:
    before = chassis.pid("dispatch", "keyrail-dp")
    done = lab("up", "--no-build")
    assert "up already" in done.stderr
    assert chassis.pid("dispatch", "keyrail-dp") == before


def test_status(chassis: Chassis) -> None:
    status = json.loads(lab("status", "--json").stdout)
    assert status["up"] and status["options"] == Options().as_json()
    assert all(process["alive"] for process in status["processes"])
    assert lab("status").returncode == 0


def test_exec_passes_status_output_and_words_on(chassis: Chassis) -> None:
    assert lab("exec", "client", "sh", "-c", "exit 42", check=False).returncode == 42
    assert lab("exec", "client", "printf", "%s|", "a b", "--json", "").stdout == "a b|--json||"
    assert lab("exec", "nowhere", "true", check=False).returncode == 1
    assert "blade1" in lab("exec", "dispatch", "keyrail", "blade", "list").stdout


def test_env_is_what_shells_can_read(chassis: Chassis) -> None:
    values = dict(line.split("=", 1) for line in lab("env").stdout.splitlines())
    names = {"KR_VIP4", "KR_VIP6", "KR_PORT", "KR_CLIENT_NS", "KR_DISPATCH_NS", "KR_BLADE_NS_PREFIX", "KR_CA",
             "KR_SERVER_NAME", "KR_CONFIG", "KR_BUILD"}
    assert names <= values.keys()
    assert Path(shlex.split(values["KR_CA"])[0]).exists() and Path(shlex.split(values["KR_CONFIG"])[0]) == CONFIG
    assert values["KR_CLIENT_NS"] in os.listdir(NETNS) and values["KR_BLADE_NS_PREFIX"] + "1" in os.listdir(NETNS)


def test_other_options_replace_the_lab_and_down_leaves_nothing() -> None:
    lab("down")
    pages = HUGE.read_text()
    assert traces() == []
    lab("up", "--no-build")
    done = lab("up", "--no-build", "--blades", "2")
    assert "3 nginx blades" in done.stderr and "2 nginx blades" in done.stderr
    assert "krl-blade3" not in namespaces.existing()
    lab("down")
    assert traces() == [] and HUGE.read_text() == pages
    assert "was not up" in lab("down").stderr


def test_failed_up_says_why_and_leaves_nothing() -> None:
    lab("down")
    pages = HUGE.read_text()
    RUN.mkdir()
    (RUN / "bin").write_text("in the way")  # where `up` wants a directory
    done = lab("up", "--no-build", check=False)
    assert done.returncode == 1 and str(RUN / "bin") in done.stderr, done.stderr
    assert traces() == [] and HUGE.read_text() == pages
