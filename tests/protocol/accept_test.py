# SPDX-License-Identifier: Apache-2.0
"""The accept program in a real kernel, with unmodified clients and servers in network namespaces."""

import hashlib
import os
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cookie_dispatcher import Dispatcher, Segment, inside
from tls_server import eventually

ACCEPT_TOOL = os.environ.get("KR_ACCEPT_TOOL", "")
VIP4, VIP6, PORT = "198.51.100.1", "2001:db8:100::1", 443
KEY0, KEY1 = bytes(range(16)), bytes(range(100, 116))
EITHER = pytest.mark.parametrize("vip", [VIP4, VIP6])
SIZE = 5 << 20


def run(*words: object, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done


class Lab:
    """client - dispatcher (ours) - blade; nginx on the blade, plain HTTP: what is in the segments does not matter."""

    def __init__(self) -> None:
        self.names = {role: f"krt{os.getpid()}-{role}" for role in ("client", "dispatch", "blade")}
        self._directory = tempfile.TemporaryDirectory(prefix="keyrail-accept-", dir="/dev/shm")
        self.directory = Path(self._directory.name)
        self.directory.chmod(0o755)
        self.bpffs = self.directory / "bpf"
        self.server: subprocess.Popen[bytes] | None = None
        self.dispatcher: Dispatcher | None = None
        try:
            self._up()
        except BaseException:
            self.close()
            raise

    def on(self, role: str, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run("nsenter", f"--net=/run/netns/{self.names[role]}", *words, check=check)

    def _up(self) -> None:
        for name in self.names.values():
            run("ip", "netns", "add", name)
        client, dispatch, blade = self.names.values()
        for role, end in ((client, "c0"), (blade, "b0")):
            run("ip", "-n", dispatch, "link", "add", f"d-{end}", "type", "veth", "peer", "name", end, "netns", role)
        for role, links in (("client", ("lo", "c0")), ("dispatch", ("d-c0", "d-b0")), ("blade", ("lo", "b0"))):
            for link in links:
                self.on(role, "ip", "link", "set", link, "up")
                if link != "lo":
                    self.on(role, "ethtool", "-K", link, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        self._addresses()
        content = self.directory / "www"
        content.mkdir()
        (content / "big").write_bytes(os.urandom(SIZE))
        self.attach()
        self.start_server()
        self.dispatcher = Dispatcher(dispatch, "d-c0", "d-b0", self._mac("client", "c0"), self._mac("blade", "b0"), PORT)

    def _mac(self, role: str, link: str) -> bytes:
        found = re.search(r"link/ether ([0-9a-f:]+)", self.on(role, "ip", "link", "show", link).stdout)
        assert found
        return bytes.fromhex(found[1].replace(":", ""))

    def _addresses(self) -> None:
        self.on("client", "ip", "address", "add", "192.0.2.10/24", "dev", "c0")
        self.on("client", "ip", "-6", "address", "add", "2001:db8:1::10/64", "dev", "c0", "nodad")
        self.on("blade", "ip", "address", "add", f"{VIP4}/32", "dev", "lo")
        self.on("blade", "ip", "-6", "address", "add", f"{VIP6}/128", "dev", "lo", "nodad")
        for role, link, route4, route6, gateway4, gateway6 in (
                ("client", "c0", "198.51.100.0/24", "2001:db8:100::/64", "192.0.2.1", "2001:db8:1::1"),
                ("blade", "b0", "192.0.2.0/24", "2001:db8:1::/64", "10.0.0.1", "2001:db8:2::1")):
            if role == "blade":
                self.on(role, "ip", "address", "add", "10.0.0.2/24", "dev", link)
                self.on(role, "ip", "-6", "address", "add", "2001:db8:2::2/64", "dev", link, "nodad")
            other = self._mac("dispatch", f"d-{link}").hex(":")
            self.on(role, "ip", "neigh", "replace", gateway4, "lladdr", other, "dev", link)
            self.on(role, "ip", "neigh", "replace", gateway6, "lladdr", other, "dev", link)
            self.on(role, "ip", "route", "add", route4, "via", gateway4, "dev", link)
            self.on(role, "ip", "-6", "route", "add", route6, "via", gateway6, "dev", link)

    def attach(self, key0: bytes | None = KEY0, key1: bytes | None = None) -> None:
        keys = [key.hex() if key else "-" for key in (key0, key1)]
        self.on("blade", ACCEPT_TOOL, "attach", "b0", self.bpffs, *keys, PORT, VIP4, VIP6)

    def counters(self) -> dict[str, int]:
        words = self.on("blade", ACCEPT_TOOL, "counters", "b0", self.bpffs).stdout.split()
        return {key: int(value) for key, value in (word.split("=") for word in words)}

    def start_server(self) -> None:
        config = self.directory / "nginx.conf"
        config.write_text(
            f"daemon off; pid {self.directory}/pid; error_log stderr; worker_processes 2;\n"
            "events { worker_connections 1024; }\nhttp { access_log off; client_max_body_size 100m;\n"
            + "".join(f"{name}_temp_path {self.directory}/{name};\n"
                      for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f"server {{ listen {PORT} reuseport; listen [::]:{PORT} reuseport; root {self.directory}/www;\n"
            "location = / { return 200 hello; }\nlocation /up { client_body_in_file_only on; proxy_pass http://127.0.0.1:8000; } }\n"
            "server { listen 127.0.0.1:8000; location / { return 200; } } }\n")
        self.server = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.names['blade']}", "nginx", "-c", str(config),
                                        "-e", "stderr"], stderr=subprocess.DEVNULL)
        eventually(lambda: f":{PORT}" in self.on("blade", "ss", "-Hltn").stdout, "nginx listens")

    def stop_server(self) -> None:
        if self.server:
            self.server.terminate()
            self.server.wait(10)
            self.server = None

    def curl(self, vip: str, path: str = "/", *extra: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        host = f"[{vip}]" if ":" in vip else vip
        return self.on("client", "curl", "-sS", "--noproxy", "*", "--max-time", 8, f"http://{host}:{PORT}{path}", *extra,
                       check=check)

    def close(self) -> None:
        self.stop_server()
        if self.dispatcher:
            self.dispatcher.close()
        subprocess.run(["umount", self.bpffs], capture_output=True, check=False)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        self._directory.cleanup()


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """The lab, as it was at first."""
    assert shared.dispatcher
    shared.dispatcher.cookies.__init__()
    shared.dispatcher.answers = True
    shared.dispatcher.seen = lambda segment: True
    shared.attach()
    for name in ("timestamps", "sack", "window_scaling"):
        shared.on("client", "sysctl", "-qw", f"net.ipv4.tcp_{name}=1")
    if not shared.server:
        shared.start_server()
    return shared


@EITHER
def test_page(lab: Lab, vip: str) -> None:
    before = lab.counters()["assigned"]
    assert lab.curl(vip).stdout == "hello"
    assert lab.counters()["assigned"] == before + 1


@EITHER
def test_large_files_are_whole(lab: Lab, vip: str) -> None:
    there = (lab.directory / "www/big").read_bytes()
    lab.curl(vip, "/big", "-o", lab.directory / "got")
    assert hashlib.sha256((lab.directory / "got").read_bytes()).digest() == hashlib.sha256(there).digest()
    lab.curl(vip, "/up", "-T", lab.directory / "www/big")
    (kept,) = (lab.directory / "client_body").iterdir()
    assert hashlib.sha256(kept.read_bytes()).digest() == hashlib.sha256(there).digest()
    kept.unlink()


@EITHER
@pytest.mark.parametrize("missing", ["timestamps", "sack", "window_scaling"])
def test_clients_without_an_option(lab: Lab, vip: str, missing: str) -> None:
    lab.on("client", "sysctl", "-qw", f"net.ipv4.tcp_{missing}=0")
    assert lab.curl(vip).stdout == "hello"


@EITHER
def test_wrong_key(lab: Lab, vip: str) -> None:
    lab.dispatcher.cookies.key = KEY1
    before = lab.counters()
    assert lab.curl(vip, "/", "--max-time", 1, check=False).returncode == 28
    after = lab.counters()
    assert after["bad_cookie"] > before["bad_cookie"]
    assert after["assigned"] == before["assigned"]


def test_key_that_is_not_set_matches_nothing(lab: Lab) -> None:
    """Its place in the map is all zero: cookies made with a zero key must not pass."""
    lab.dispatcher.cookies.key, lab.dispatcher.cookies.key_id = bytes(16), 1
    assert lab.curl(VIP4, "/", "--max-time", 1, check=False).returncode == 28


def test_two_keys(lab: Lab) -> None:
    lab.attach(KEY0, KEY1)
    assert lab.curl(VIP4).stdout == "hello"
    lab.dispatcher.cookies.key, lab.dispatcher.cookies.key_id = KEY1, 1
    assert lab.curl(VIP4).stdout == "hello"


@EITHER
def test_native_handshake(lab: Lab, vip: str) -> None:
    lab.dispatcher.answers = False
    before = lab.counters()["assigned"]
    assert lab.curl(vip).stdout == "hello"
    assert lab.counters()["assigned"] == before


@EITHER
def test_no_server_drops_and_the_client_tries_on(lab: Lab, vip: str) -> None:
    lab.stop_server()
    before = lab.counters()["no_listener"]
    answer: list[str] = []
    client = threading.Thread(target=lambda: answer.append(lab.curl(vip).stdout))
    client.start()
    eventually(lambda: lab.counters()["no_listener"] > before, "the segment is dropped, not reset")
    lab.start_server()
    client.join(15)
    assert answer == ["hello"]


def test_stray_segment_without_server_is_reset(lab: Lab) -> None:
    """A bad cookie and no server: the kernel's business."""
    lab.stop_server()
    lab.dispatcher.cookies.key = KEY1
    assert lab.curl(VIP4, "/", check=False).returncode in (7, 52, 56)


@EITHER
def test_connection_that_nobody_has_is_reset_in_the_end(lab: Lab, vip: str) -> None:
    """The cookie stays bad: dropped at first (it could have overtaken the first segment), reset after seconds."""
    lab.dispatcher.cookies.key = KEY1
    before = lab.counters()
    assert lab.curl(vip, "/", check=False).returncode == 56, "reset by the peer, before curl's own 8 s are over"
    after = lab.counters()
    assert after["bad_cookie"] > before["bad_cookie"] and after["stray"] > before["stray"]


def answer_though_first_segment_is_lost(lab: Lab, source_port: int = 0) -> bytes:
    """The first segment is lost once, and a later one arrives at a blade that does not have the connection yet."""
    lost = threading.Event()

    def lose_first_data(segment: Segment) -> bool:
        if segment.flags & 0x02 or lost.is_set():
            return True
        if segment.data:
            lost.set()
        return False  # the bare acknowledgement before it is lost, too

    lab.dispatcher.seen = lose_first_data
    with inside(lab.names["client"]), socket.create_connection((VIP4, PORT), 5, ("", source_port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"GET / HTTP/1.0\r\n")
        assert lost.wait(5)  # before that, the kernel would put the next bytes into the same segment
        client.sendall(b"Host: x\r\n\r\n")
        client.settimeout(5)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    return answer


def test_later_segment_first(lab: Lab) -> None:
    """It is dropped, the connection lives."""
    before = lab.counters()["bad_cookie"]
    assert answer_though_first_segment_is_lost(lab).endswith(b"hello")
    assert lab.counters()["bad_cookie"] > before


def test_later_segment_first_from_a_port_that_had_a_bad_cookie(lab: Lab) -> None:
    """What an earlier connection from the same port left behind says nothing about this one."""
    source_port = 45000
    lab.dispatcher.cookies.key = KEY1
    data = threading.Event()
    lab.dispatcher.seen = lambda segment: data.set() is None if segment.data else True
    with inside(lab.names["client"]), socket.create_connection((VIP4, PORT), 5, ("", source_port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"x")
        assert data.wait(5)
    lab.dispatcher.cookies.key = KEY0
    time.sleep(3.5)  # longer than the program waits before it has a connection reset
    assert answer_though_first_segment_is_lost(lab, source_port).endswith(b"hello")


@EITHER
def test_bare_acknowledgement_is_not_needed(lab: Lab, vip: str) -> None:
    """The dispatcher keeps no state until there are data: it drops the handshake's last segment."""
    dropped: list[int] = []

    def drop_first_ack(segment: Segment) -> bool:
        if dropped or segment.data or segment.flags & 0x02:
            return True
        dropped.append(segment.seq)
        return False

    lab.dispatcher.seen = drop_first_ack
    assert lab.curl(vip).stdout == "hello"
    assert dropped


def test_ip_options(lab: Lab) -> None:
    with inside(lab.names["client"]), socket.socket() as client:
        client.settimeout(5)
        client.setsockopt(socket.IPPROTO_IP, 4, b"\x01\x01\x01\x01")  # IP_OPTIONS: NOPs
        client.connect((VIP4, PORT))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200" in client.recv(4096)


def test_first_round_trip_time(lab: Lab) -> None:
    """The SYN-ACK was sent 300 ms ago, its clock says: the kernel starts with that, not with 0."""
    lab.dispatcher.cookies.clock_behind_ms = 300
    with inside(lab.names["client"]), socket.create_connection((VIP4, PORT), 5) as client:
        client.sendall(b"GE")
        found = eventually(lambda: re.search(r" rtt:([0-9.]+)/", lab.on("blade", "ss", "-Htin", "state", "established",
                                                                        f"sport = :{PORT}").stdout), "a connection")
    assert 290 < float(found[1]) < 400


def test_many_connections_while_the_agent_restarts(lab: Lab) -> None:
    """A restarted agent replaces the program: no connection notices."""
    failures: list[str] = []

    def clients() -> None:
        for _ in range(40):
            done = lab.curl(VIP4, check=False)
            if done.stdout != "hello":
                failures.append(done.stderr)

    threads = [threading.Thread(target=clients) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        lab.attach()
    for thread in threads:
        thread.join()
    assert not failures


def test_other_ports_are_not_touched(lab: Lab) -> None:
    done = lab.on("client", "curl", "-sS", "--noproxy", "*", "--max-time", "5", f"http://{VIP4}:{PORT + 1}/", check=False)
    assert done.returncode == 7, "refused by the blade's kernel"


def test_detach_and_attach(lab: Lab) -> None:
    run(ACCEPT_TOOL, "detach", lab.bpffs)
    ours = {"accept_link", "cookie_keys", "services", "accept_stats"}
    assert not ours & {path.name for path in lab.bpffs.iterdir()}
    assert lab.curl(VIP4, "/", "--max-time", 1, check=False).returncode != 0
    run(ACCEPT_TOOL, "detach", lab.bpffs)
    lab.attach()
    assert lab.curl(VIP4).stdout == "hello"


def test_interface_that_is_not_there(lab: Lab) -> None:
    done = lab.on("blade", ACCEPT_TOOL, "attach", "nope0", lab.bpffs, "-", "-", PORT, check=False)
    assert done.returncode == 1
    assert "no network interface 'nope0'" in done.stderr
