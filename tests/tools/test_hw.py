# SPDX-License-Identifier: Apache-2.0
"""keyrail-hw on made-up machines: sysfs and procfs as a tree of files, with a kernel that moves drivers as Linux does."""

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.paths import ROOT

sys.path.insert(0, str(ROOT / "hw"))

from keyrail_hw import binding, detect, preflight, profile  # noqa: E402  (their folder is known only now)
from keyrail_hw.machine import HardwareError, Machine, cpus  # noqa: E402
from keyrail_hw.preflight import Verdict  # noqa: E402

PROGRAM = ROOT / "hw/keyrail-hw"
FLAGS = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 aes avx2 constant_tsc nonstop_tsc"


class Kernel(Machine):
    """Moves drivers when somebody writes where Linux would listen. `natural`: which driver it chooses itself."""

    def __init__(self, root: Path, natural: dict[str, str]) -> None:
        super().__init__(root)
        self.natural, self.written = natural, list[str]()

    def write(self, name: str, text: str) -> None:
        super().write(name, text)
        self.written.append(f"{name.removeprefix('/sys/bus/pci/')}: {text.strip()}")
        if name.endswith("/driver/unbind"):
            self.path(f"/sys/bus/pci/devices/{text}/driver").unlink()
        if name.endswith("/drivers_probe"):
            driver = self.read(f"/sys/bus/pci/devices/{text}/driver_override") or self.natural[text]
            if driver in self.names("/sys/bus/pci/drivers"):
                self.path(f"/sys/bus/pci/devices/{text}/driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")


@dataclass
class Builder:
    root: Path
    natural: dict[str, str] = field(default_factory=dict)

    def file(self, name: str, text: str | int) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def folder(self, name: str) -> Path:
        path = self.root / name.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def link(self, name: str, to: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(to)

    def base(self) -> "Builder":
        """Two nodes of four cores with two threads each; 8 to 15 are the second threads."""
        self.file("/proc/cpuinfo", f"processor : 0\nflags\t\t: {FLAGS}")
        self.file("/proc/sys/kernel/osrelease", "6.12.9-amd64")
        self.file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
        self.file("/sys/devices/system/cpu/online", "0-15")
        self.file("/sys/devices/system/cpu/isolated", "5-7")
        for node, listed in enumerate(("0-3,8-11", "4-7,12-15")):
            self.file(f"/sys/devices/system/node/node{node}/cpulist", listed)
            self.file(f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/free_hugepages", 1024)
        self.file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", 2048)
        for cpu in range(16):
            self.file(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 8},{cpu % 8 + 8}")
        self.file("/proc/mounts", "/ / ext4 rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw 0 0\ntmpfs /run tmpfs rw 0 0")
        self.file("/proc/net/route", "Iface\tDestination\tGateway\tFlags")
        self.file("/proc/net/if_inet6", "")
        for interface, value in (("all", 0), ("default", 2)):
            self.file(f"/proc/sys/net/ipv4/conf/{interface}/rp_filter", value)
        self.folder("/sys/kernel/iommu_groups/7")
        self.file("/sys/bus/pci/drivers_probe", "")
        for driver in ("vfio-pci", "ixgbe", "mlx5_core", "virtio-pci"):
            self.folder(f"/sys/bus/pci/drivers/{driver}")
        return self

    def nic(self, address: str, interface: str = "", driver: str = "ixgbe", node: int = 0, speed: int = 10000,
            virtio: str = "") -> None:
        bus = f"/sys/bus/pci/devices/{address}"
        real = f"/sys/devices/pci0000:00/0000:00:01.0/{address}"
        self.folder(real)
        self.link(bus, f"../../../devices/pci0000:00/0000:00:01.0/{address}")
        for name, value in (("class", "0x020000"), ("vendor", "0x8086"), ("device", "0x1572"), ("numa_node", node),
                            ("driver_override", "")):
            self.file(f"{bus}/{name}", value)
        if driver:
            self.link(f"{bus}/driver", f"../../../../bus/pci/drivers/{driver}")
            self.file(f"/sys/bus/pci/drivers/{driver}/unbind", "")
        self.natural[address] = driver
        if interface:
            behind = "/".join(filter(None, (real, virtio, "net", interface)))
            self.file(f"{behind}/speed", speed)
            self.file(f"{behind}/address", "02:00:00:00:00:01")
            self.link(f"/sys/class/net/{interface}", "../.." + behind.removeprefix("/sys"))
        self.group(address, address)

    def group(self, address: str, *members: str) -> None:
        for member in members:
            self.folder(f"/sys/bus/pci/devices/{address}/iommu_group/devices/{member}")

    def above(self, interface: str, upper: str) -> None:
        self.folder(f"/sys/class/net/{interface}/upper_{upper}")
        self.folder(f"/sys/class/net/{upper}")

    def route(self, interface: str, destination: str = "00000000") -> None:
        with (self.root / "proc/net/route").open("a") as file:
            file.write(f"{interface}\t{destination}\t0102A8C0\t0003\n")

    @property
    def machine(self) -> Kernel:
        return Kernel(self.root, self.natural)


@pytest.fixture
def made(tmp_path: Path) -> Builder:
    """A management port and two cards of two ports, one on each node."""
    builder = Builder(tmp_path).base()
    builder.nic("0000:00:03.0", "eth0", "virtio-pci", -1, 1000, virtio="virtio0")
    builder.route("eth0")
    for number, address in enumerate(("0000:3b:00.0", "0000:3b:00.1")):
        builder.nic(address, f"fast{number}", node=1, speed=25000)
    for number, address in enumerate(("0000:18:00.0", "0000:18:00.1")):
        builder.nic(address, f"slow{number}", node=0, speed=10000)
    return builder


def written(made: Builder, text: str) -> profile.Profile:
    file = made.root / "profile.toml"
    file.write_text(text)
    return profile.read(file)


def detected(made: Builder, **wanted: str | int) -> profile.Profile:
    return written(made, detect.profile(made.machine, detect.Wanted(**wanted)))  # type: ignore[arg-type]


def checks(made: Builder, of: profile.Profile) -> dict[str, preflight.Check]:
    found = [*preflight.of_machine(made.machine), *preflight.of_profile(made.machine, of)]
    assert len({check.name for check in found}) == len(found)
    assert all(bool(check.fix) == (check.verdict != Verdict.PASS) for check in found), "whoever fails is told how to mend it"
    return {check.name: check for check in found}


def not_passed(made: Builder, of: profile.Profile) -> dict[str, Verdict]:
    return {name: check.verdict for name, check in checks(made, of).items() if check.verdict != Verdict.PASS}


def test_lists_of_cpus() -> None:
    assert cpus("0-3,8\n") == [0, 1, 2, 3, 8] and cpus("") == []


def test_the_fastest_two_ports_of_one_node_and_its_cores(made: Builder) -> None:
    text = detect.profile(made.machine, detect.Wanted())
    made_of = tomllib.loads(text)
    assert [(port["role"], port["device"]) for port in made_of["port"]] == [("front", "0000:3b:00.0"), ("back", "0000:3b:00.1")]
    assert made_of["worker"] == {"count": 3, "cores": "0@4,1@5,2@6,3@7", "poll": "busy"}, "node 1, its isolated cores"
    assert "not used: 0000:00:03.0" in text and "eth0 has the default route" in text


def test_without_isolated_cores_all_of_the_node_but_one(made: Builder) -> None:
    made.file("/sys/devices/system/cpu/isolated", "")
    assert detected(made, front="slow0", back="slow1").workers == (1, 2, 3)
    assert detected(made, front="slow0", back="slow1", workers=2).workers == (1, 2)
    with pytest.raises(HardwareError, match="there are 3 cores"):
        detected(made, front="slow0", workers=4)


@pytest.mark.parametrize("how", ["default route", "address", "ipv6", "ipv6 route", "vlan", "bond", "above", "master",
                                 "virtual functions", "container"])
def test_a_port_that_the_kernel_uses_is_never_taken(made: Builder, how: str) -> None:
    match how:
        case "default route":
            made.route("fast0")
        case "address":
            made.route("fast0", "0002A8C0")
        case "ipv6":
            made.file("/proc/net/if_inet6", "20010db8000000000000000000000001 03 40 00 80 fast0\n"
                      "fe800000000000000000000000000001 04 40 20 80 fast1")
        case "ipv6 route":
            made.file("/proc/net/ipv6_route", f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000001 00000000 00000003 "
                      "   fast0")
        case "above":
            made.above("fast0", "macvtap0")
        case "virtual functions":
            made.file("/sys/bus/pci/devices/0000:3b:00.0/sriov_numvfs", 2)
        case "container":
            (made.root / "sys/class/net/fast0").unlink()
        case "vlan":
            made.above("fast0", "fast0.5")
            made.route("fast0.5", "0002A8C0")
        case "bond":
            made.above("fast0", "bond0")
            made.above("bond0", "bond0.7")
            made.route("bond0.7")
        case "master":
            made.folder("/sys/class/net/bond1")
            made.link("/sys/class/net/fast0/master", "../bond1")
    chosen = detected(made)
    assert "0000:3b:00.0" not in [port.pci for port in chosen.ports]
    with pytest.raises(HardwareError, match="Keyrail would take it away from the kernel"):
        detected(made, front="0000:3b:00.0")
    forced = written(made, '[[port]]\nname = "front0"\nrole = "front"\ndevice = "0000:3b:00.0"\n')
    assert checks(made, forced)["port front0"].verdict == Verdict.FAIL
    machine = made.machine
    with pytest.raises(HardwareError, match="stays with the kernel"):
        list(binding.bind(machine, forced))
    assert not machine.written


def test_too_few_ports(tmp_path: Path) -> None:
    builder = Builder(tmp_path).base()
    builder.nic("0000:3b:00.0", "eth1")
    with pytest.raises(HardwareError, match="two network ports that nobody uses are needed:\n  0000:3b:00.0"):
        detected(builder)
    with pytest.raises(HardwareError, match="no such network port"):
        detected(builder, front="0000:99:00.0")


def test_one_port_cannot_be_both(made: Builder) -> None:
    with pytest.raises(HardwareError, match="cannot be front and back"):
        detected(made, front="fast0", back="3b:00.0")


def test_bound_and_put_back(made: Builder) -> None:
    of, machine = detected(made), made.machine
    assert list(binding.bind(machine, of)) == ["0000:3b:00.0: ixgbe -> vfio-pci", "0000:3b:00.1: ixgbe -> vfio-pci"]
    assert [machine.nic(port.pci).driver for port in of.ports] == ["vfio-pci"] * 2
    assert machine.nic("0000:18:00.0").driver == "ixgbe"
    before = len(machine.written)
    assert list(binding.bind(machine, of)) == [f"{port.pci}: has vfio-pci already" for port in of.ports]
    assert len(machine.written) == before, "nothing happens twice"
    assert not not_passed(made, of)
    assert list(binding.unbind(machine, of)) == ["0000:3b:00.0: vfio-pci -> ixgbe", "0000:3b:00.1: vfio-pci -> ixgbe"]
    assert list(binding.unbind(machine, of)) == [f"{port.pci}: has ixgbe, not vfio-pci" for port in of.ports]
    assert json.loads(machine.read(binding.STATE)) == {}
    assert machine.read("/sys/bus/pci/devices/0000:3b:00.0/driver_override") == ""


def test_what_is_no_network_card_is_never_taken(made: Builder) -> None:
    """A wrong digit: the root disk."""
    made.nic("0000:01:00.0", driver="nvme")
    made.file("/sys/bus/pci/devices/0000:01:00.0/class", "0x010802")
    machine = made.machine
    of = written(made, '[[port]]\nname = "front0"\nrole = "front"\ndevice = "0000:01:00.0"\n')
    with pytest.raises(HardwareError, match="is no network card"):
        list(binding.bind(machine, of))
    assert not machine.written


def test_a_card_that_keeps_its_driver(made: Builder) -> None:
    made.nic("0000:5e:00.0", "mlx0", "mlx5_core", node=1, speed=100000)
    made.nic("0000:5e:00.1", "mlx1", "mlx5_core", node=1, speed=100000)
    of, machine = detected(made), made.machine
    assert list(binding.bind(machine, of)) == [f"{port.pci}: stays with mlx5_core, DPDK runs beside it" for port in of.ports]
    assert not machine.written and not not_passed(made, of)


def test_nothing_is_touched_when_one_of_them_cannot(made: Builder) -> None:
    of, machine = detected(made), made.machine
    made.route("fast1")
    with pytest.raises(HardwareError, match="fast1 has the default route"):
        list(binding.bind(machine, of))
    (made.root / "sys/bus/pci/drivers/vfio-pci").rmdir()
    with pytest.raises(HardwareError, match="modprobe vfio-pci"):
        list(binding.bind(machine, detected(made, front="slow0", back="slow1")))
    assert not machine.written


def test_a_driver_that_does_not_take_the_card(made: Builder) -> None:
    """vfio-pci without an IOMMU."""
    of, machine = detected(made), made.machine
    machine.names = lambda folder: [] if folder == "/sys/bus/pci/drivers" else Machine.names(machine, folder)  # type: ignore[method-assign]
    with pytest.raises(HardwareError, match="has no driver where vfio-pci was wanted: 'dmesg' says why"):
        list(binding.bind(machine, of))
    assert json.loads(machine.read(binding.STATE)) == {"0000:3b:00.0": "ixgbe"}, "how it was is not forgotten"


PROFILE = """[worker]
cores = "0@4,1@5,2@6"
[memory]
megabytes = 1792
flow_directory = "/dev/hugepages"
[[port]]
name = "front0"
role = "front"
device = "3b:00.0"
kernel_interface = "front"
[[port]]
name = "back0"
role = "back"
device = "0000:3b:00.1"
kernel_interface = "back"
"""
FAULTS: dict[str, tuple[str, str | int, dict[str, Verdict]]] = {
    "an old CPU": ("/proc/cpuinfo", "flags : pni ssse3 constant_tsc nonstop_tsc", {"cpu": Verdict.FAIL, "cpu speed": Verdict.WARN}),
    "an old kernel": ("/proc/sys/kernel/osrelease", "5.10.0-30-amd64", {"kernel": Verdict.FAIL}),
    "a slow clock": ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", {"clock source": Verdict.WARN}),
    "a governor": ("/sys/devices/system/cpu/cpu5/cpufreq/scaling_governor", "powersave", {"frequency": Verdict.WARN}),
    "shared CPUs": ("/sys/devices/system/cpu/isolated", "6", {"isolated CPUs": Verdict.WARN}),
    "a CPU that is not there": ("/sys/devices/system/cpu/online", "0-5", {"worker CPUs": Verdict.FAIL}),
    "no huge pages": ("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", 895, {"huge pages": Verdict.FAIL}),
    "huge pages elsewhere": ("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", 10,
                             {"huge pages of node 1": Verdict.WARN}),
    "a disk": ("/proc/mounts", "/ / ext4 rw 0 0", {"flow directory": Verdict.WARN}),
    "a strict rp_filter": ("/proc/sys/net/ipv4/conf/back/rp_filter", 1, {"rp_filter of back": Verdict.FAIL}),
    "a strict rp_filter by default": ("/proc/sys/net/ipv4/conf/default/rp_filter", 1, {"rp_filter of back": Verdict.FAIL}),
    "another node": ("/sys/bus/pci/devices/0000:3b:00.0/numa_node", 0, {"NUMA": Verdict.WARN}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_requirement_is_looked_at(made: Builder, fault: str) -> None:
    of = written(made, PROFILE)
    list(binding.bind(made.machine, of))
    assert not not_passed(made, of)
    name, text, expected = FAULTS[fault]
    made.file(name, text)
    assert not_passed(made, of) == expected


def test_what_a_port_needs(made: Builder) -> None:
    of = written(made, PROFILE)
    assert not_passed(made, of) == {"port front0": Verdict.FAIL, "port back0": Verdict.FAIL}, "not bound yet"
    list(binding.bind(made.machine, of))
    (made.root / "sys/kernel/iommu_groups/7").rmdir()
    assert not_passed(made, of) == {"IOMMU": Verdict.FAIL}
    made.file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y")
    assert not_passed(made, of) == {"IOMMU": Verdict.WARN}
    made.folder("/sys/kernel/iommu_groups/7")
    made.group("0000:3b:00.0", "0000:18:00.0")
    assert not_passed(made, of) == {"IOMMU group of front0": Verdict.FAIL}
    gone = written(made, PROFILE.replace("3b:00.1", "3b:00.7"))
    assert "network cards here: 0000:00:03.0" in checks(made, gone)["port back0"].fix


@pytest.mark.parametrize("text, complaint", [
    ("[[port]]\nname = 5", "this is no profile"), ("port = 1", "this is no profile"), ("[worker", "profile.toml"),
    ('[worker]\ncores = "x@y"\n[[port]]\ndevice = 7', "this is no profile")])
def test_a_bad_profile(made: Builder, text: str, complaint: str) -> None:
    with pytest.raises(HardwareError, match=complaint):
        written(made, text)


def run(made: Builder, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, "--root", made.root, *words], capture_output=True, text=True, check=False, timeout=60)


def test_the_program(made: Builder) -> None:
    file = made.root / "hw.toml"
    assert run(made, "detect", "--out", file).stdout == f"wrote {file}\n"
    again = run(made, "detect", "--out", file)
    assert again.returncode == 1 and "File exists" in again.stderr, "no profile is lost"
    assert len(run(made, "list").stdout.splitlines()) == 5
    ready = run(made, "preflight", file)
    assert ready.returncode == 1 and f"-> keyrail-hw bind {file}" in ready.stdout
    answer = json.loads(run(made, "preflight", file, "--json").stdout)
    assert answer["ready"] is False and {check["verdict"] for check in answer["checks"]} == {"pass", "fail"}
    assert run(made, "preflight").returncode == 0, "the machine alone"
    assert "error" in json.loads(run(made, "bind", "/none.toml", "--json").stdout)
    assert run(made, "nonsense").returncode == run(made).returncode == 2
    help_text = run(made, "--help").stdout
    assert all(word in help_text for word in ("list", "detect", "preflight", "bind", "unbind"))


def test_the_profiles_that_we_ship_are_read() -> None:
    for file in (ROOT / "hw/profiles").glob("*.toml"):
        assert profile.read(file).ports
