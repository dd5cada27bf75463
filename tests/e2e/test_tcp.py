# SPDX-License-Identifier: Apache-2.0
"""Services that are not TLS: plain TCP, where the server may speak first, behind the same dispatcher."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lab.namespaces import enter, in_host
from lab.plan import CLIENT4, CLIENT6, DISPATCH, VIP4, VIP6, blades
from support.chassis import Chassis, eventually

PORT = 2525
# Says who it is and whom it sees; then gives back what it gets.
SERVER = f"""
import socket, sys, threading
l = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print("ready", flush=True)
def serve(s, client):
    with s:
        s.sendall((sys.argv[1] + " " + client[0] + " " + str(client[1]) + "\\n").encode())
        while data := s.recv(4096):
            s.sendall(data)
while True:
    threading.Thread(target=serve, args=l.accept(), daemon=True).start()
"""
# Connections one after the other: the greeting, and what came back.
CLIENT = """
import socket, sys
for _ in range(int(sys.argv[3])):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as s:
        lines = s.makefile("rb")
        greeting = lines.readline().decode().split()
        s.sendall(b"x" * 3000 + b"\\n")
        print(*greeting, s.getsockname()[1], len(lines.readline()))
"""
LONG = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
lines = s.makefile("rb")
print(lines.readline().decode().split()[0], flush=True)
for line in sys.stdin:
    s.sendall(line.encode())
    print(lines.readline().decode().strip(), flush=True)
"""


@contextmanager
def plain_service(chassis: Chassis) -> Iterator[None]:
    with ExitStack() as stack:
        for blade in blades(chassis.options):
            server = subprocess.Popen([*enter(blade.host), "/usr/bin/python3", "-u", "-c", SERVER, blade.host], stdout=subprocess.PIPE)
            stack.callback(lambda server=server: (server.kill(), server.wait(), server.stdout.close()))
            assert server.stdout and server.stdout.readline() == b"ready\n"
        pool = ('[[pool]]\nname = "plain"\nblades = ' + str([blade.id for blade in blades(chassis.options)]) +
                '\n[pool.check]\ntype = "tcp"\ntimeout = "1s"\nhold_down = "1s"\nslow_start = "0s"\n')
        service = f'[[service]]\nname = "plain"\naddresses = ["{VIP4}", "{VIP6}"]\nport = {PORT}\npool = "plain"\nsteering = "tuple"\n'
        with chassis.configured(lambda text: text.replace("[[service]]", pool + "[[service]]", 1) + service):
            eventually(lambda: all(check["state"] == "up" for check in chassis.keyrail("check", "list")["checks"]), 15, "checked")
            yield


def connect(vip: str, times: int) -> list[list[str]]:
    text = in_host("client", ["/usr/bin/python3", "-c", CLIENT, vip, str(PORT), str(times)])
    return [line.split() for line in text.splitlines()]


def test_a_service_that_is_not_tls(chassis: Chassis) -> None:
    hosts = {blade.host for blade in blades(chassis.options)}
    with plain_service(chassis):
        for vip, client in ((VIP4, CLIENT4), (VIP6, CLIENT6)):
            got = connect(vip, 24)
            assert len(got) == 24 and {size for *_, size in got} == {"3001"}
            assert {words[0] for words in got} == hosts, "all blades have their part"
            assert {words[1].removeprefix("::ffff:") for words in got} == {client}, "they see the client itself"
            assert all(words[2] == words[3] for words in got), "and its port"
        long = subprocess.Popen([*enter("client"), "/usr/bin/python3", "-u", "-c", LONG, VIP4, str(PORT)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        assert long.stdin and long.stdout
        try:
            home = long.stdout.readline().strip()
            with chassis.drained(home):
                assert home not in {words[0] for words in connect(VIP4, 12)}
                with chassis.killed(DISPATCH, "keyrail-dp"):
                    pass
                long.stdin.write("still there\n")
                long.stdin.flush()
                assert long.stdout.readline().strip() == "still there", "its flow lives"
        finally:
            long.kill()
            long.wait()
        chassis.wait_for_states("up")
    assert chassis.quiet_stats().conserved
