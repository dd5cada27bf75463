# SPDX-License-Identifier: Apache-2.0
"""What `keyrail explain` says is what then happens, and traces and captures tell what did."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clients import openssl
from clients.outcome import VERSIONS, endpoint, header, run_client
from lab.namespaces import enter
from lab.plan import AWAY4, BINARIES, CLIENT4, CONTROL_SOCKET, DISPATCH, SERVER_NAME, VIP4, WEB_CA
from support.chassis import ROOT, Chassis, eventually

both_versions = pytest.mark.parametrize("version", VERSIONS)


def explain(chassis: Chassis, *words: str) -> dict[str, Any]:
    return chassis.keyrail("explain", *words, "--service", "www")


def command(*words: str) -> list[str]:
    return [*enter(DISPATCH), str(BINARIES / "keyrail"), "--json", "--socket", str(CONTROL_SOCKET), *words]


def blade_of(explained: dict[str, Any]) -> str:
    return explained["blade"]["name"]


@both_versions
def test_a_session_is_where_it_was_said_to_be(chassis: Chassis, session: Path, version: str) -> None:
    first = openssl.connect(version, session, source=AWAY4)
    words = (AWAY4, "--sni", SERVER_NAME, "--session", openssl.session_name(session), "--tls", version)
    said = explain(chassis, *words)
    assert (blade_of(said), said["reason"], said["move_from"]) == (first.blade, "steer_home", None), said
    again = openssl.connect(version, session, source=AWAY4)
    assert again.resumed and again.blade == first.blade
    words = (AWAY4, "--sni", SERVER_NAME, "--session", openssl.session_name(session), "--tls", version)
    with chassis.drained(first.blade):
        said = explain(chassis, *words, "--why-not", first.blade)
        if said["move_from"] is None:  # the drain was faster: it is elsewhere already
            assert said["reason"] == "steer_moved", said
        else:
            assert said["move_from"]["name"] == first.blade and "draining" in said["why_not"], said
        # Where the drain takes it is the drain's choice, perhaps between a question and its client.
        eventually(lambda: explain(chassis, *words)["reason"] == "steer_moved", 15, "the drain has moved it")
        said = explain(chassis, *words)
        moved = openssl.connect(version, session, source=AWAY4)
        assert moved.resumed and moved.blade == blade_of(said), (said, moved)


def test_a_new_client_goes_where_it_was_said_to(chassis: Chassis, tmp_path: Path) -> None:
    """Maglev, by addresses and ports."""
    blades = set()
    for port in range(9_000, 9_012):
        said = explain(chassis, f"{AWAY4}:{port}", "--sni", SERVER_NAME)
        assert said["reason"] == "steer_new", said
        _, text = run_client(["openssl", "s_client", "-connect", endpoint(VIP4), "-servername", SERVER_NAME, "-CAfile", WEB_CA,
                              "-bind", endpoint(AWAY4, port), "-ign_eof"], stdin="GET / HTTP/1.0\r\n\r\n")
        assert header(text, "X-Blade") == blade_of(said), (said, text)
        blades.add(blade_of(said))
    assert len(blades) > 1


def test_explaining_changes_nothing(chassis: Chassis) -> None:
    before = chassis.quiet_stats().raw
    for _ in range(20):
        explain(chassis, CLIENT4, "--sni", SERVER_NAME)
    after = chassis.quiet_stats().raw
    assert {name: after["reasons"][name] - count for name, count in before["reasons"].items()
            if name.startswith(("steer", "syn")) and after["reasons"][name] != count} == {}
    assert after["moves"]["asked"] == before["moves"]["asked"]


def test_words_that_make_no_sense(chassis: Chassis, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"GET / HTTP/1.1\r\n\r\n")
    assert explain(chassis, CLIENT4, "--hello", str(tmp_path / "hello"))["reason"] == "steer_not_tls"
    assert subprocess.run(command("explain", "nowhere"), capture_output=True, check=False).returncode == 2


def traced(chassis: Chassis) -> dict[str, Any]:
    return eventually(lambda: (trace := chassis.keyrail("trace", "show"))["state"] == "ended" and trace, 20, "the trace's end")


def test_a_trace_tells_of_a_client_and_ends_by_itself(chassis: Chassis, session: Path) -> None:
    chassis.keyrail("trace", "start", "--client", AWAY4, "--packets", "12", "--for", "15s")
    outcome = openssl.connect("1.3", session, source=AWAY4)
    for _ in range(3):
        openssl.connect("1.3", session, source=AWAY4)
    trace = traced(chassis)
    assert (trace["told"], trace["lost"], trace["why"]) == (12, 0, "it has its packets"), trace
    reasons = [record["reason"] for record in trace["records"]]
    assert {"syn_cookie", "steer_new", "returned"} <= set(reasons), reasons
    hello = next(record for record in trace["records"] if record["reason"] == "steer_new")
    assert hello["hello"]["server_name"] == SERVER_NAME and f"blade{hello['blade']}" == outcome.blade
    assert all(AWAY4 in (record["source"], record["destination"]) for record in trace["records"])


def test_a_trace_of_drops_and_of_names(chassis: Chassis, session: Path, tmp_path: Path) -> None:
    chassis.keyrail("trace", "start", "--drops", "--client", AWAY4, "--for", "15s")
    openssl.connect("1.3", session, source=AWAY4)
    eventually(lambda: chassis.keyrail("trace", "show")["told"], 10, "a dropped acknowledgement")
    chassis.keyrail("trace", "stop")
    trace = traced(chassis)
    assert {record["reason"] for record in trace["records"]} == {"drop_ack_cookie"}, trace
    name = openssl.session_name(session)
    chassis.keyrail("trace", "start", "--session", name, "--sni", SERVER_NAME, "--for", "15s")
    assert openssl.connect("1.3", session, source=AWAY4).resumed
    openssl.connect("1.3", tmp_path / "other", source=AWAY4)
    eventually(lambda: chassis.keyrail("trace", "show")["told"], 10, "the hello")
    chassis.keyrail("trace", "stop")
    trace = traced(chassis)
    assert {record["hello"]["session"] for record in trace["records"]} == {name}, trace
    assert trace["records"][0]["reason"] == "steer_home"


def test_a_trace_ends_with_its_time_and_with_keyraild(chassis: Chassis) -> None:
    chassis.keyrail("trace", "start", "--reason", "drop_fragment", "--for", "1s")
    trace = traced(chassis)
    assert (trace["told"], trace["why"]) == (0, "its time is over"), trace
    chassis.keyrail("trace", "start", "--reason", "drop_fragment", "--for", "10min")
    with chassis.killed(DISPATCH, "keyraild"):
        pass
    chassis.wait_for_states()
    assert chassis.keyrail("trace", "show")["state"] == "none"

    def begun() -> bool:  # as soon as the workers have put away the one before
        return subprocess.run(command("trace", "start", "--for", "1s"), capture_output=True, check=False).returncode == 0
    eventually(begun, 10, "another trace")
    traced(chassis)


def test_a_capture_has_the_verdicts(chassis: Chassis, session: Path, tmp_path: Path) -> None:
    file = tmp_path / "capture.pcapng"
    words = command("capture", str(file), "--client", AWAY4, "--packets", "8", "--for", "15s")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as capture:
        eventually(lambda: chassis.keyrail("trace", "show")["state"] == "running", 10, "the capture's beginning")
        openssl.connect("1.3", session, source=AWAY4)
        text, _ = capture.communicate(timeout=30)
    assert capture.returncode == 0, text
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"syn_cookie: SYN answered with a cookie" in file.read_bytes() and b"steer_new: " in file.read_bytes()
    replayed = subprocess.run([ROOT / "tools/replay", file], capture_output=True, text=True, check=True).stdout
    hellos = [json.loads(line) for line in replayed.splitlines()]
    hello = next(hello for hello in hellos if SERVER_NAME in json.dumps(hello))
    bytes_of = subprocess.run([ROOT / "tools/replay", file, "--bytes", str(hello["frame"])], capture_output=True, check=True).stdout
    (tmp_path / "hello").write_bytes(bytes_of)
    assert explain(chassis, AWAY4, "--hello", str(tmp_path / "hello"))["reason"] == "steer_new"
    again = subprocess.run(command("capture", str(file)), capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "already" in again.stdout
