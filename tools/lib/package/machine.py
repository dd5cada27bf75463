# SPDX-License-Identifier: Apache-2.0
"""A machine to install packages on: Debian's systemd as the first process of its own namespaces, in a root of which every
change is in memory. Nothing of it is left when it ends. The kernel is this machine's."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from common.debian import root_of
from common.say import say
from common.shell import ToolError, run, tail
from testing.releases import copy_machine_settings, mirror

# What a server has before Keyrail comes, and what the tests look with.
PROGRAMS = ("systemd-sysv", "udev", "kmod", "iproute2", "ethtool", "procps", "openssl", "ca-certificates", "nginx-light", "haproxy",
            "apache2")
BOOT = """
set -e
mount -t tmpfs -o mode=0755 machine {place}
mkdir {place}/changes {place}/work {place}/root
mount -t overlay overlay -o lowerdir={base},upperdir={place}/changes,workdir={place}/work {place}/root
cd {place}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=0755 dev dev
for device in null zero full random urandom tty cpu_dma_latency; do
    [ ! -e /dev/$device ] || {{ touch dev/$device; mount --bind /dev/$device dev/$device; }}
done
mkdir dev/net dev/pts dev/shm
mknod dev/net/tun c 10 200
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
hostname {name}
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; exec env -i container=keyrail PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init'
"""


def base(release: str) -> Path:
    """The root that machines of that Debian release begin with, made by debootstrap where there is none yet."""
    root = root_of(f"{release}-machine")
    if (root / "etc/debian_version").exists():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    say(f"making a machine's root in {root} (once; two minutes)")
    done = run(["debootstrap", "--variant=minbase", f"--include={','.join(PROGRAMS)}", release, unfinished, mirror()],
               check=False, timeout=1800)
    if done.returncode != 0:
        raise ToolError(f"debootstrap could not make {unfinished}:\n{tail(done.stdout + done.stderr, 20)}")
    unfinished.rename(root)
    return root


def dependencies(packages: Sequence[Path]) -> list[str]:
    """Of these packages, and what they recommend, by name; the first of alternatives."""
    fields = [run(["dpkg-deb", "--field", package, field]).stdout for package in packages for field in ("Depends", "Recommends")]
    names = {alternatives.split("|")[0].split("(")[0].strip() for field in fields for alternatives in field.split(",")}
    return sorted(name for name in names if name and not name.startswith("keyrail"))


def with_dependencies(packages: Sequence[Path], release: str) -> Path:
    """The base with what the packages depend on: a machine has no way to a mirror."""
    root, wanted = base(release), dependencies(packages)
    known = root / "var/cache/keyrail-dependencies"
    if known.exists() and known.read_text().split() == wanted:
        return root
    say(f"installing what the packages depend on in {root} (once)")
    copy_machine_settings(root)
    script = f"""
cd {root}
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs run run
printf '#!/bin/sh\\nexit 101\\n' >run/policy
touch usr/sbin/policy-rc.d
mount --bind run/policy usr/sbin/policy-rc.d
chmod 755 run/policy
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
chroot . apt-get -q update && chroot . apt-get -y -q install --no-install-recommends {shlex.join(wanted)}
"""
    done = run(["unshare", "--mount", "--propagation", "private", "bash", "-c", script], check=False, timeout=1800)
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    if done.returncode != 0:
        raise ToolError(f"what the packages depend on could not be installed in {root}:\n{tail(done.stdout + done.stderr, 20)}")
    known.write_text("\n".join(wanted))
    return root


def _cgroups() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    raise ToolError("there is no cgroup2 file system; systemd needs one: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


class Machine:
    """Use as a context: at its end it is gone."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._place = Path(tempfile.mkdtemp(prefix=f"keyrail-{name}-"))
        self._cgroup = _cgroups() / self._place.name
        self._cgroup.mkdir()
        boot = BOOT.format(place=self._place, base=root, name=name)
        self._process = subprocess.Popen(
            ["sh", "-c", f"echo $$ >{self._cgroup}/cgroup.procs && exec \"$@\"", "sh", "unshare", "--mount", "--propagation", "private",
             "--net", "--ipc", "--uts", "--cgroup", "--pid", "--fork", "--kill-child", "bash", "-c", boot],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.init = 0

    def __enter__(self) -> "Machine":
        deadline = time.monotonic() + 60
        while not self._booted():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise ToolError(f"machine {self.name} does not boot:\n{tail(self._process.stderr.read() if self._process.stderr else '')}")
            time.sleep(0.1)
        return self

    def _booted(self) -> bool:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.init = int((children.read_text().split() or ["0"])[0])
        if self.init == 0 or Path(f"/proc/{self.init}/comm").read_text().strip() != "systemd":
            return False
        return self.sh("systemctl is-system-running", check=False).strip() in ("running", "degraded")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.init:
            os.kill(self.init, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        for _ in range(100):
            if run(["find", self._cgroup, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False).returncode == 0:
                break
            time.sleep(0.05)
        self._place.rmdir()

    def enter(self) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--mount", "--net", "--ipc", "--uts", "--pid", "--cgroup", "--root", "--wdns=/"]

    def command(self, script: str) -> list[str]:
        return [*self.enter(), "env", "-i", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script]

    def sh(self, script: str, *, check: bool = True, stdin: str = "", timeout: float = 120) -> str:
        """What root of the machine would see."""
        done = run(self.command(script), check=False, stdin=stdin, timeout=timeout)
        if check and done.returncode != 0:
            raise ToolError(f"{self.name}: exit status {done.returncode} from:\n{tail(script, 20)}\n{tail(done.stdout + done.stderr, 30)}\n"
                            f"{tail(self.journal(), 30)}")
        return done.stdout + done.stderr

    def journal(self) -> str:
        return run(self.command("journalctl --no-pager --lines=200 --output=short-monotonic"), check=False).stdout

    def write(self, path: str, text: str | bytes) -> None:
        (self.inside(path)).write_bytes(text.encode() if isinstance(text, str) else text)

    def inside(self, path: str) -> Path:
        """A file of the machine, seen from outside."""
        return Path(f"/proc/{self.init}/root{path}")

    def pid(self, service: str) -> int:
        """In the machine; 0: it does not run."""
        return int(self.sh(f"systemctl show --property=MainPID --value {service}"))

    def outer_pid(self, service: str) -> int:
        """Seen from outside."""
        wanted = str(self.pid(service))
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                numbers = [line.split()[1:] for line in status.read_text().splitlines() if line.startswith("NSpid:")][0]
                same = os.readlink(status.parent / "ns/pid") == os.readlink(f"/proc/{self.init}/ns/pid")
            except OSError:
                continue
            if same and numbers[-1] == wanted:
                return int(status.parent.name)
        raise ToolError(f"{self.name}: {service} does not run")
