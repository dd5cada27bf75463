# SPDX-License-Identifier: Apache-2.0
"""Debian's releases: this machine's own, and others in roots that `tools/test --on RELEASE` makes (testing/releases.py)."""

import os
from pathlib import Path

RELEASES = ("bookworm", "trixie")
BUILD = Path("/var/cache/keyrail/build")  # in a root: what was built there


def own_release() -> str:
    """This machine's, as debootstrap names it."""
    words = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return words.get("VERSION_CODENAME", "").strip('"')


def root_of(release: str) -> Path:
    return Path(os.environ.get("KR_ROOTS") or "/var/cache/keyrail/roots") / release


def has_program(release: str, program: str) -> bool:
    """This machine's own release, or one whose root has it."""
    places = (root_of(release) / "usr" / folder / program for folder in ("bin", "sbin"))
    return release == own_release() or any(place.exists() for place in places)


def within(release: str, folder: Path) -> list[str]:
    """What to put before a command for that release's programs to run, on the network of who runs it. They see this
    machine's devices, processes and `folder` (in /run or /tmp), and leave nothing in the root's own /run and /tmp."""
    if release == own_release():
        return []
    script = f"""
set -e
cd {root_of(release)}
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p .{folder}
mount --rbind {folder} .{folder}
for place in dev proc sys; do mount --rbind /$place $place; done
exec chroot . "$@"
"""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
