# SPDX-License-Identifier: Apache-2.0
"""Debian packages of this source tree: a copy of it with hw/debian as its debian/, and dpkg-buildpackage in there.

The copy and its build directory stay (build/packages), so that a second run compiles what has changed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from common.build import shared
from common.debian import own_release
from common.paths import ROOT, build_dir
from common.say import Progress
from common.shell import ToolError, run, tail
from testing.releases import inside, prepared_root

RECIPE = ROOT / "hw/debian"
NAMES = ("keyrail-dispatcher", "keyrail-blade", "keyrail-tools", "keyrail-doc")
CHANGE = re.compile(r"^keyrail \((?P<version>[^)]+)\) (?P<suite>\S+);", re.MULTILINE)
LEFT_OUT = ("build", ".git")


def folder() -> Path:
    """Where packages are made, and lie afterwards."""
    return build_dir() / "packages"


def release_suffix() -> str:
    """What tells packages of one Debian release from those of another: +deb12u1 sorts below +deb13u1."""
    words = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return f"+deb{words.get('VERSION_ID', '0').strip(chr(34))}u1"


def sources() -> list[Path]:
    """All files of the tree, relative to it: what Git knows or would take; without Git everything."""
    listed = run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=False)
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return [name for name in names if name.parts[0] not in LEFT_OUT and (ROOT / name).is_file()]


def copy_tree(tree: Path, files: list[Path]) -> None:
    """What has not changed keeps its time, and is not compiled again; what is gone goes."""
    wanted = set(files)
    for path in tree.rglob("*"):
        name = path.relative_to(tree)
        if path.is_file() and name.parts[0] not in ("obj", "debian") and name not in wanted:
            path.unlink()
    for name in files:
        source, copy = ROOT / name, tree / name
        if copy.exists() and copy.stat().st_mode == source.stat().st_mode and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy)
        os.utime(copy)


def write_recipe(tree: Path) -> str:
    """debian/, with the version of this release's packages, which is returned."""
    shutil.rmtree(tree / "debian", ignore_errors=True)
    shutil.copytree(RECIPE, tree / "debian")
    changelog = tree / "debian/changelog"
    text = changelog.read_text()
    newest = CHANGE.search(text)
    if newest is None:
        raise ToolError(f"{RECIPE}/changelog: its first line names no version")
    version = newest["version"] + release_suffix()
    changelog.write_text(text.replace(f"({newest['version']})", f"({version})", 1))
    return version


def build_on(release: str) -> list[Path]:
    """Those of that Debian release: made here, or in its root (testing/releases.py)."""
    if release == own_release():
        return build()
    root = prepared_root(release)
    done = subprocess.run(inside(root, "tools/package", network=False), stdout=subprocess.PIPE, text=True, check=False,
                          env={**os.environ, "CI": "", "KR_E2E": ""})
    if done.returncode != 0:
        raise ToolError(f"packages could not be made in {root}")
    return [root / line.removeprefix("/") for line in done.stdout.splitlines() if line.endswith(".deb")]


def build() -> list[Path]:
    """The packages of this tree, for this release, made where necessary."""
    tree = folder() / "keyrail"
    tree.mkdir(parents=True, exist_ok=True)
    copy_tree(tree, sources())
    version = write_recipe(tree)
    for old in folder().glob("keyrail*"):
        if old.is_file():
            old.unlink()
    _dpkg_buildpackage(tree)
    made = [next(folder().glob(f"{name}_{version}_*.deb"), None) for name in NAMES]
    if None in made:
        raise ToolError(f"dpkg-buildpackage made no {NAMES[made.index(None)]} in {folder()}")
    return [package for package in made if package is not None]


def _dpkg_buildpackage(tree: Path) -> None:
    progress, log = Progress("packages"), folder() / "log"
    command = ["dpkg-buildpackage", "--build=binary", "--unsigned-changes", "--unsigned-buildinfo", "--no-pre-clean"]
    with log.open("w") as words, subprocess.Popen(command, cwd=tree, stdout=words, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                                  env={**os.environ, **shared(tree), "LC_ALL": "C.UTF-8"}) as process:
        try:
            while process.poll() is None:
                try:
                    process.wait(1)
                except subprocess.TimeoutExpired:
                    progress.update(_last_step(log))
        except BaseException:
            process.terminate()
            raise
    progress.done("done" if process.returncode == 0 and progress.seconds > 3 else "")
    if process.returncode != 0:
        raise ToolError(f"dpkg-buildpackage failed ({log}):\n{tail(log.read_text(errors='replace'), 30)}")


def _last_step(log: Path) -> str:
    steps = re.findall(r"^\[(\d+/\d+)\] ", log.read_text(errors="replace"), re.MULTILINE)
    return f"{steps[-1]} steps" if steps else "dpkg-buildpackage"
