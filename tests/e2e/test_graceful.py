# SPDX-License-Identifier: Apache-2.0
"""A blade that takes nothing new keeps what it has: its server stops gracefully, it drains, its agent is away, the
configuration has it no more. So does one whose server reads its configuration again or is upgraded. Connections live as
long as the server lets them, over both families, bound late and early."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from clients import curl
from lab import lifecycle
from lab.namespaces import enter, in_host
from lab.plan import CLIENT, DISPATCH, PORT, SERVER_NAME, VIP4, VIP6, WEB_CA, Options, directory
from lab.servers import RELOAD, STOP_GRACEFULLY
from support.chassis import Chassis, eventually, lab
from support.haproxy import haproxy_with

LONG_CLIENT = Path(__file__).resolve().parents[1] / "support/long_client.py"
ECHO = Path(__file__).resolve().parents[2] / "tools/lib/soak/echo.py"
SECONDS = 10
ECHO_PORT = 8082


class LongClient:
    def __init__(self, address: str, version: str, kind: str) -> None:
        self.what = f"{kind} over {address} with TLS {version}"
        self._process = subprocess.Popen(
            [*enter(CLIENT), "/usr/bin/python3", str(LONG_CLIENT), str(WEB_CA), address, str(PORT), SERVER_NAME, version, kind,
             str(SECONDS)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout
        self._output = self._process.stdout
        self.blade = ""

    def begin(self) -> None:
        self.blade = self._output.readline().strip()
        assert self.blade.startswith("blade"), f"{self.what}: {self.blade} {self._output.read()}"

    def end(self) -> str:
        """Nothing when all came."""
        said = self._output.read().strip()
        self._process.wait(60)
        return "" if said == "whole" else f"{self.what} on {self.blade}: {said}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()


class LongClients:
    """Clients of both families and versions; they have begun."""

    def __init__(self, chassis: Chassis, kinds: tuple[str, ...]) -> None:
        self._chassis = chassis
        self._clients = [LongClient(address, version, kind) for address in (VIP4, VIP6) for version in ("1.2", "1.3")
                         for kind in kinds for _ in range(4 // len(kinds))]

    def begin(self) -> str:
        """The blade that has the most of them."""
        for client in self._clients:
            client.begin()
        return Counter(client.blade for client in self._clients).most_common(1)[0][0]

    def expect_whole(self) -> None:
        """To be called before what serves them goes."""
        torn = [wrong for client in self._clients if (wrong := client.end())]
        assert not torn, f"{len(torn)} of {len(self._clients)}: {torn}; {self._chassis.account()}"

    def kill(self) -> None:
        for client in self._clients:
            client.kill()


@contextmanager
def long_clients(chassis: Chassis, kinds: tuple[str, ...]) -> Iterator[tuple[LongClients, str]]:
    clients = LongClients(chassis, kinds)
    try:
        yield clients, clients.begin()
    finally:
        clients.kill()


@contextmanager
def echoes(chassis: Chassis) -> Iterator[None]:
    """What the WebSockets of each blade talk to; behind nginx as it is configured."""
    servers = [subprocess.Popen([*enter(f"blade{number}"), "/usr/bin/python3", str(ECHO), str(ECHO_PORT)], stdout=subprocess.PIPE)
               for number in range(1, chassis.options.blades + 1)]
    try:
        for server in servers:
            assert server.stdout and server.stdout.readline()
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()
            if server.stdout:
                server.stdout.close()


@contextmanager
def told_to_stop(chassis: Chassis, blade: str) -> Iterator[None]:
    server = chassis.options.server
    os.kill(chassis.pid(blade, server), STOP_GRACEFULLY[server])
    try:
        eventually(lambda: chassis.blade_states()[blade] == "down", 5, f"{blade} takes nothing new")
        yield
    finally:
        lab("restart", blade, server)


def new_clients_go_elsewhere(blade: str) -> None:
    for vip in (VIP4, VIP6):
        outcomes = curl.connect("1.3", 10, vip)
        assert all(outcome.ok and outcome.blade != blade for outcome in outcomes), outcomes


KINDS = {"nginx": ("download", "echo"), "apache": ("download",), "haproxy": ("echo",)}


@pytest.mark.parametrize("options", [Options(), Options(bind="early"), Options(server="apache"), Options(server="haproxy")],
                         ids=str)
def test_a_server_that_stops_gracefully(chassis: Chassis, options: Options) -> None:
    behind = haproxy_with(chassis, "/echo", ECHO_PORT) if options.server == "haproxy" else nullcontext()
    with (echoes(chassis), behind, long_clients(chassis, KINDS[options.server]) as (clients, blade),
          told_to_stop(chassis, blade)):
        new_clients_go_elsewhere(blade)
        report = next(entry for entry in chassis.keyrail("blade", "list") if f"blade{entry['id']}" == blade)
        assert not report["takes_new"] and report["flows_live"] and not report["gone"], report
        clients.expect_whole()
    chassis.wait_for_states("up")


def reloaded(chassis: Chassis, blade: str) -> None:
    """nginx -s reload, apachectl graceful, haproxy -sf."""
    server = chassis.options.server
    if server in RELOAD:
        os.kill(chassis.pid(blade, server), RELOAD[server])
    else:
        lifecycle.succeed(blade, server, "-sf")


def everybody_is_served() -> None:
    for vip in (VIP4, VIP6):
        outcomes = curl.connect("1.3", 10, vip)
        assert all(outcome.ok for outcome in outcomes), outcomes


@pytest.mark.parametrize("options", [Options(), Options(bind="early"), Options(server="apache"), Options(server="haproxy")],
                         ids=str)
def test_a_server_that_reads_its_configuration_again(chassis: Chassis, options: Options) -> None:
    """New processes take what is new, old ones finish what they have."""
    behind = haproxy_with(chassis, "/echo", ECHO_PORT) if options.server == "haproxy" else nullcontext()
    kinds = {**KINDS, "nginx": ("download", "upload", "echo")}[options.server]
    with echoes(chassis), behind, long_clients(chassis, kinds) as (clients, blade):
        for _ in range(4):
            reloaded(chassis, blade)
            everybody_is_served()
        clients.expect_whole()
        if options.server == "haproxy":
            lab("restart", blade, "haproxy")
    chassis.wait_for_states("up")


def sent(pid: int, signal_: signal.Signals, gone: bool = False) -> None:
    os.kill(pid, signal_)
    if gone:
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 30, f"{pid} ends")


def successor(file: Path, old: int) -> int:
    """Who says to be nginx now; 0: nobody else yet. For a moment the file is away, or empty: the old one's has got another
    name, and the new one writes its own."""
    try:
        new = int(file.read_text() or old)
    except FileNotFoundError:
        return 0
    return new if new != old else 0


@pytest.mark.parametrize("options", [Options(), Options(bind="early")], ids=str)
def test_nginx_is_upgraded_while_it_runs(chassis: Chassis, options: Options) -> None:
    """As its documentation says: USR2 starts the new one, WINCH has the old one's workers finish, QUIT ends it."""
    with echoes(chassis), long_clients(chassis, ("download", "upload", "echo")) as (clients, blade):
        old, file = chassis.pid(blade, "nginx"), directory(blade) / "nginx.pid"
        sent(old, signal.SIGUSR2)
        new = eventually(lambda: successor(file, old), 10, "a new one")
        try:
            everybody_is_served()
            sent(old, signal.SIGWINCH)
            everybody_is_served()
            clients.expect_whole()
            sent(old, signal.SIGQUIT, gone=True)
            everybody_is_served()
        finally:
            sent(new, signal.SIGTERM, gone=True)
            lab("restart", blade, "nginx")
    chassis.wait_for_states("up")


def test_a_server_that_stops_gracefully_after_a_drain(chassis: Chassis) -> None:
    with echoes(chassis), long_clients(chassis, ("download", "echo")) as (clients, blade), chassis.drained(blade):
        eventually(lambda: chassis.blade_states()[blade] == "draining", 5, "it drains")
        with told_to_stop(chassis, blade):
            new_clients_go_elsewhere(blade)
            clients.expect_whole()


@pytest.mark.parametrize("options", [Options(), Options(bind="early")], ids=str)
def test_a_blade_that_leaves_the_configuration(chassis: Chassis, options: Options) -> None:
    with long_clients(chassis, ("download",)) as (clients, blade):
        number = int(blade.removeprefix("blade"))

        def without(text: str) -> str:
            head, _, rest = text.partition(f"[[blade]]\nid = {number}\n")
            pool = ", ".join(str(other) for other in range(1, options.blades + 1) if other != number)
            return head + rest[rest.index("[["):].replace("blades = [1, 2, 3]", f"blades = [{pool}]", 1)

        with chassis.configured(without):
            assert [left["id"] for left in chassis.keyrail("status")["left"]] == [number]
            new_clients_go_elsewhere(blade)
            with chassis.killed(DISPATCH, "keyraild"):  # and keyraild remembers it
                pass
            assert eventually(lambda: chassis.keyrail("status")["left"], 10, "it is known")[0]["id"] == number
            clients.expect_whole()
    chassis.wait_for_states("up")
    assert chassis.keyrail("status")["left"] == []


def test_an_agent_is_away_while_keyraild_restarts(chassis: Chassis) -> None:
    with echoes(chassis), long_clients(chassis, ("download", "echo")) as (clients, blade):
        with chassis.killed(blade, "keyrail-agent"):
            with chassis.killed(DISPATCH, "keyraild"):
                pass
            eventually(lambda: chassis.keyrail("status")["settled"], 10, "keyraild publishes without it")
            eventually(lambda: chassis.blade_states()[blade] == "down", 5, "nobody says that a server listens")
            new_clients_go_elsewhere(blade)
            clients.expect_whole()
    chassis.wait_for_states("up")


HOLE = ("table inet hole { chain in { type filter hook input priority 0; tcp dport 7401 drop; tcp sport 7400 drop; "
        "icmp type echo-request drop; }; }")


def test_an_agent_that_nobody_reaches(chassis: Chassis) -> None:
    """A packet filter drops all that is for it, without a word: the blade takes nothing new, and is not dead."""
    with echoes(chassis), long_clients(chassis, ("download", "echo")) as (clients, blade):
        in_host(blade, ["nft", HOLE])
        try:
            eventually(lambda: chassis.blade_states()[blade] == "down", 5, "it gets nothing new")
            new_clients_go_elsewhere(blade)
            clients.expect_whole()
            report = next(entry for entry in chassis.keyrail("blade", "list") if f"blade{entry['id']}" == blade)
            assert report["flows_live"] and not report["gone"], report
        finally:
            in_host(blade, ["nft", "delete table inet hole"])
    chassis.wait_for_states("up")
