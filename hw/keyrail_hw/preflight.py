# SPDX-License-Identifier: Apache-2.0
"""Can keyrail-dp run here, and as fast as it should? Each requirement: what was found, and how to mend it.

fail: keyrail-dp will not start, or packets will be lost for certain. warn: it runs, slower or less evenly."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from keyrail_hw.machine import KEEP_THEIR_DRIVER, VFIO, Machine
from keyrail_hw.profile import Port, Profile

BASELINE = ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3")  # x86-64-v2, as /proc/cpuinfo says it
OLDEST_KERNEL = (6, 1)  # Debian 12's


class Verdict(StrEnum):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def _check(name: str, good: bool, found: str, fix: str, otherwise: Verdict = Verdict.FAIL) -> Check:
    return Check(name, Verdict.PASS, found) if good else Check(name, otherwise, found, fix)


def _numbers(values: list[int] | tuple[int, ...]) -> str:
    return ", ".join(map(str, values)) or "none"


def of_machine(machine: Machine) -> Iterator[Check]:
    missing = [flag for flag in BASELINE if flag not in machine.cpu_flags]
    yield _check("cpu", not missing, f"lacks {', '.join(missing)}" if missing else "x86-64-v2",
                 "Keyrail needs a CPU of 2009 or later (x86-64-v2); in a virtual machine choose a newer CPU model")
    fast = [flag for flag in ("aes", "avx2", "avx512f", "vaes") if flag in machine.cpu_flags]
    yield _check("cpu speed", {"aes", "avx2"} <= set(fast), ", ".join(fast) or "neither AES nor AVX2",
                 "session names and SYN cookies cost several times as much without AES-NI and AVX2", Verdict.WARN)
    kernel = ".".join(map(str, machine.kernel))
    yield _check("kernel", machine.kernel >= OLDEST_KERNEL, kernel, f"use Linux {'.'.join(map(str, OLDEST_KERNEL))} or later")
    clock = machine.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    steady = {"constant_tsc", "nonstop_tsc"} <= machine.cpu_flags
    yield _check("clock source", clock == "tsc" and steady, f"{clock or 'not known'}, TSC {'' if steady else 'not '}steady",
                 "boot with tsc=reliable clocksource=tsc, if the CPU has constant_tsc and nonstop_tsc", Verdict.WARN)
    yield _governors(machine)


def _governors(machine: Machine) -> Check:
    found = {machine.read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor") for cpu in machine.online} - {""}
    return _check("frequency", found <= {"performance"}, ", ".join(sorted(found)) or "not the kernel's to choose",
                  "cpupower frequency-set -g performance", Verdict.WARN)


def of_profile(machine: Machine, profile: Profile) -> Iterator[Check]:
    pci = [port for port in profile.ports if port.pci]
    yield from _workers(machine, profile)
    yield from _memory(machine, profile, pci)
    for port in pci:
        yield _port(machine, profile, port)
    if any(machine.nic(port.pci).driver not in KEEP_THEIR_DRIVER for port in pci):
        yield from _vfio(machine, pci)
    yield from _nodes(machine, profile, pci)
    yield from _reverse_path(machine, profile)


def _workers(machine: Machine, profile: Profile) -> Iterator[Check]:
    absent = [cpu for cpu in profile.workers if cpu not in machine.online]
    if absent:
        yield Check("worker CPUs", Verdict.FAIL, f"no CPU {_numbers(absent)} here",
                    f"set worker.cores in {profile.file}; there are {_numbers(machine.online)}")
    elif profile.busy:
        shared = [cpu for cpu in profile.workers if cpu not in machine.isolated]
        named = ",".join(map(str, profile.workers))
        yield _check("isolated CPUs", bool(profile.workers) and not shared,
                     f"workers on {_numbers(profile.workers)}, isolated {_numbers(machine.isolated)}",
                     f"boot with isolcpus={named} nohz_full={named} rcu_nocbs={named}" if named else
                     f"set worker.cores in {profile.file}", Verdict.WARN)


def _kept_mb(profile: Profile) -> int:
    """What outlives keyrail-dp, in pages of 2 MB: flow tables, moved table, the last snapshot twice."""
    def pages(places: int, size: int) -> int:
        return -(-((1 << max(0, places - 1).bit_length()) * size + 4096) // (2 << 20))
    flows = pages(-(-profile.flows // 4), 64) * max(1, len(profile.workers))
    return 2 * (flows + pages(profile.moved, 32) + 2)


def _memory(machine: Machine, profile: Profile, pci: list[Port]) -> Iterator[Check]:
    if profile.huge_pages:
        needed = profile.megabytes + (_kept_mb(profile) if machine.file_system(profile.flow_directory) == "hugetlbfs" else 0)
        pages = needed // 2 + 64
        free = machine.huge_mb()
        yield _check("huge pages", free >= needed, f"{free} MB free, {needed} MB needed",
                     f"sysctl -w vm.nr_hugepages={pages}")
        for node in sorted({machine.nic(port.pci).node for port in pci} - {-1}):
            free = machine.huge_mb(node)
            yield _check(f"huge pages of node {node}", free >= profile.megabytes, f"{free} MB free",
                         f"echo {pages} > /sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages: "
                         "a port's packets lie on its own node", Verdict.WARN)
    if profile.flow_directory:
        kind = machine.file_system(profile.flow_directory)
        yield _check("flow directory", kind in ("tmpfs", "hugetlbfs"), f"{profile.flow_directory} is {kind or 'not mounted'}",
                     "set memory.flow_directory to a hugetlbfs (mount -t hugetlbfs none /dev/hugepages) or a tmpfs; "
                     "on a disk, flows do not outlive a restart", Verdict.WARN)


def _port(machine: Machine, profile: Profile, port: Port) -> Check:
    name, nic = f"port {port.name}", machine.nic(port.pci)
    if port.pci not in machine.names("/sys/bus/pci/devices"):
        there = ", ".join(nic.address for nic in machine.nics()) or "none"
        return Check(name, Verdict.FAIL, f"no device {port.pci}", f"network cards here: {there}; 'keyrail-hw detect' lists them")
    if nic.in_use:
        return Check(name, Verdict.FAIL, f"{port.pci}: {nic.in_use}", "use another port: this one would be lost to the kernel")
    return _check(name, nic.taken, f"{port.pci} ({nic.device}) has driver {nic.driver or 'none'}",
                  f"keyrail-hw bind {profile.file}")


def _vfio(machine: Machine, pci: list[Port]) -> Iterator[Check]:
    loaded = bool(machine.path(f"/sys/bus/pci/drivers/{VFIO}").exists())
    yield _check("vfio-pci", loaded, "loaded" if loaded else "not loaded",
                 "modprobe vfio-pci, and a line vfio-pci in /etc/modules-load.d/keyrail.conf")
    if machine.names("/sys/kernel/iommu_groups"):
        yield Check("IOMMU", Verdict.PASS, "on")
    else:
        unsafe = machine.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y"
        yield Check("IOMMU", Verdict.WARN if unsafe else Verdict.FAIL, "off, vfio without it allowed" if unsafe else "off",
                    "switch VT-d or AMD-Vi on in the firmware and boot with intel_iommu=on iommu=pt; in a virtual machine "
                    "without one: echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
    for port in pci:
        group = f"/sys/bus/pci/devices/{port.pci}/iommu_group/devices"
        drivers = {address: machine.link(f"/sys/bus/pci/devices/{address}/driver") for address in machine.names(group)}
        others = [f"{address} ({driver})" for address, driver in drivers.items()
                  if address != port.pci and driver not in ("", VFIO, "pcieport")]
        if others and machine.nic(port.pci).driver not in KEEP_THEIR_DRIVER:
            yield Check(f"IOMMU group of {port.name}", Verdict.FAIL, f"shared with {', '.join(others)}",
                        "vfio-pci takes whole groups: bind these, too, or put the card into another slot")


def _nodes(machine: Machine, profile: Profile, pci: list[Port]) -> Iterator[Check]:
    nodes = sorted({machine.nic(port.pci).node for port in pci} - {-1})
    if not nodes or not profile.workers:
        return
    of_workers = sorted({machine.node_of(cpu) for cpu in profile.workers})
    yield _check("NUMA", of_workers == nodes, f"ports on node {_numbers(nodes)}, workers on node {_numbers(of_workers)}",
                 f"set worker.cores in {profile.file} to CPUs of node {_numbers(nodes)}: "
                 f"{_numbers([cpu for node in nodes for cpu in machine.cores(node)])}", Verdict.WARN)


def _reverse_path(machine: Machine, profile: Profile) -> Iterator[Check]:
    """Strict (1) drops what blades answer to health checks and pings of VIPs."""
    def value(interface: str) -> int:
        return int(machine.read(f"/proc/sys/net/ipv4/conf/{interface}/rp_filter") or 0)

    for port in profile.ports:
        if port.role != "back":
            continue
        interface = port.kernel_interface
        there = interface in machine.names("/proc/sys/net/ipv4/conf")
        strict = max(value("all"), value(interface if there else "default"))
        yield _check(f"rp_filter of {interface}", strict != 1, f"{strict}",
                     f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface if there else 'default'}.rp_filter=2")
