# SPDX-License-Identifier: Apache-2.0
"""The lab on paper: what can be chosen, and every name, address and directory that follows from it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from common.debian import own_release

RUN = Path("/run/keyrail-lab")
SHM = Path("/dev/shm/keyrail-lab")  # tmpfs: sessions must never reach a disk
NETNS = Path("/run/netns")
PREFIX = "krl-"

VIP4, VIP6, PORT = "198.51.100.1", "2001:db8:100::1", 443
SERVER_NAME = "www.keyrail.test"
SERVERS = ("nginx", "haproxy", "apache")
MIXED = "mixed"  # blade1 has the first of them, blade2 the second, and so on
CERTIFICATES = ("rsa2048", "p256")
BINDINGS = ("auto", "late", "early")
MAX_BLADES = 32

FRONT4, FRONT6 = "192.0.2.1", "2001:db8:1::1"
BACK4, BACK6 = "10.77.0.1", "fd77::1"
METRICS = f"{BACK4}:9100"  # for Prometheus
CLIENT4, CLIENT6 = "192.0.2.10", "2001:db8:1::10"
CLIENT4_SECOND = "192.0.2.77"
# What the client has after it "changed networks": prefixes that the dispatcher reaches through the client.
AWAY4, AWAY4_PREFIX = "203.0.113.77", "203.0.113.0/24"
AWAY6, AWAY6_PREFIX = "2001:db8:77::77", "2001:db8:77::/64"

CLIENT, DISPATCH, SWITCH = "client", "dispatch", "switch"
HERE = "here"  # this machine itself, outside the lab's networks
PAGE_PORT = 7480  # on its loopback, unless somebody else has it


@dataclass(frozen=True)
class Options:
    """What `tools/lab up` lets you choose."""

    blades: int = 3
    server: str = "nginx"
    cert: str = "rsa2048"
    plain: bool = False
    bind: str = "auto"
    no_accept: int = 0  # so many blades, from the first, have no accept program, as on a kernel before 6.9
    no_hooks: bool = False  # servers make their own tickets, each blade with a key of its own
    store_mb: int = 64  # for sessions, on each blade
    releases: str = ""  # Debian's, of the first blade, the second ..., by commas; "": this machine's

    def __str__(self) -> str:
        parts = [f"{self.blades} {self.server} blades", f"{self.cert} certificate",
                 "plain layer 4" if self.plain else "session steering"]
        if self.bind != "auto":
            parts.append(f"{self.bind} binding")
        if self.no_accept:
            parts.append(f"{self.no_accept} without accept program")
        if self.no_hooks:
            parts.append("no hooks")
        if self.store_mb != Options.store_mb:
            parts.append(f"stores of {self.store_mb} MB")
        if self.releases:
            parts.append(f"Debian {self.releases}")
        return ", ".join(parts)

    def as_json(self) -> dict[str, int | str | bool]:
        return asdict(self)

    def server_of(self, blade: "Blade") -> str:
        return SERVERS[(blade.id - 1) % len(SERVERS)] if self.server == MIXED else self.server

    def release_of(self, blade: "Blade") -> str:
        """Its programs are those of this release."""
        listed = self.releases.split(",") if self.releases else [own_release()]
        return listed[(blade.id - 1) % len(listed)]


@dataclass(frozen=True)
class Blade:
    id: int

    @property
    def host(self) -> str:
        return f"blade{self.id}"

    @property
    def address4(self) -> str:
        return f"10.77.0.{10 + self.id}"

    @property
    def address6(self) -> str:
        return f"fd77::{10 + self.id}"

    @property
    def store(self) -> Path:
        return SHM / self.host / "store"

    @property
    def bpffs(self) -> Path:
        return directory(self.host) / "bpf"

    @property
    def ticket_key_name(self) -> bytes:
        """Of the tickets that its server makes when it is without our hooks: the start of its key file."""
        return f"keyrail-{self.host}".encode().ljust(16, b"-")

    @property
    def www(self) -> Path:
        """What the blade's server serves, and where uploads go."""
        return directory(self.host) / "www"


def blades(options: Options) -> list[Blade]:
    return [Blade(number) for number in range(1, options.blades + 1)]


def hosts(options: Options) -> list[str]:
    return [CLIENT, DISPATCH, SWITCH, *(blade.host for blade in blades(options))]


def namespace(host: str) -> str:
    return PREFIX + host


def directory(host: str) -> Path:
    return RUN / host


def log_directory(host: str) -> Path:
    return directory(host) / "log"


PKI = RUN / "pki"
WEB_CA = PKI / "web-ca.pem"
WEB_CERTIFICATE = PKI / "web.pem"
WEB_KEY = PKI / "web.key"
WEB_COMBINED = PKI / "web-combined.pem"
CHASSIS_PKI = PKI / "chassis"
CONFIG = directory(DISPATCH) / "keyraild.toml"
PROFILE = directory(DISPATCH) / "profile.toml"
FLOWS = SHM / DISPATCH  # what outlives keyrail-dp, which keeps nothing on a disk: RUN may be on one
CONTROL_SOCKET = directory(DISPATCH) / "keyraild.sock"
DATAPLANE_SOCKET = directory(DISPATCH) / "dp.sock"
PAGE_URL = directory(HERE) / "page.url"
BINARIES = RUN / "bin"
HOOKS = "libkeyrail-tls.so"
