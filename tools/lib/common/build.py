# SPDX-License-Identifier: Apache-2.0
"""Meson builds with progress: incremental, and each failure told with the compiler's own words."""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.paths import ROOT
from common.say import Progress
from common.shell import ToolError, run, tail

PROGRESS_LINE = re.compile(r"^\[(\d+/\d+)\] ")


@dataclass(frozen=True)
class Target:
    name: str
    kind: str  # "executable", "shared library", "custom", ...
    file: Path
    defined_in: Path


def shared(root: Path = ROOT) -> dict[str, str]:
    """What ccache has of one clone is good for another one. Paths are relative to the build directory, but for those in the files
    that Meson makes of several."""
    return {"CCACHE_NOHASHDIR": "1", "CCACHE_BASEDIR": str(root)}


def configure(build: Path, options: Sequence[str] = (), compiler: Mapping[str, str] | None = None) -> None:
    """Makes the build directory unless it is there already. Meson finds ccache by itself."""
    if (build / "build.ninja").exists():
        return
    progress = Progress(f"configuring {build.name}")
    progress.update("meson setup")
    run(["meson", "setup", *options, build, ROOT], env={**os.environ, **(compiler or {})}, timeout=300)
    progress.done("done")


def compile_all(build: Path, targets: Sequence[str] = ()) -> None:
    """ninja on all cores, quietly; the failing command's output when it fails."""
    progress = Progress(f"building {build.name}")
    messages: list[str] = []
    command = ["ninja", "-C", str(build), "-j", str(os.cpu_count() or 1), *targets]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", env={**os.environ, **shared(), "NINJA_STATUS": "[%f/%t] "}) as ninja:
        try:
            for line in ninja.stdout or ():
                if match := PROGRESS_LINE.match(line):
                    progress.update(f"{match[1]} steps")
                else:
                    messages.append(line)
        except BaseException:
            ninja.terminate()
            raise
    progress.done("done" if ninja.returncode == 0 and progress.seconds > 3 else "")
    if ninja.returncode != 0:
        raise ToolError(f"the build in {build} failed:\n{tail(''.join(messages), 60)}")


def targets(build: Path) -> list[Target]:
    """All targets of a configured build directory."""
    text = run(["meson", "introspect", "--targets", build]).stdout
    return [Target(entry["name"], entry["type"], Path(entry["filename"][0]), Path(entry["defined_in"]))
            for entry in json.loads(text) if entry["filename"]]


def built_file(build: Path, name: str) -> Path:
    """The file of the executable or library `name` ("keyrail-dp", "keyrail-tls")."""
    for target in targets(build):
        if target.name == name or target.file.name == name:
            return target.file
    raise ToolError(f"{name} is not among the targets of {build}; is it a build of this source tree?")
