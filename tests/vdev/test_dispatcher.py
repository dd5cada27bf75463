# SPDX-License-Identifier: Apache-2.0
"""keyrail-dp itself, on veth pairs through AF_XDP, in network namespaces of the test's own: the kernel's ends answer ARP,
neighbour discovery and ping; it comes up again after being killed; it leaves nothing behind. KR_BUILD = build directory."""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.threads import go_round

DP = os.path.join(os.environ.get("KR_BUILD", "build"), "dataplane", "keyrail-dp")
TAG = f"krv{os.getpid()}"
DISPATCH, CLIENT, BLADE = (f"{TAG}-{name}" for name in ("dispatch", "client", "blade"))
PROFILE = """
[worker]
poll = "adaptive"
[memory]
huge_pages = false
megabytes = 256
mbufs = 16384
flows = 65536
moved = 65536
[[port]]
name = "front0"
role = "front"
device = "net_af_xdp0,iface=front0"
kernel_interface = "front"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[[port]]
name = "back0"
role = "back"
device = "net_af_xdp1,iface=back0"
kernel_interface = "back"
addresses = ["10.77.0.1/24", "fd77::1/64"]
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def inside(namespace, *command, check=True):
    return run("nsenter", f"--net=/run/netns/{namespace}", *command, check=check)


def veth(near, near_name, far, far_name, *far_addresses):
    run("ip", "link", "add", near_name, "netns", near, "type", "veth", "peer", "name", far_name, "netns", far)
    for namespace, name in ((near, near_name), (far, far_name)):
        inside(namespace, "ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        inside(namespace, "ip", "link", "set", name, "up")
    for address in far_addresses:
        inside(far, "ip", "addr", "add", address, "dev", far_name, *(["nodad"] if ":" in address else []))


@pytest.fixture(scope="module")
def network():
    try:
        for namespace in (DISPATCH, CLIENT, BLADE):
            run("ip", "netns", "add", namespace)
            inside(namespace, "ip", "link", "set", "lo", "up")
        veth(DISPATCH, "front0", CLIENT, "c0", "192.0.2.10/24", "2001:db8:1::10/64")
        veth(DISPATCH, "back0", BLADE, "back0", "10.77.0.11/24", "fd77::11/64")
        inside(CLIENT, "ip", "route", "add", "default", "via", "192.0.2.1")
        inside(CLIENT, "ip", "-6", "route", "add", "default", "via", "2001:db8:1::1")
        inside(BLADE, "ip", "route", "add", "default", "via", "10.77.0.1")
        inside(BLADE, "ip", "-6", "route", "add", "default", "via", "fd77::1")
        yield
    finally:
        for namespace in (DISPATCH, CLIENT, BLADE):
            run("ip", "netns", "del", namespace, check=False)


class Dispatcher:
    def __init__(self, folder, profile=PROFILE, **environment):
        self.folder = folder
        (folder / "profile.toml").write_text(profile)
        self.log = open(folder / "log", "a+")
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{DISPATCH}", DP, "--profile", str(folder / "profile.toml"),
             "--run-dir", str(folder)], stderr=self.log, stdout=self.log, env={**os.environ, **environment})

    def text(self):
        return (self.folder / "log").read_text()

    def connect(self):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.settimeout(5)
        peer.connect(str(self.folder / "dp.sock"))
        return peer

    def wait_ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.text()
            try:
                self.connect().close()
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError("not ready: " + self.text())

    def wait_for(self, words):
        deadline = time.monotonic() + 20
        while words not in self.text():
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.01)

    def worker(self):
        """Its thread, as DPDK names it."""
        names = ("lcore-worker-1", "rte-worker-1", "dpdk-worker1")
        (thread,) = (int(task.name) for task in Path(f"/proc/{self.process.pid}/task").iterdir()
                     if (task / "comm").read_text().strip() in names)
        return thread

    def end(self, how):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        self.log.close()
        return code


@pytest.fixture
def dispatcher(network, tmp_path):
    started = Dispatcher(tmp_path)
    try:
        yield started.wait_ready()
    finally:
        started.end(signal.SIGKILL)


def pings(namespace, address):
    """Answered out of three. The first may be lost while addresses are resolved."""
    result = inside(namespace, "ping", "-c3", "-i0.2", "-W2", address, check=False)
    return sum("bytes from" in line for line in result.stdout.splitlines())


def all_ends_answer():
    ends = ((CLIENT, "192.0.2.1"), (CLIENT, "2001:db8:1::1"), (BLADE, "10.77.0.1"), (BLADE, "fd77::1"))
    return {address: pings(namespace, address) for namespace, address in ends}


def test_both_ends_answer(dispatcher):
    assert all(count >= 2 for count in all_ends_answer().values())
    neighbours = inside(CLIENT, "ip", "neigh", "show", "192.0.2.1").stdout
    mac = inside(DISPATCH, "ip", "-br", "link", "show", "front0").stdout.split()[2]
    assert mac in neighbours  # the TAP has the MAC of the wire


def test_forwards_between_networks(dispatcher):
    """Unresolved at first (the kernel forwards and resolves), then by the worker; either way it arrives."""
    assert pings(CLIENT, "10.77.0.11") >= 2
    assert pings(BLADE, "192.0.2.10") >= 2
    assert pings(CLIENT, "fd77::11") >= 2
    assert pings(BLADE, "2001:db8:1::10") >= 2


def test_large_packets_cross(dispatcher):
    result = inside(CLIENT, "ping", "-c3", "-i0.2", "-W2", "-s1472", "-Mdo", "10.77.0.11", check=False)
    assert result.stdout.count("bytes from") >= 2, result.stdout


def test_clean_stop_leaves_nothing(dispatcher):
    assert dispatcher.end(signal.SIGTERM) == 0, dispatcher.text()
    links = inside(DISPATCH, "ip", "-o", "link").stdout
    assert "front:" not in links and "back:" not in links
    assert "xdp" not in links
    assert not os.path.exists(dispatcher.folder / "dp.sock")


def test_starts_again_after_a_kill(dispatcher):
    dispatcher.end(signal.SIGKILL)
    assert os.path.exists(dispatcher.folder / "dp.sock")  # stale, as is the XDP program on the interfaces
    again = Dispatcher(dispatcher.folder)
    try:
        again.wait_ready()
        assert all(count >= 2 for count in all_ends_answer().values())
        assert again.end(signal.SIGTERM) == 0
    finally:
        again.end(signal.SIGKILL)


@pytest.fixture
def memory_folder():
    """Not on a disk: flows outlive a process there."""
    with tempfile.TemporaryDirectory(prefix="keyrail-dp-", dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def service_manager():
    """Somebody who would start it again, and need not say what he hears."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{TAG}-notify")
        yield f"@{TAG}-notify"


def test_a_worker_that_stands_still_is_told_of_and_the_service_ends(network, memory_folder, service_manager):
    """Its code is changed where it is, so that it goes round in one instruction: nothing in keyrail-dp is made for this."""
    started = Dispatcher(memory_folder, PROFILE.replace("adaptive", "busy"), NOTIFY_SOCKET=service_manager)
    again = None
    try:
        started.wait_ready()
        time.sleep(1)  # some looks
        assert started.process.poll() is None, "it moves, and was ended: " + started.text()
        began = time.monotonic()
        go_round(started.worker(), DP)
        started.wait_for("has ended no turn")
        told = time.monotonic() - began
        assert started.process.wait(timeout=20) == 1, started.text()
        print(f"seen and told after {told:.2f} s, ended after {time.monotonic() - began:.2f} s")
        words = started.text()
        assert "worker 0 has ended no turn for 750 ms; it is in" in words
        calls = re.findall(r"keyrail-dp\+(0x[0-9a-f]+)", words)
        assert "keyrail::Worker::run" in run("addr2line", "-Cfpie", DP, *calls).stdout, words
        again = Dispatcher(memory_folder)
        again.wait_ready()
        assert "go on" in again.text().removeprefix(words)
    finally:
        started.end(signal.SIGKILL)
        if again:
            again.end(signal.SIGKILL)


def test_by_hand_the_others_go_on_beside_a_worker_that_stands_still(network, memory_folder):
    """Nobody would start it again."""
    started = Dispatcher(memory_folder, PROFILE.replace("adaptive", "busy"), NOTIFY_SOCKET="")
    try:
        started.wait_ready()
        go_round(started.worker(), DP)
        started.wait_for("has ended no turn")
        time.sleep(1)
        assert started.process.poll() is None and started.text().count("has ended no turn") == 1
    finally:
        started.end(signal.SIGKILL)


def test_a_second_one_is_refused(dispatcher, tmp_path_factory):
    second = Dispatcher(dispatcher.folder)
    assert second.process.wait(timeout=20) == 1
    assert "another keyrail-dp uses" in dispatcher.text()
    elsewhere = Dispatcher(tmp_path_factory.mktemp("second"))
    assert elsewhere.process.wait(timeout=20) == 1
    assert "port front0" in elsewhere.text()
    assert pings(CLIENT, "192.0.2.1") >= 2  # the first goes on


def test_mistakes_are_explained(network, tmp_path):
    wrong = Dispatcher(tmp_path, PROFILE.replace("mbufs =", "mbfus ="))
    assert wrong.process.wait(timeout=20) == 1
    assert "profile.toml:7: unknown key 'mbfus'" in wrong.text()
    missing = Dispatcher(tmp_path, PROFILE.replace("iface=back0", "iface=back9"))
    assert missing.process.wait(timeout=20) == 1
    assert "port back0 (net_af_xdp1,iface=back9): interface 'back9' cannot be brought up" in missing.text()
    assert "front:" not in inside(DISPATCH, "ip", "-o", "link").stdout
    huge = Dispatcher(tmp_path, PROFILE.replace("huge_pages = false", "huge_pages = true").replace("256", "1000000"))
    assert huge.process.wait(timeout=20) == 1
    assert "sysctl -w vm.nr_hugepages=" in huge.text()
