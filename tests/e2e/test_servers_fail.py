# SPDX-License-Identifier: Apache-2.0
"""Blades whose clients would fail are seen to: a server that hangs, a VIP or a family that is missing, settings, MPTCP
listeners, a packet filter, servers without hooks. New clients are served all the same, and `keyrail blade list` says why."""

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clients import curl, openssl
from lab.namespaces import enter, in_host
from lab.plan import VIP4, VIP6, WEB_CERTIFICATE, WEB_KEY, Options, blades
from support.chassis import Chassis, eventually, lab
from support.stopped import children, stopped

BLADE = "blade2"
MPTCP = 262  # IPPROTO_MPTCP
PORT2 = 8443
RULES = ("table inet guard { chain input { type filter hook input priority 0; policy accept; "
         "ct state established,related accept; tcp flags & (fin|syn|rst|ack) != syn ct state new drop; }; }")

SERVER = f"""
import socket, ssl, threading
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
c.load_cert_chain({str(WEB_CERTIFICATE)!r}, {str(WEB_KEY)!r})
l = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {MPTCP})
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(("0.0.0.0", {PORT2}))
l.listen(64)
print("ready", flush=True)
def serve(s):
    try:
        t = c.wrap_socket(s, server_side=True)
        t.recv(9999)
        t.sendall(b"HTTP/1.0 200 OK\\r\\nX-Blade: mptcp\\r\\nContent-Length: 0\\r\\n\\r\\n")
        t.close()
    except OSError:
        pass
while True:
    threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
"""


def report(chassis: Chassis) -> dict[str, Any]:
    return next(blade for blade in chassis.keyrail("blade", "list") if f"blade{blade['id']}" == BLADE)


def binding(chassis: Chassis, service: str = "www") -> dict[str, str]:
    return next(entry["binding"] for entry in chassis.keyrail("status")["services"] if entry["name"] == service)


def all_are_served(elsewhere: bool = False, vips: tuple[str, ...] = (VIP4, VIP6)) -> None:
    for vip in vips:
        outcomes = curl.connect("1.3", 12, vip)
        assert all(outcome.ok for outcome in outcomes), outcomes
        assert not elsewhere or all(outcome.blade != BLADE for outcome in outcomes), outcomes


@pytest.mark.parametrize("options", [Options(), Options(bind="early")], ids=str)
def test_a_server_that_hangs(chassis: Chassis, options: Options) -> None:
    with stopped(children(chassis.pid(BLADE, "nginx"))):
        eventually(lambda: chassis.blade_states()[BLADE] == "down", 8, "it is noticed")
        assert "does not answer" in report(chassis)["why_down"] and report(chassis)["flows_live"]
        all_are_served(elsewhere=True)
    chassis.wait_for_states("up")


@pytest.mark.parametrize("vip,bits,family", [(VIP4, 32, "-4"), (VIP6, 128, "-6")])
def test_a_vip_that_is_missing(chassis: Chassis, vip: str, bits: int, family: str) -> None:
    in_host(BLADE, ["ip", family, "address", "del", f"{vip}/{bits}", "dev", "lo"])
    try:
        eventually(lambda: chassis.blade_states()[BLADE] == "down", 5, "it is noticed")
        assert f"ip address add {vip}/{bits} dev lo" in report(chassis)["why_down"]
        all_are_served(elsewhere=True)
    finally:
        in_host(BLADE, ["ip", family, "address", "add", f"{vip}/{bits}", "dev", "lo", *(["nodad"] if family == "-6" else [])])
    chassis.wait_for_states("up")


def test_a_listener_of_one_family_only(chassis: Chassis) -> None:
    config = Path(f"/run/keyrail-lab/{BLADE}/nginx.conf")
    good = config.read_text()
    try:
        config.write_text(good.replace("listen [::]:443 ssl http2 backlog=4096;", ""))
        os.kill(chassis.pid(BLADE, "nginx"), signal.SIGHUP)
        eventually(lambda: chassis.blade_states()[BLADE] == "down", 5, "it is noticed")
        assert f"nobody listens at [{VIP6}]:443" in report(chassis)["why_down"]
        all_are_served(elsewhere=True)
    finally:
        config.write_text(good)
        os.kill(chassis.pid(BLADE, "nginx"), signal.SIGHUP)
    chassis.wait_for_states("up")


@pytest.mark.parametrize("setting", ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"])
def test_a_setting_that_changes(chassis: Chassis, setting: str) -> None:
    def put(value: int) -> None:
        in_host(BLADE, ["sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{setting}"])

    assert binding(chassis)["now"] == "late"
    put(0)
    try:
        eventually(lambda: binding(chassis)["now"] == "early", 4, "bound early meanwhile")
        assert f"net.ipv4.{setting} is 0" in binding(chassis)["why"]
        all_are_served()
    finally:
        put(1)
    eventually(lambda: binding(chassis)["now"] == "late", 4, "and late again")
    all_are_served()


def test_servers_that_listen_by_mptcp(chassis: Chassis) -> None:
    with ExitStack() as stack:
        for blade in blades(chassis.options):
            server = subprocess.Popen([*enter(blade.host), "/usr/bin/python3", "-u", "-c", SERVER], stdout=subprocess.PIPE)
            stack.callback(lambda server=server: (server.kill(), server.wait(), server.stdout.close()))
            assert server.stdout and server.stdout.readline() == b"ready\n"
        service = f'[[service]]\nname = "second"\naddresses = ["{VIP4}"]\nport = {PORT2}\npool = "web"\n'
        with chassis.configured(lambda text: text + service):
            eventually(lambda: binding(chassis, "second")["now"] == "early", 5, "it is noticed")
            assert "listens by MPTCP" in binding(chassis, "second")["why"]
            assert any("listens by MPTCP" in fault for fault in report(chassis)["faults"])
            assert binding(chassis)["now"] == "late", "the other service is not concerned"
            done = in_host("client", ["sh", "-c", f"for i in 1 2 3 4 5 6; do curl -ksS --max-time 4 -o /dev/null "
                                      f"https://{VIP4}:{PORT2}/ && echo ok; done"])
            assert done.split() == ["ok"] * 6
    chassis.wait_for_states("up")


def test_a_packet_filter_that_wants_a_syn_first(chassis: Chassis) -> None:
    in_host(BLADE, ["nft", RULES])
    try:  # no client is needed for it: the agent probes
        eventually(lambda: binding(chassis)["now"] == "early", 8, "it is noticed")
        assert any("packet filter" in problem for problem in report(chassis)["agent"]["problems"])
        all_are_served()
        lab("restart", BLADE, "nginx")
        all_are_served()
    finally:
        in_host(BLADE, ["nft", "delete table inet guard"])
    eventually(lambda: binding(chassis)["now"] == "late", 8, "and late again")
    all_are_served()


def test_a_blade_that_comes_with_a_packet_filter_gets_nobody_late(chassis: Chassis) -> None:
    """Its server was away, or it is new: it is probed before it takes clients."""
    with chassis.killed(BLADE, "nginx"):
        eventually(lambda: chassis.blade_states()[BLADE] == "down", 8, "it is noticed")
        in_host(BLADE, ["nft", RULES])
    try:
        eventually(lambda: chassis.blade_states()[BLADE] == "up", 8, "its server is back")
        assert binding(chassis)["now"] == "early"
        all_are_served()
    finally:
        in_host(BLADE, ["nft", "delete table inet guard"])
    eventually(lambda: binding(chassis)["now"] == "late", 8, "late again")


@pytest.mark.parametrize("options", [Options(no_hooks=True)], ids=str)
def test_servers_without_hooks_get_no_sessions(chassis: Chassis, session: Path, options: Options) -> None:
    eventually(lambda: any("without the hook library" in fault for fault in report(chassis)["faults"]), 10, "it is said")
    assert chassis.blade_states()[BLADE] == "up"
    home = openssl.connect("1.2", session)
    with chassis.drained(home.blade):
        assert openssl.connect("1.2", session).ok
    assert chassis.stats().moves["moved"] == 0


def test_the_accept_program_is_accounted_for(chassis: Chassis) -> None:
    def counted(what: str) -> int:
        return sum(blade["agent"]["accepted"][what] for blade in chassis.keyrail("blade", "list"))

    assigned, refused = counted("assigned"), counted("refused")  # those of servers that were ill before, too
    all_are_served()
    eventually(lambda: counted("assigned") >= assigned + 24, 5, "each connection is counted")
    assert counted("refused") == refused
    faults = [blade["faults"] for blade in chassis.keyrail("blade", "list")]
    assert not any(faults), faults
