# SPDX-License-Identifier: Apache-2.0
"""keyrail-dp as the device under test: on any two DPDK devices, with neighbours that need no ARP and a snapshot.

    clients, gateway 192.0.2.10 --- front 192.0.2.1 [keyrail-dp] back 10.77.0.1 --- blades 10.77.x.y
                                    service 198.51.100.1:443

    with dispatcher.running(Setup(front="net_memif0,...", back="net_memif1,...")) as dut:
        ...                      # start the other ends; their frames go to dut.front_mac and dut.back_mac
        dut.wait_linked()
        dut.stats()["flow"]
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Child, Network
from common import hugepages
from common.paths import build_dir
from common.shell import ToolError, run

VIP, PORT = "198.51.100.1", 443
FRONT, BACK = "192.0.2.1", "10.77.0.1"
CLIENT, CLIENT_MAC = "192.0.2.10", "02:00:00:00:c0:01"  # the gateway to all clients
FRONT_MAC = "02:00:00:00:00:f0"  # of a port whose device takes any address
COOKIE_KEY, NAME_KEY, NAME_GENERATION = bytes(range(16)), bytes(range(16, 32)), 1
PROGRAM, FEED = "dataplane/keyrail-dp", "tests/support/keyrail-feed"  # Meson targets


@dataclass(frozen=True)
class Setup:
    front: str  # device strings as in a profile: "net_memif0,role=server,socket=..."
    back: str
    front_mac: str = ""  # "": the device's own
    vips: tuple[str, ...] = (VIP,)
    steering: str = "session"  # or "tuple": plain layer 4
    binding: str = "late"  # or "early"
    blades: int = 3
    workers: int = 1
    cores: str = "(0,1)@0"  # EAL --lcores: the control thread is lcore 0, the workers 1...
    poll: str = "busy"
    megabytes: int = 512
    mbufs: int = 65536
    flows: int = 1 << 20
    holds: int = 16384


def blade_address(number: int) -> str:
    """Blades count from 1."""
    return f"10.77.{number >> 8}.{number & 0xff}" if number > 1 else "10.77.255.1"  # 10.77.0.1 is ours


def blade_mac(number: int) -> str:
    return f"02:00:00:00:{0xb0 + (number >> 8):02x}:{number & 0xff:02x}"


def snapshot(setup: Setup) -> str:
    """What keyraild would send, in protobuf's text format (dataplane/common/link.proto)."""
    blades = [f'blades {{ id: {number} name: "blade{number}" address: {_bytes(_packed(blade_address(number)))} '
              'intake: INTAKE_OPEN }' for number in range(1, setup.blades + 1)]
    members = "".join(f" blade_ids: {number}" for number in range(1, setup.blades + 1))
    vips = " ".join(f"addresses: {_bytes(_packed(vip))}" for vip in setup.vips)
    return "\n".join([
        "generation: 1",
        f"cookie_keys {{ key_id: 0 key: {_bytes(COOKIE_KEY)} current: true }}",
        f"name_keys {{ generation: {NAME_GENERATION} key: {_bytes(NAME_KEY)} }}",
        *blades,
        f'services {{ name: "www" {vips} port: {PORT} steering: STEER_{setup.steering.upper()} '
        f'binding: BIND_{setup.binding.upper()} hello_timeout_us: 1000000{members} }}', ""])


def _packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def _bytes(value: bytes) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in value) + '"'


def profile(setup: Setup) -> str:
    def port(role: str, device: str, address: str, routes: list[str], mac: str = "") -> str:
        own = f'mac = "{mac}"\n' if mac else ""
        return (f'[[port]]\nname = "{role}0"\nrole = "{role}"\ndevice = "{device}"\nkernel_interface = "{role}"\n{own}'
                f'addresses = ["{address}"]\nroutes = {json.dumps(routes)}\n')

    return (f'[worker]\ncount = {setup.workers}\ncores = "{setup.cores}"\npoll = "{setup.poll}"\n'
            f"[memory]\nmegabytes = {setup.megabytes}\nmbufs = {setup.mbufs}\nflows = {setup.flows}\n"
            f"holds = {setup.holds}\n" + port("front", setup.front, f"{FRONT}/24", [f"default via {CLIENT}"], setup.front_mac)
            + port("back", setup.back, f"{BACK}/16", []))


class Dispatcher:
    """A keyrail-dp that has its snapshot and knows every neighbour's MAC; made by running()."""

    def __init__(self, process: Child, feed: Child, network: Network) -> None:
        self.process, self._feed, self._network = process, feed, network
        self.front_mac, self.back_mac = (self._mac(role) for role in ("front", "back"))

    def stats(self) -> dict[str, int]:
        """Counters by name, summed over the workers; also "flows" and "drops", the sum of all drops."""
        report = self._ask()
        totals: dict[str, int] = {"flows": int(report["flows"])}
        for worker in report["workers"]:
            for counter in worker["counters"]:
                if counter["name"] != "flows":
                    totals[counter["name"]] = totals.get(counter["name"], 0) + int(counter["value"])
        totals["drops"] = sum(value for name, value in totals.items() if name.startswith("drop_"))
        return totals

    def ports(self) -> dict[str, dict[str, int]]:
        """Of "front0" and "back0": rx_packets, tx_packets, rx_missed, ..., link_up."""
        return {port["name"]: _counters(port) | {"link_up": int(port["link_up"])} for port in self._ask()["ports"]}

    def sent(self, port: int) -> int:
        """Packets that left by port 0, the front, or 1, the back."""
        return _counters(self._ask()["ports"][port])["tx_packets"]

    def wait_linked(self, seconds: float = 20) -> None:
        """Until both devices have their other ends."""
        self.process.wait_for(lambda: all(port["link_up"] for port in self.ports().values()), seconds,
                              "connected at both ports")

    def _ask(self) -> dict:
        stdin, stdout = self._feed.process.stdin, self._feed.process.stdout
        assert stdin and stdout
        try:
            stdin.write(b"stats\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer says it
        return _answer(self._feed, stdout.readline())

    def _mac(self, interface: str) -> str:
        shown = run(self._network.inside("ip", "-j", "link", "show", interface)).stdout
        return str(json.loads(shown)[0]["address"])


def lost(stats: dict[str, int]) -> int:
    """Packets that no counter knows of; 0 once nothing is under way (dataplane/common/verdict.h)."""
    return stats["rx"] - stats["tx"] - stats["punt"] - stats["held"] - stats["drops"]


def _counters(of: dict) -> dict[str, int]:
    return {counter["name"]: int(counter["value"]) for counter in of["counters"]}


def _answer(feed: Child, line: bytes) -> dict:
    if not line:
        raise ToolError(f"keyrail-feed has ended:\n{feed.last_words()}")
    return json.loads(line)


def _neighbours(setup: Setup) -> str:
    """A batch for `ip`."""
    blades = [(blade_address(number), blade_mac(number), "back") for number in range(1, setup.blades + 1)]
    return "".join(f"neighbour replace {address} lladdr {mac} dev {device} nud permanent\n"
                   for address, mac, device in [(CLIENT, CLIENT_MAC, "front"), *blades])


@contextmanager
def running(setup: Setup, network: Network | None = None) -> Iterator[Dispatcher]:
    """Starts it in `network`, where a veth's end may be waiting for it, or else in one of its own."""
    with ExitStack() as undo:
        scratch = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="keyrail-bench-")))
        if network is None:
            network = Network(scratch)
            undo.callback(network.stop)
        undo.callback(hugepages.give_back, hugepages.add(setup.megabytes))
        (scratch / "profile.toml").write_text(profile(setup))
        (scratch / "snapshot.txtpb").write_text(snapshot(setup))
        socket = scratch / "dp.sock"
        process = Child(network.inside(build_dir() / PROGRAM, "--profile", scratch / "profile.toml", "--run-dir",
                                       scratch), scratch / "keyrail-dp.log")
        undo.callback(process.stop)
        process.wait_for(socket.exists, 30, "ready")
        run(network.inside("ip", "-batch", "-"), stdin=_neighbours(setup))
        feed = Child([build_dir() / FEED, "--socket", socket, "--snapshot", scratch / "snapshot.txtpb"],
                     scratch / "keyrail-feed.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        undo.callback(feed.stop)
        assert feed.process.stdout
        _answer(feed, feed.process.stdout.readline())  # the snapshot is in force
        dispatcher = Dispatcher(process, feed, network)
        process.wait_for(lambda: all(blade["neighbour_known"] for blade in dispatcher._ask()["blades"]), 10,
                         "told every blade's MAC by the kernel")
        yield dispatcher
