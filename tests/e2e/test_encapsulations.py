# SPDX-License-Identifier: Apache-2.0
"""What lies around TCP: IPv4 options, IPv6 extension headers, and a router's complaint about a link that takes 1300
bytes only, which must reach the server's blade."""

import subprocess
from collections.abc import Iterator

import pytest

from clients.outcome import run_client
from common.shell import run
from lab.namespaces import in_host
from lab.plan import CLIENT, PORT, VIP4, VIP6, WEB_CA, namespace
from lab.servers import BIG_FILE
from support import odd_headers
from support.chassis import Chassis

FAR = "krt-far"
ROUTER4, FAR4 = "203.0.113.193", "203.0.113.200"
ROUTER6, FAR6 = "2001:db8:77::c1", "2001:db8:77::c8"
SIZE = 5_000_000


def _ip(host: str, *commands: str) -> None:
    subprocess.run(["ip", "-n", host, "-batch", "-"], input="\n".join(commands) + "\n", text=True, check=True)


def _forwarding(on: int) -> None:
    in_host(CLIENT, ["sh", "-ec", f"echo {on} > /proc/sys/net/ipv4/ip_forward; "
                                  f"echo {on} > /proc/sys/net/ipv6/conf/all/forwarding"])


@pytest.fixture
def far(chassis: Chassis) -> Iterator[Chassis]:
    """A namespace behind the client's, which is its router. Only the router knows that the link is narrow: the far
    end asks for segments of 1460 bytes."""
    run(["ip", "netns", "add", FAR])
    try:
        run(["ip", "link", "add", "far0", "netns", namespace(CLIENT), "mtu", "1300", "type", "veth", "peer", "name",
             "near0", "netns", FAR])
        _forwarding(1)
        _ip(namespace(CLIENT), "link set far0 up", f"address add {ROUTER4}/28 dev far0",
            f"address add {ROUTER6}/124 dev far0 nodad")
        _ip(FAR, "link set lo up", "link set near0 mtu 1500 up", f"address add {FAR4}/28 dev near0",
            f"address add {FAR6}/124 dev near0 nodad", f"route add default via {ROUTER4}",
            f"route add default via {ROUTER6}")
        yield chassis
    finally:
        _forwarding(0)
        run(["ip", "netns", "del", FAR])


@pytest.mark.parametrize("vip", [VIP4, f"[{VIP6}]"])
def test_download_through_a_narrow_link(far: Chassis, vip: str) -> None:
    before = far.stats()
    done = run(["nsenter", f"--net=/run/netns/{FAR}", "--", "curl", "-sS", "--max-time", "20", "--cacert", WEB_CA, "-r",
                f"0-{SIZE - 1}", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                f"https://{vip}/{BIG_FILE.name}"], check=False)
    assert done.stdout == f"206 {SIZE}", done.stdout + done.stderr
    after = far.stats()
    assert after.counter("icmp_error") > before.counter("icmp_error")
    assert after.counter("drop_icmp_unowned") == before.counter("drop_icmp_unowned")


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_options_and_extension_headers(chassis: Chassis, vip: str) -> None:
    status, text = run_client(["/usr/bin/python3", "-B", odd_headers.__file__, str(WEB_CA), vip, str(PORT)])
    assert status == 0 and text.startswith("blade"), text
