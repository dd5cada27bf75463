# SPDX-License-Identifier: Apache-2.0
"""The lab's network: client <-> dispatcher <-> switch <-> blades, each in a namespace of its own.

    client c0 ---- front0 dispatch back0 ---- br0 in switch ---- back0 of each blade

front0 and back0 of the dispatcher belong to keyrail-dp; its kernel's ends, the TAPs `front` and `back`, are
made by keyrail-dp itself. The VIPs are on the blades' loopback, where nobody asks for their MAC.
"""

import subprocess

from common.shell import ToolError, run
from lab.namespaces import in_host
from lab.plan import (AWAY4, AWAY6, BACK4, BACK6, CLIENT, CLIENT4, CLIENT4_SECOND, CLIENT6, DISPATCH, FRONT4,
                      FRONT6, SWITCH, VIP4, VIP6, Blade, Options, blades, hosts, namespace)


def _ip(host: str, *commands: str) -> None:
    """Several `ip` commands in one go."""
    done = subprocess.run(["ip", "-n", namespace(host), "-batch", "-"], input="\n".join(commands) + "\n",
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"the network of {host} could not be made: {done.stderr.strip()}")


def _sysctl(host: str, **values: int) -> None:
    """net.* settings of one namespace; "__" stands for a dot, as in ipv4__ip_forward."""
    lines = [f"echo {value} > /proc/sys/net/{name.replace('__', '/')}" for name, value in values.items()]
    in_host(host, ["sh", "-ec", "\n".join(lines)])


def _link(host: str, name: str, peer_host: str, peer: str) -> None:
    """A cable. One queue at each end: an AF_XDP socket sees only the queue that it is bound to."""
    queues = ["numrxqueues", "1", "numtxqueues", "1"]
    run(["ip", "link", "add", name, "netns", namespace(host), *queues, "type", "veth",
         "peer", "name", peer, "netns", namespace(peer_host), *queues])


def _whole_frames(host: str, device: str) -> None:
    """Checksums and segments are made before veth: AF_XDP takes frames as they are, and a partial checksum or
    a 64 KB segment would leave the machine unfinished."""
    in_host(host, ["ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])


def _make_namespaces(options: Options) -> None:
    for host in hosts(options):
        run(["ip", "netns", "add", namespace(host)])
        # The same everywhere, whatever this machine's own defaults are.
        _sysctl(host, ipv4__conf__all__rp_filter=0, ipv4__conf__default__rp_filter=0,
                ipv6__conf__all__disable_ipv6=0, ipv6__conf__default__disable_ipv6=0,
                ipv6__conf__default__accept_dad=0, ipv6__conf__default__accept_ra=0)
        _ip(host, "link set lo up")


def _client() -> None:
    _link(CLIENT, "c0", DISPATCH, "front0")
    _whole_frames(CLIENT, "c0")
    _ip(CLIENT,
        "link set c0 up",
        f"address add {CLIENT4}/24 dev c0",
        f"address add {CLIENT4_SECOND}/24 dev c0",
        f"address add {AWAY4}/32 dev lo",
        f"address add {CLIENT6}/64 dev c0 nodad",
        f"address add {AWAY6}/128 dev lo nodad",
        f"route add {VIP4} via {FRONT4} src {CLIENT4}",
        f"route add {VIP6} via {FRONT6} src {CLIENT6}",
        f"route add 10.77.0.0/24 via {FRONT4}",
        f"route add fd77::/64 via {FRONT6}")


def _dispatcher() -> None:
    _link(DISPATCH, "back0", SWITCH, "dispatch")
    _sysctl(DISPATCH, ipv4__ip_forward=1, ipv6__conf__all__forwarding=1,
            ipv6__conf__front0__disable_ipv6=1, ipv6__conf__back0__disable_ipv6=1)
    # The dispatcher's kernel must never answer for a VIP: an unreachable would kill connections.
    _ip(DISPATCH,
        "link set front0 up",
        "link set back0 up",
        f"route add blackhole {VIP4}",
        f"route add blackhole {VIP6}")


def _switch(options: Options) -> None:
    ports = ["dispatch", *(blade.host for blade in blades(options))]
    _ip(SWITCH,
        "link add br0 type bridge forward_delay 0 mcast_snooping 0",
        *(f"link set {port} master br0" for port in ports),
        *(f"link set {port} up" for port in ports),
        "link set br0 up")


def _blade(blade: Blade) -> None:
    host = blade.host
    _link(host, "back0", SWITCH, host)
    _whole_frames(host, "back0")
    _sysctl(host, ipv4__conf__all__arp_ignore=1, ipv4__conf__all__arp_announce=2, ipv4__tcp_syncookies=1,
            core__somaxconn=4096)
    _ip(host,
        "link set back0 up",
        f"address add {blade.address4}/24 dev back0",
        f"address add {blade.address6}/64 dev back0 nodad",
        f"address add {VIP4}/32 dev lo",
        f"address add {VIP6}/128 dev lo nodad",
        f"route add default via {BACK4}",
        f"route add default via {BACK6}")


def build(options: Options) -> None:
    _make_namespaces(options)
    _client()
    for blade in blades(options):
        _blade(blade)
    _dispatcher()
    _switch(options)
