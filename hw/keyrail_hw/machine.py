# SPDX-License-Identifier: Apache-2.0
"""The machine as sysfs and procfs have it, below any root. Nothing here decides; the only thing that writes is write()."""

import fcntl
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ETHERNET = "0x0200"  # PCI class of Ethernet controllers
KEEP_THEIR_DRIVER = ("mlx4_core", "mlx5_core")  # DPDK runs beside the kernel's driver
VFIO = "vfio-pci"
FOR_USER_SPACE = (VFIO, "uio_pci_generic", "igb_uio")
PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
MB = 1 << 20
SIOCGIFADDR = 0x8915


class HardwareError(Exception):
    """What is wrong, where, and what to do."""


@dataclass(frozen=True)
class Nic:
    """One port of a network card, which is a PCI function of its own. (Mellanox cards with one function for several ports
    are listed once.)"""

    address: str  # PCI: "0000:3b:00.0"
    device: str  # vendor and device: "8086:1572"
    driver: str  # "" when nobody has it
    node: int  # NUMA; -1 when the machine has none
    interfaces: tuple[str, ...]  # of the kernel
    mac: str
    speed: int  # Mbit/s; 0 when not known: without a link, or with vfio-pci
    in_use: str  # why it may not be taken; "" when it may

    @property
    def taken(self) -> bool:
        """Has keyrail-dp the driver that it needs?"""
        return self.driver == VFIO or self.driver in KEEP_THEIR_DRIVER


def cpus(text: str) -> list[int]:
    """The kernel's lists: "0-3,8"."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


class Machine:
    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str:
        """Without the newline; "" when it is not there, or has nothing to say (the speed of a port without a link)."""
        try:
            return self.path(name).read_text().strip()
        except OSError:
            return ""

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in self.path(folder).iterdir())
        except OSError:
            return []

    def link(self, name: str) -> str:
        """The last part of where a symbolic link leads, or ""."""
        try:
            return self.path(name).readlink().name
        except OSError:
            return ""

    def write(self, name: str, text: str) -> None:
        try:
            self.path(name).write_text(text)
        except OSError as error:
            raise HardwareError(f"{self.path(name)} does not take '{text.strip()}': {error.strerror}") from error

    # CPUs and memory

    @cached_property
    def cpu_flags(self) -> frozenset[str]:
        found = re.search(r"^flags\s*:(.*)$", self.read("/proc/cpuinfo"), re.MULTILINE)
        return frozenset(found[1].split() if found else ())

    @property
    def kernel(self) -> tuple[int, int]:
        found = re.match(r"(\d+)\.(\d+)", self.read("/proc/sys/kernel/osrelease"))
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def online(self) -> list[int]:
        return cpus(self.read("/sys/devices/system/cpu/online"))

    @property
    def isolated(self) -> list[int]:
        return cpus(self.read("/sys/devices/system/cpu/isolated"))

    def cores(self, node: int) -> list[int]:
        """A CPU of each core of this node: of hyperthreads the first, for two workers on one core share it."""
        here = cpus(self.read(f"/sys/devices/system/node/node{node}/cpulist")) if node >= 0 else []
        firsts = []
        for cpu in here or self.online:
            siblings = cpus(self.read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
            if not siblings or cpu == siblings[0]:
                firsts.append(cpu)
        return firsts

    def node_of(self, cpu: int) -> int:
        for name in self.names("/sys/devices/system/node"):
            if re.fullmatch(r"node\d+", name) and cpu in cpus(self.read(f"/sys/devices/system/node/{name}/cpulist")):
                return int(name[4:])
        return -1

    def huge_mb(self, node: int = -1) -> int:
        """Free, of all sizes; of one node where the machine has nodes."""
        folder = f"/sys/devices/system/node/node{node}/hugepages" if node >= 0 else "/sys/kernel/mm/hugepages"
        total = 0
        for name in self.names(folder):
            if found := re.fullmatch(r"hugepages-(\d+)kB", name):
                total += int(found[1]) * 1024 * int(self.read(f"{folder}/{name}/free_hugepages") or 0)
        return total // MB

    def file_system(self, directory: str) -> str:
        """Of the mount that a directory lies on."""
        best = ("", "")
        for line in self.read("/proc/mounts").splitlines():
            _, point, kind, *_ = line.split()
            inside = directory == point or directory.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, kind)
        return best[1]

    # Network cards

    @property
    def _interfaces(self) -> dict[str, list[str]]:
        """By the PCI device that they belong to: the last one on their path, behind bridges, before virtio's own device."""
        found: dict[str, list[str]] = {}
        for name in self.names("/sys/class/net"):
            path = self.path(f"/sys/class/net/{name}").resolve()
            addresses = [part for part in path.parts if PCI_ADDRESS.fullmatch(part)]
            if addresses:
                found.setdefault(addresses[-1], []).append(name)
        return found

    def nics(self) -> list[Nic]:
        devices = "/sys/bus/pci/devices"
        return [self.nic(address) for address in self.names(devices)
                if self.read(f"{devices}/{address}/class").startswith(ETHERNET)]

    def nic(self, address: str) -> Nic:
        device = f"/sys/bus/pci/devices/{address}"
        interfaces = tuple(self._interfaces.get(address, []))
        speeds = [int(self.read(f"/sys/class/net/{name}/speed") or 0) for name in interfaces]
        identity = (self.read(f"{device}/{which}").removeprefix("0x") for which in ("vendor", "device"))
        macs = [self.read(f"/sys/class/net/{name}/address") for name in interfaces]
        driver = self.link(f"{device}/driver")
        in_use = next(filter(None, map(self._in_use, interfaces)), "")
        if int(self.read(f"{device}/sriov_numvfs") or 0) > 0:
            in_use = in_use or f"it has virtual functions (echo 0 > {device}/sriov_numvfs removes them)"
        if driver not in ("", *FOR_USER_SPACE, *KEEP_THEIR_DRIVER) and not interfaces:
            in_use = in_use or f"{driver} has it, without an interface here: a container's?"
        return Nic(address, ":".join(identity), driver, int(self.read(f"{device}/numa_node") or -1), interfaces,
                   macs[0] if macs else "", max([0, *speeds]), in_use)

    def _above(self, interface: str) -> Iterator[str]:
        """VLANs, bridges and bonds on top of it, and on top of those."""
        for name in self.names(f"/sys/class/net/{interface}"):
            if name.startswith("upper_"):
                yield name.removeprefix("upper_")
                yield from self._above(name.removeprefix("upper_"))

    def _has_address(self, interface: str) -> bool:
        """Of this machine, of any routing table: the kernel is asked, for no file says it."""
        if self.root != Path("/"):
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("16s24x", interface.encode()))
            except OSError:
                return False
        return True

    def _in_use(self, interface: str) -> str:
        """Who has an address is somebody's way to this machine."""
        for name in (interface, *self._above(interface)):
            where = name if name == interface else f"{name} on top of {interface}"
            routes = [line.split() for line in self.read("/proc/net/route").splitlines()[1:]]
            if any(route[0] == name and route[1] == "00000000" for route in routes):
                return f"{where} has the default route"
            if any(route[0] == name for route in routes) or self._has_address(name):
                return f"{where} has an IPv4 address"
            if any(line.startswith("0" * 32 + " 00 ") and line.split()[-1] == name
                   for line in self.read("/proc/net/ipv6_route").splitlines()):
                return f"{where} has the IPv6 default route"
            addresses = [line.split() for line in self.read("/proc/net/if_inet6").splitlines()]
            if any(fields[5] == name and fields[3] == "00" for fields in addresses):  # 00: global
                return f"{where} has an IPv6 address"
        if above := next(self._above(interface), ""):
            return f"{above} is on top of {interface}"
        master = self.link(f"/sys/class/net/{interface}/master")
        return f"{interface} belongs to {master}" if master else ""
