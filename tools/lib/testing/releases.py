# SPDX-License-Identifier: Apache-2.0
"""Another Debian release on this machine: a root made by debootstrap, once, and tools/test inside it.

The root lies under KR_ROOTS (/var/cache/keyrail/roots) and is used again; so are the packages and the builds in it. The
kernel is this machine's: what needs another kernel is not tested here. The inside has mounts, a network and shared-memory
of its own, so that nothing it does is seen outside; huge pages are the kernel's, and so everybody's."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.debian import BUILD, own_release, root_of
from common.paths import ROOT
from common.say import say
from common.shell import ToolError, run, tail
from testing.report import Report

# What another release can break. The rest (style, captures against tshark, benches, fuzzing) is the same everywhere.
CORE_PARTS = ("build", "unit", "protocol", "pipeline", "baseline", "vdev", "tools", "e2e")
CORE_E2E = "test_resumption or test_moves or test_faults or test_binding or test_early_data or test_servers"
PLACE = Path("/usr/src/keyrail")  # of the source tree, inside
MIRROR_ANSWERS = 30  # seconds: longer than that no mirror takes to say what a release has
MAKING = 1200  # seconds for each of the two steps that make a root, at most
TIME_IS_UP, KILLED = 124, 137  # exit statuses of timeout(1)
SUM = r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?"
CLOSING = re.compile(rf"^{SUM}$", re.MULTILINE)
OF_A_PART = re.compile(rf"^(\w+): {SUM} \(\d+ s\)$", re.MULTILINE)


class NoRoot(ToolError):
    """There is none and it cannot be made, mostly for want of a mirror: nothing is said about the release, good or bad."""


class NoPackage(ToolError):
    """That release does not have a package that we say both have: a fault of ours."""


def mirror() -> str:
    """Where this machine has its packages from: what apt itself would ask for the release's main part."""
    listed = run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"], check=False).stdout
    for site in listed.splitlines():
        if "debian" in site and "security" not in site:
            return site.rstrip("/")
    return "http://deb.debian.org/debian"


def _making(until: float) -> float:
    return min(MAKING, until - time.monotonic()) if until else MAKING


def _make_root(release: str, root: Path, until: float) -> None:
    """Debian's least and our packages. It has its name when it is whole (tests that want programs of another release look for
    them there): one that was not finished is made again."""
    if shutil.which("debootstrap") is None:
        raise ToolError("debootstrap is not installed; tools/packages.txt names it: run tools/test as root once")
    site = mirror()
    _ask(site, release)
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.with_name(f"{release}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    say(f"making a root of Debian {release} in {root} (once; about a minute)")
    done = run(["nice", "debootstrap", "--variant=minbase", release, unfinished, site], check=False, timeout=_making(until))
    if done.returncode != 0:
        raise ToolError(f"debootstrap could not make {unfinished}:\n{tail(done.stdout + done.stderr, 20)}")
    _install_packages(unfinished, until)
    unfinished.rename(root)


def _ask(site: str, release: str) -> None:
    """In debootstrap's own way, which would try for minutes."""
    words = ["wget", "-q", "-O", "/dev/null", "--tries=1", f"--timeout={MIRROR_ANSWERS}", f"{site}/dists/{release}/InRelease"]
    if run(words, check=False, timeout=3 * MIRROR_ANSWERS).returncode != 0:
        raise ToolError(f"{site} has no Debian {release}, or cannot be reached from here")


def copy_machine_settings(root: Path) -> None:
    """How packages are reached from here: resolver, proxies."""
    for name in ("etc/resolv.conf", "etc/hosts"):
        source = Path("/") / name
        if source.exists():
            (root / name).write_bytes(source.read_bytes())
    for source in Path("/etc/apt/apt.conf.d").glob("*"):
        if re.search(r"(?i)proxy|retries", source.read_text(errors="replace")):
            shutil.copy(source, root / "etc/apt/apt.conf.d")


def inside(root: Path, script: str, *, network: bool) -> list[str]:
    """The command that runs `script` in the root; without `network`, in a network namespace of its own."""
    cache = root / BUILD.parent.relative_to("/")  # builds and compiler caches of this release
    cache.mkdir(parents=True, exist_ok=True)
    (root / PLACE.relative_to("/")).mkdir(parents=True, exist_ok=True)
    # A mount of its own for "/", or programs that change how mounts propagate (ip netns) would fail.
    mounts = f"""
set -e
mount --bind {root} {root}
cd {root}
mount --bind {ROOT} .{PLACE}
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t proc proc proc
mount -t sysfs sys sys
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
{"" if network else "ip link set lo up"}
# This shell is the first process in there, and collects those that lost their parents. It does not become its last command,
# for that is not the last one.
chroot . /usr/bin/env -i HOME=/root TERM=dumb CI="$CI" PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \\
    CCACHE_DIR={BUILD.parent}/ccache KR_BUILD={BUILD} KR_E2E="$KR_E2E" \\
    /bin/bash -c "$KR_SCRIPT"
exit 0
"""
    return ["env", f"KR_SCRIPT=cd {PLACE} && {script}", "unshare", "--mount", "--propagation", "private",
            *([] if network else ["--net", "--ipc", "--uts"]), "--pid", "--fork", "--kill-child", "bash", "-c", mounts]


def _install_packages(root: Path, until: float = 0) -> None:
    copy_machine_settings(root)
    # A root that a crash of the machine spoils is made again: dpkg need not wait for the disk at each file.
    (root / "etc/dpkg/dpkg.cfg.d/keyrail").write_text("force-unsafe-io\n")
    script = ". tools/lib/bootstrap.sh && ensure_packages"
    command = ["timeout", "--kill-after=5", f"{max(1, _making(until)):.0f}", "nice", *inside(root, script, network=True)]
    if subprocess.run(command, env=_environment(), check=False).returncode == 0:
        return
    if unknown := _unknown_packages(root):
        raise NoPackage(f"{root.name.partition('.')[0]} has no package {', '.join(unknown)}; tools/packages.txt names what both "
                        "releases have")
    raise ToolError(f"packages could not be installed in {root}")


def _unknown_packages(root: Path) -> list[str]:
    """Of ours, those that the root's package lists do not have. None, where it has no lists."""
    listed = set(run(inside(root, "apt-cache pkgnames", network=False), check=False, env=_environment()).stdout.split())
    return sorted(wanted_packages() - listed) if listed else []


def wanted_packages() -> set[str]:
    lines = (ROOT / "tools/packages.txt").read_text().splitlines()
    return {name for line in lines if (name := line.partition("#")[0].strip())}


def prepared_root(release: str, until: float = 0) -> Path:
    """With all packages in it, before `until` of time.monotonic() (0: there is time)."""
    if release == own_release():
        raise ToolError(f"this machine is Debian {release} itself: tools/test without --on tests it")
    root = root_of(release)
    with being_made(release):
        try:
            if root.exists():
                _install_packages(root, until)
            else:
                _make_root(release, root, until)
        except NoPackage:
            raise
        except ToolError as error:
            raise NoRoot(str(error)) from error
    return root


AGENT = "control/agent/keyrail-agent"


AHEAD = "KR_BUILT_AHEAD"  # in the environment: the release that is being built beside this one's parts


def fresh_agent(release: str) -> None:
    """That of the root's build, if it has one, is as fresh as this machine's from now on; or it has none any more: while the
    release is built ahead nobody else builds there."""
    if os.environ.get(AHEAD) != release:
        return build_in(release, AGENT)
    asked = run(inside(root_of(release), f"ninja -n -C {BUILD} {AGENT}", network=False), check=False, env=_environment())
    if "no work to do" not in asked.stdout:
        forget_agent(release)


def forget_agent(release: str) -> None:
    (root_of(release) / BUILD.relative_to("/") / AGENT).unlink(missing_ok=True)


@contextmanager
def being_made(release: str) -> Iterator[None]:
    """By one at a time; who comes second waits."""
    locks = Path("/run/lock")
    locks.mkdir(exist_ok=True)
    with (locks / f"keyrail-{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_in(release: str, *targets: str, timeout: float | None = 1800) -> None:
    """Programs of that release, as ninja names them (none: all that there is), up to date, in a root that is there already."""
    script = f"/usr/bin/python3 -B tools/lib/main.py build {' '.join(targets)}"
    done = run(inside(root_of(release), script, network=False), check=False, timeout=timeout, env=_environment())
    if done.returncode != 0:
        raise ToolError(f"{' '.join(targets)} could not be built in {root_of(release)}:\n{tail(done.stdout + done.stderr, 30)}")


def _environment(e2e: str = "") -> dict[str, str]:
    return {**os.environ, "CI": os.environ.get("CI", ""), "KR_E2E": e2e}


def run_on(release: str, parts: Sequence[str] | None, until: float = 0, e2e: str | None = None) -> Report:
    """tools/test in that release's root: these parts, or the core of them; of the end-to-end tests what `e2e` names (None: for
    the core its own choice, else KR_E2E's). What has come to no result at `until` (of
    time.monotonic(); 0: for ever) is ended and is left out."""
    root = prepared_root(release, until)
    wanted = parts or CORE_PARTS
    if e2e is None:
        e2e = os.environ.get("KR_E2E", "") if parts else CORE_E2E
    if until and until - time.monotonic() < 1:
        return _time_is_up(release, wanted, "")
    words = " ".join(f"--only {part}" for part in wanted)
    limit = ["timeout", "--kill-after=5", f"{until - time.monotonic():.0f}"] if until else []
    process = subprocess.Popen([*limit, *inside(root, f"tools/test {words}", network=False)], stdout=subprocess.PIPE, text=True,
                               env=_environment(e2e), start_new_session=True)
    printed: list[str] = []
    with process:
        try:
            for line in process.stdout or ():
                printed.append(line)
                if not CLOSING.match(line):  # the sum is said once, by the outer tools/test
                    print(f"{release}: {line}", end="", flush=True)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # unshare blocks SIGTERM; by --kill-child, everything in there
            raise
    if until and process.returncode in (TIME_IS_UP, KILLED) and time.monotonic() >= until - 1:
        return _time_is_up(release, wanted, "".join(printed))
    return _read_sum(release, "".join(printed), process.returncode)


def _time_is_up(release: str, wanted: Sequence[str], printed: str) -> Report:
    ended = OF_A_PART.findall(printed)
    say(f"Debian {release}: time is up, after {', '.join(part for part, *_ in ended) or 'nothing'}")
    names = {part for part, *_ in ended}
    report = Report(failures=_failures(printed), left_out=[f"{release} {part}" for part in wanted if part not in names])
    for _, *numbers in ended:
        report.add(Report(*(int(number or 0) for number in numbers)))
    return report


def _failures(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("FAILED ")]


def _read_sum(release: str, printed: str, status: int) -> Report:
    closing = CLOSING.findall(printed)
    if not closing:
        return Report(failed=1, failures=[f"tools/test on {release} ended without a sum (exit status {status})"])
    passed, failed, skipped = (int(number or 0) for number in closing[-1])
    failures = _failures(printed)
    if status != 0 and not failed:
        failed, failures = 1, [f"tools/test on {release}: exit status {status}"]
    return Report(passed, failed, skipped, failures)
