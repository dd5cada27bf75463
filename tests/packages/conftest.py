# SPDX-License-Identifier: Apache-2.0
"""Packages, made once; two machines to install them on, with a client's network between: client -- dispatcher -- blade."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/lib"))

from common.debian import own_release  # noqa: E402
from common.paths import ROOT  # noqa: E402
from common.shell import run  # noqa: E402
from lab.namespaces import wait_until  # noqa: E402
from package.build import build_on  # noqa: E402
from package.machine import Machine, with_dependencies  # noqa: E402

RELEASE = os.environ.get("KR_RELEASE") or own_release()  # of the machines
VIP, NAME = "198.51.100.1", "www.keyrail.test"
BLOCK = re.compile(r"^```\n# (?P<machine>dispatcher|blade)\n(?P<commands>.*?)^```", re.MULTILINE | re.DOTALL)
# In place of a profile's network cards: the machines' own interfaces, and little memory.
PROFILE = """
[worker]
count = 2
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
device = "net_af_packet0,iface=front0,qpairs=2"
kernel_interface = "front"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[[port]]
name = "back0"
role = "back"
device = "net_af_packet1,iface=back0,qpairs=2"
kernel_interface = "back"
addresses = ["10.77.0.1/24", "fd77::1/64"]
"""
SITE = f"""
server {{
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name {NAME};
    ssl_certificate /etc/ssl/site.pem;
    ssl_certificate_key /etc/ssl/site.key;
    root /srv;
    add_header X-Resumed $ssl_session_reused always;
    location = / {{ return 200 "here\\n"; }}
}}
"""
BIG = 8_000_000
CAP_SYS_RESOURCE = 24


def commands_of_the_readme(machine: str) -> list[list[str]]:
    """Its code blocks for this machine, as lines."""
    blocks = [found["commands"].splitlines() for found in BLOCK.finditer((ROOT / "README.md").read_text())
              if found["machine"] == machine]
    assert blocks, f"README.md has no commands for the {machine}"
    return blocks


@dataclass
class Chassis:
    dispatcher: Machine
    blade: Machine
    client: int  # a process in the client's network
    scratch: Path
    said: dict[str, str] = field(default_factory=dict)  # command -> what it said

    def at_client(self, *command: str, **how: object) -> subprocess.CompletedProcess[str]:
        return run([*self.client_network(), *command], check=False, **how)  # type: ignore[arg-type]

    def client_network(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.client}/ns/net"]

    def connect(self, session: Path, version: str = "1.3") -> str:
        """A connection that brings the session, if there is one, and keeps the new one: "new" or "resumed"; else what failed."""
        before = ["-sess_in", str(session)] if session.exists() else []
        done = self.at_client("openssl", "s_client", "-connect", f"{VIP}:443", "-servername", NAME, "-CAfile", str(self.scratch / "site.pem"),
                              "-verify_return_error", "-ign_eof", f"-tls{version.replace('.', '_')}", "-sess_out", str(session), *before,
                              stdin=f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n", timeout=20)
        if "here" not in done.stdout:
            return done.stdout + done.stderr
        return "resumed" if "\nReused, " in done.stdout else "new"

    def download(self, seconds: int) -> "subprocess.Popen[str]":
        """A file, so slowly that it takes so long."""
        return subprocess.Popen([*self.client_network(), "curl", "--silent", "--show-error", "--cacert", self.scratch / "site.pem",
                                 "--resolve", f"{NAME}:443:{VIP}", "--limit-rate", str(BIG // seconds), "--output", "-",
                                 f"https://{NAME}/big"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def whole(self, download: "subprocess.Popen[str]") -> bool:
        out, words = download.communicate(timeout=120)
        assert download.returncode == 0, words
        return out == self.blade.inside("/srv/big").read_bytes()


def _link(near: int, near_name: str, far: int, far_name: str) -> None:
    run(["ip", "link", "add", near_name, "netns", str(near), "type", "veth", "peer", "name", far_name, "netns", str(far)])
    for pid, name in ((near, near_name), (far, far_name)):
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        # Frames are taken as they are: checksums must be whole.
        run([*inside, "ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])
        run([*inside, "ip", "link", "set", name, "up"])


def _addresses(pid: int, device: str, *addresses: str) -> None:
    for address in addresses:
        run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "address", "add", address, "dev", device,
             *(["nodad"] if ":" in address else [])])


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    made = os.environ.get("KR_PACKAGES")  # a directory with them
    return {package.name.split("_")[0]: package for package in (Path(made).glob("*.deb") if made else build_on(RELEASE))}


@pytest.fixture(scope="session")
def root(packages: dict[str, Path]) -> Path:
    return with_dependencies([packages["keyrail-dispatcher"], packages["keyrail-blade"]], RELEASE)


@pytest.fixture(scope="session")
def chassis(packages: dict[str, Path], root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chassis]:
    """As the README sets it up."""
    with ExitStack() as stack:
        scratch = tmp_path_factory.mktemp("client")
        client = stack.enter_context(subprocess.Popen(["unshare", "--net", "sleep", "infinity"]))
        stack.callback(client.kill)
        dispatcher = stack.enter_context(Machine("dispatcher", root))
        blade = stack.enter_context(Machine("blade", root))
        made = Chassis(dispatcher, blade, client.pid, scratch)
        _link(client.pid, "c0", dispatcher.init, "front0")
        _link(dispatcher.init, "back0", blade.init, "back0")
        _addresses(client.pid, "c0", "192.0.2.10/24", "2001:db8:1::10/64")
        _addresses(blade.init, "back0", "10.77.0.11/24", "fd77::11/64")
        run([*made.client_network(), "ip", "route", "add", "default", "via", "192.0.2.1"])
        _site(blade, scratch)
        for machine, name in ((dispatcher, "keyrail-dispatcher"), (blade, "keyrail-blade")):
            machine.write(f"/root/{packages[name].name}", packages[name].read_bytes())
        for machine, units in ((dispatcher, ("keyrail-dp", "keyraild")), (blade, ("keyrail-agent",))):
            _let_use_limits(machine, units)
        _as_the_readme_says(made)
        yield made


def _let_use_limits(machine: Machine, units: Sequence[str]) -> None:
    """The units have LimitMEMLOCK=infinity, keyraild's LimitRTPRIO=, too. Where whoever runs the tests may not raise limits (a container
    without CAP_SYS_RESOURCE), systemd cannot either, and to lock memory and to be urgent takes capabilities."""
    effective = int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")), 16)
    if effective >> CAP_SYS_RESOURCE & 1:
        return
    for unit in units:
        machine.sh(f"mkdir -p /run/systemd/system/{unit}.service.d")
        machine.write(f"/run/systemd/system/{unit}.service.d/limits.conf", "[Service]\nCapabilityBoundingSet=CAP_IPC_LOCK CAP_SYS_NICE\n")


def _site(blade: Machine, scratch: Path) -> None:
    """A server as anybody has one; the others, which would want the same ports, rest."""
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", scratch / "site.key",
         "-out", scratch / "site.pem", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:{VIP}"])
    for name in ("site.pem", "site.key"):
        blade.write(f"/etc/ssl/{name}", (scratch / name).read_bytes())
    blade.write("/etc/nginx/conf.d/site.conf", SITE)
    blade.sh(f"systemctl disable --now --quiet apache2 haproxy; head -c {BIG} /dev/urandom >/srv/big; systemctl restart nginx")


def _as_the_readme_says(made: Chassis) -> None:
    first, enrolling = commands_of_the_readme("dispatcher")
    for command in first:
        if command.startswith("cp /usr/share/keyrail/profiles/"):
            made.dispatcher.sh(command)
            made.dispatcher.write("/etc/keyrail/profile.toml", PROFILE)  # "change the addresses"
            continue
        made.said[command] = made.dispatcher.sh(f"cd /root; {command}")
    token = made.dispatcher.sh(enrolling[0] + " 2>/dev/null")
    for block in commands_of_the_readme("blade"):
        for command in block:
            # A kernel before 6.9 cannot bind late: said, and no failure.
            late = command == "keyrail-agent --check"
            made.said[command] = made.blade.sh(f"cd /root; {command}{' || [ $? = 3 ]' if late else ''}",
                                               stdin=token if "join" in command else "")
    assert wait_until(lambda: made.connect(made.scratch / "first") in ("new", "resumed"), 20, 0.5), \
        f"{made.connect(made.scratch / 'first')}\n{made.dispatcher.journal()}\n{made.blade.journal()}"
