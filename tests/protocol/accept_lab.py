# SPDX-License-Identifier: Apache-2.0
"""A client, a dispatcher of our own and a blade with the accept program, in network namespaces."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from cookie_dispatcher import Dispatcher
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
        words = self.on("blade", ACCEPT_TOOL, "counters", self.bpffs).stdout.split()
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
