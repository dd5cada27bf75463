# SPDX-License-Identifier: Apache-2.0
"""The same clients and blades over veth pairs, with Keyrail, HAProxy or nginx between them, each on one core, or nothing.

    keyrail-loadgen [clients] === veth === [ Keyrail (AF_XDP) | HAProxy | nginx ] === veth === [blades] keyrail-loadgen

HAProxy sticks by session id and learns from the ServerHello, nginx reads the hello's server name: what each can do of this job.
Hellos are TLS 1.2's, for HAProxy knows no others. What the kernel does to receive a frame from a veth pair is done on the
sender's core, for all of them alike: so the proxies' core is spared that part of their TCP.
"""

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import connections, cores, dispatcher, loadgen
from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import Child, Network
from common import shell
from common.shell import ToolError

TARGETS = connections.TARGETS
DUT_CORE, LOAD_CORE = 0, 1
BLADES = 8
CLIENTS = 256  # addresses: few, for the sake of the kernel's per-peer tables
LATENCY_RATE = 8000  # connections per second
DUTS = ("keyrail", "haproxy", "nginx")

HAPROXY = """global
    nbthread 1
    maxconn 9000
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen tls
    bind @vip@:@port@
    tcp-request inspect-delay 5s
    acl clienthello req_ssl_hello_type 1
    acl serverhello rep_ssl_hello_type 2
    tcp-request content accept if clienthello
    tcp-response content accept if serverhello
    stick-table type binary len 32 size 100k expire 30m
    stick on payload_lv(43,1) if clienthello
    stick store-response payload_lv(43,1) if serverhello
@servers@
"""
NGINX = """daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid @dir@/nginx.pid;
error_log @dir@/nginx.error.log warn;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections 20000; }
stream {
    upstream blades {
@servers@
    }
    map $ssl_preread_server_name $pool { www.keyrail.test blades; }
    server {
        listen @vip@:@port@ backlog=4096;
        ssl_preread on;
        proxy_pass $pool;
    }
}
"""


def _figures() -> Iterator[Figure]:
    for dut in (*DUTS, "direct"):
        what = {"keyrail": "Keyrail over AF_XDP", "haproxy": "HAProxy, sticky by session id",
                "nginx": "nginx stream, ssl_preread", "direct": "nothing between: the most that the generator makes"}[dut]
        yield Figure(f"peers.{dut}.per_second", "1/s", f"whole connections over veth, one core; {what}", more_is_better=True)
        yield Figure(f"peers.{dut}.generator_busy", "1", "share of that time in which the generator had something to do, the "
                     "receiving kernel's work included: near 1, the generator is what limits")
    yield Figure("peers.ratio_haproxy", "ratio", "Keyrail over memif (late binding, TLS 1.2) to HAProxy over veth, one core "
                 "each, in the same rounds; baseline: HAProxy's connections per second", more_is_better=True)
    yield Figure("peers.ratio_haproxy_veth", "ratio", "Keyrail over veth to HAProxy over veth, the same client; at most what "
                 "direct allows; baseline: HAProxy's connections per second", more_is_better=True)
    for dut in DUTS:
        name = "" if dut == "keyrail" else f".{dut}"
        for q in ("p50", "p99"):
            yield Figure(f"peers.added_latency_{q}_us{name}", "us", f"to the server's first byte at {LATENCY_RATE} "
                         f"connections/s, {dut}, less the same without anything between; baseline: that",
                         40 if not name and q == "p50" else None)


FIGURES = tuple(_figures())


@dataclass
class Wires:
    """Two veth pairs: the generator's ends in one network, those of what is measured in another."""

    generator: Network
    dut: Network
    macs: dict[str, str]  # of "front0" and "back0", the DUT's ends


def quiet(network: Network, interface: str) -> None:
    """AF_XDP passes frames as they are: no unfinished checksums, nothing larger than a frame."""
    shell.run(network.inside("ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off"))
    shell.run(network.inside("sysctl", "-qw", f"net.ipv6.conf.{interface}.disable_ipv6=1"))
    shell.run(network.inside("ip", "link", "set", interface, "up"))


def pair(one: Network, name: str, other: Network, other_name: str) -> None:
    shell.run(["ip", "link", "add", name, "netns", str(one.pid), "type", "veth", "peer", "name", other_name,
         "netns", str(other.pid)])
    quiet(one, name)
    quiet(other, other_name)


@contextmanager
def wires(scratch: Path) -> Iterator[Wires]:
    with ExitStack() as undo:
        networks = []
        for name in ("generator", "dut"):
            (scratch / name).mkdir()
            networks.append(Network(scratch / name))
            undo.callback(networks[-1].stop)
        generator, dut = networks
        for near, far in (("c0", "front0"), ("b0", "back0")):
            pair(generator, near, dut, far)
        links = json.loads(shell.run(dut.inside("ip", "-j", "link")).stdout)
        yield Wires(generator, dut, {link["ifname"]: link["address"] for link in links})


def proxy_network(network: Network) -> None:
    """What a proxy needs of its kernel. Ports may be used again after a second (RFC 6191): a proxy closes its side first."""
    batch = [f"address add {dispatcher.VIP}/32 dev lo", f"address add {dispatcher.FRONT}/24 dev front0",
             f"address add {dispatcher.BACK}/16 dev back0",
             f"neighbour replace {dispatcher.CLIENT} lladdr {dispatcher.CLIENT_MAC} dev front0 nud permanent",
             f"route add default via {dispatcher.CLIENT}", "link set lo up"]
    batch += [f"neighbour replace {dispatcher.blade_address(n)} lladdr {dispatcher.blade_mac(n)} dev back0 nud permanent"
              for n in range(1, BLADES + 1)]
    shell.run(network.inside("ip", "-batch", "-"), stdin="".join(f"{line}\n" for line in batch))
    settings = {"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_tw_reuse": 1, "net.core.somaxconn": 4096,
                "net.ipv4.tcp_max_syn_backlog": 8192}
    shell.run(network.inside("sysctl", "-qw", *(f"{name}={value}" for name, value in settings.items())))


def servers(template: str) -> str:
    return "\n".join(template.format(n=n, address=dispatcher.blade_address(n), port=dispatcher.PORT)
                     for n in range(1, BLADES + 1))


def proxy_command(kind: str, scratch: Path) -> list[str | Path]:
    text, server = {"haproxy": (HAPROXY, "    server blade{n} {address}:{port}"),
                    "nginx": (NGINX, "        server {address}:{port};")}[kind]
    values = {"vip": dispatcher.VIP, "port": dispatcher.PORT, "dir": scratch, "servers": servers(server)}
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    file = scratch / f"{kind}.conf"
    file.write_text(text)
    # -e: before it has read where its log is, nginx would write to /var/log.
    program = {"haproxy": ["haproxy", "-db", "-f", file],
               "nginx": ["nginx", "-e", scratch / "nginx.error.log", "-p", scratch, "-c", file]}[kind]
    return ["taskset", "-c", str(DUT_CORE), *program]


@contextmanager
def proxy(kind: str, between: Wires, scratch: Path) -> Iterator[Child]:
    proxy_network(between.dut)
    process = Child(between.dut.inside(*proxy_command(kind, scratch)), scratch / f"{kind}.log")
    try:
        process.wait_for(lambda: str(dispatcher.PORT) in shell.run(between.dut.inside("ss", "-Htln")).stdout, 10, "listening")
        yield process
    finally:
        process.stop()


@contextmanager
def device_under_test(kind: str, between: Wires, scratch: Path) -> Iterator[loadgen.Load]:
    """What the generator must know of it."""
    load = loadgen.Load("net_af_xdp0,iface=c0", "net_af_xdp1,iface=b0", front_mac=between.macs["front0"],
                        back_mac=between.macs["back0"], bind="proxy", blades=BLADES, tls="1.2", clients=CLIENTS,
                        core=LOAD_CORE)
    if kind == "direct":  # the DUT's network joins the two
        shell.run(between.dut.inside("ip", "link", "delete", "front0"))
        shell.run(between.dut.inside("ip", "link", "delete", "back0"))
        pair(between.generator, "c0", between.generator, "b0")
        yield replace(load, bind="early", front_mac=dispatcher.blade_mac(1), back_mac=dispatcher.CLIENT_MAC)
    elif kind == "keyrail":
        setup = dispatcher.Setup("net_af_xdp0,iface=front0", "net_af_xdp1,iface=back0", blades=BLADES,
                                 cores=f"(0,1)@{DUT_CORE}")
        with dispatcher.running(setup, between.dut):
            yield replace(load, bind="late")
    else:
        with proxy(kind, between, scratch):
            yield replace(load, affinity="learned" if kind == "haproxy" else "none")


def measure(context: Context, kind: str, rate: float = 0) -> dict:
    """keyrail-loadgen's report of one run."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as path:
        scratch = Path(path)
        with wires(scratch) as between, device_under_test(kind, between, scratch) as load:
            load = replace(load, rate=rate, connections=256 if rate else 128, warm_up=context.seconds / 2,
                           seconds=context.seconds)
            with loadgen.running(context.program(loadgen.PROGRAM), load, scratch, between.generator) as generator:
                return generator.report()


def rates(context: Context) -> Iterator[Result]:
    found: dict[str, list[float]] = defaultdict(list)
    busy: dict[str, list[float]] = defaultdict(list)
    near = cores.Cores(context)
    for turn in range(context.runs):
        for dut in (*DUTS, "direct"):
            context.progress(f"peers: {dut}, round {turn + 1} of {context.runs}")
            report = near.near(lambda: measure(context, dut))
            found[dut].append(report["per_second"])
            busy[dut].append(report["busy"])
        found["memif"].append(near.near(lambda: connections.measure(context, "late", "1.2"))["per_second"])
    for dut in (*DUTS, "direct"):
        yield Result.of(f"peers.{dut}.per_second", found[dut])
        yield Result.of(f"peers.{dut}.generator_busy", busy[dut])
    for name, dut in (("peers.ratio_haproxy", "memif"), ("peers.ratio_haproxy_veth", "keyrail")):
        if not all(found["haproxy"]):
            raise ToolError("HAProxy completed no connection while it was measured; is the machine busy?")
        shares = [one / other for one, other in zip(found[dut], found["haproxy"], strict=True)]
        yield replace(Result.of(name, shares), baseline=statistics.median(found["haproxy"]))


def latencies(context: Context) -> Iterator[Result]:
    found: dict[str, list[dict]] = defaultdict(list)
    for turn in range(context.runs):
        for dut in ("direct", *DUTS):
            context.progress(f"peers: latency of {dut}, round {turn + 1} of {context.runs}")
            found[dut].append(measure(context, dut, LATENCY_RATE)["first_byte_us"])
    for dut in DUTS:
        for q in ("p50", "p99"):
            added = [one[q] - direct[q] for one, direct in zip(found[dut], found["direct"], strict=True)]
            name = f"peers.added_latency_{q}_us" + ("" if dut == "keyrail" else f".{dut}")
            yield replace(Result.of(name, added), baseline=statistics.median(direct[q] for direct in found["direct"]))


def run(context: Context) -> Iterator[Result]:
    yield from rates(context)
    if not context.quick:
        yield from latencies(context)
