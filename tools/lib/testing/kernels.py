# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels: the lab in a virtual machine with each, its sessions resumed, bound early on 6.1 and late on 6.12.

Not among the parts that tools/test runs by itself: minutes for each kernel, for QEMU computes every instruction here. What is
in the machine is the root that `tools/test --on RELEASE` makes, with its build; a machine's own writes are in its memory. The
kernel comes from its package, and is neither installed nor trusted with this machine's files: it sees them read-only."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.debian import BUILD, RELEASES, own_release, root_of
from common.paths import ROOT
from common.say import say
from common.shell import ToolError, run, tail
from testing import initramfs, releases
from testing.report import Report

PACKAGES = ("qemu-system-x86", "busybox-static")
PROGRAMS = ("dataplane/keyrail-dp", "control/daemon/keyraild", "control/agent/keyrail-agent", "control/cli/keyrail",
            "control/hooks/libkeyrail-tls.so")
PLACE = Path("/var/cache/keyrail/kernels")
# For the root, and for the lab: the root has no modprobe.
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "veth", "tun", "bridge", "8021q", "tcp_diag", "xdp_diag")
MINUTES = 20
SAYS = "keyrail-in-a-machine:"  # what comes behind it is for us


@dataclass(frozen=True)
class Kernel:
    release: str  # of Debian, whose stock kernel it is
    binding: str  # what the lab's service must come to on it


KERNELS = (Kernel("bookworm", "early"), Kernel("trixie", "late"))


def boot_them() -> Report:
    """One test for each kernel: it starts, and all sessions resume in the binding that it can do."""
    _install_packages()
    userland = next(release for release in RELEASES if release != own_release())
    releases.build_in(userland, *PROGRAMS)
    report = Report()
    for kernel in KERNELS:
        complaint = _try(kernel, root_of(userland))
        report.fails(f"kernel of {kernel.release}: {complaint}") if complaint else report.passes()
    return report


def _install_packages() -> None:
    missing = [name for name in PACKAGES if run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name], check=False).stdout
               != "installed"]
    if missing:
        say(f"installing {' '.join(missing)}")
        run(["apt-get", "-y", "-q", "install", "--no-install-recommends", *missing], timeout=900)


def _unpacked(release: str) -> Path:
    """The kernel package's files, newest of its release."""
    words = "apt-cache depends linux-image-amd64"
    if release == own_release():
        listed = run(words.split()).stdout
    else:
        listed = run(releases.inside(root_of(release), words, network=True)).stdout
    name = re.search(r"Depends: (linux-image-\S+)", listed)
    if name is None:
        raise ToolError(f"Debian {release} offers no linux-image-amd64: {tail(listed)}")
    place = PLACE / name[1]
    if place.exists():
        return place
    say(f"fetching {name[1]} of Debian {release}")
    with tempfile.TemporaryDirectory(dir=_made(PLACE)) as scratch:
        script = f"cd /tmp && apt-get download {name[1]} >&2 && cat {name[1]}_*.deb"
        package = Path(scratch) / "kernel.deb"
        command = ["sh", "-c", script] if release == own_release() else releases.inside(root_of(release), script, network=True)
        with package.open("wb") as file:
            if subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=False).returncode != 0:
                raise ToolError(f"{name[1]} could not be fetched")
        run(["dpkg-deb", "-x", package, Path(scratch) / "files"])
        (Path(scratch) / "files").rename(place)
    return place


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


INIT = """#!/bin/busybox sh
bb=/bin/busybox
$bb mkdir -p /proc /sys /dev /lower /upper /root
$bb mount -t proc proc /proc; $bb mount -t sysfs sys /sys; $bb mount -t devtmpfs dev /dev
for module in $($bb cat /modules/order); do $bb insmod /modules/$module || echo "{says} no module $module"; done
$bb mount -t tmpfs -o size=75% upper /upper; $bb mkdir /upper/data /upper/work
$bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose root /lower
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root
$bb mkdir -p /root{place} /root/lib/modules
$bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose source /root{place}
$bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose modules /root/lib/modules
for at in proc sys dev; do $bb mount -o bind /$at /root/$at; done
$bb mkdir -p /root/dev/shm /root/dev/pts
$bb mount -t tmpfs shm /root/dev/shm; $bb mount -t tmpfs run /root/run; $bb mount -t tmpfs tmp /root/tmp
$bb mount -t bpf bpf /root/sys/fs/bpf; $bb mount -t devpts pts /root/dev/pts
$bb ip link set lo up
$bb chroot /root /usr/bin/env -i HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 KR_BUILD={build} \\
    /bin/sh -c 'cd {place} && /usr/bin/python3 -B tools/lib/testing/in_machine.py' >/dev/console 2>&1
$bb poweroff -f
"""


def _try(kernel: Kernel, root: Path) -> str:
    """What was wrong, or ""."""
    files = _unpacked(kernel.release)
    modules = next(files.glob("**/lib/modules/*"))  # Debian 13's package has them in /usr
    image = next((files / "boot").glob("vmlinuz-*"))
    with tempfile.TemporaryDirectory() as scratch:
        initrd = Path(scratch) / "initrd"
        initramfs.write(initrd, INIT.format(says=SAYS, place=releases.PLACE, build=BUILD), modules, MODULES)
        say(f"starting a machine with {image.name}")
        shares = [("root", root), ("source", ROOT), ("modules", modules.parent)]
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072", "-nographic",
                   "-no-reboot", "-nic", "none", "-kernel", str(image), "-initrd", str(initrd), "-append",
                   "console=ttyS0 quiet panic=-1 mitigations=off hugepages=200",
                   *(word for tag, folder in shares for word in
                     ("-virtfs", f"local,path={folder},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"))]
        try:
            done = run(command, check=False, timeout=60 * MINUTES)
        except ToolError:
            return f"no end after {MINUTES} minutes"
    return _judged(done.stdout + done.stderr, kernel)


def _judged(printed: str, kernel: Kernel) -> str:
    told = dict(words for line in printed.splitlines() if SAYS in line
                for words in [line.partition(SAYS)[2].strip().partition(" ")[::2]])
    if told.get("binding") != kernel.binding:
        return f"bound {told.get('binding', 'not at all')}, not {kernel.binding}; it said:\n{tail(printed, 40)}"
    missed = [f"{what}: {told.get(what)}" for what in ("curl", "openssl", "moved") if told.get(what) != "all"]
    return f"{'; '.join(missed)}; it said:\n{tail(printed, 40)}" if missed else ""
