# SPDX-License-Identifier: Apache-2.0
"""Which folder may include which. A folder may include itself and those named behind it in ARROWS, nothing else. The
list begins at the bottom: a folder names only folders that stand above it in the list, so there is no cycle."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from common.paths import ROOT
from testing.report import Report

Arrows = Mapping[str, tuple[str, ...]]


def _dataplane(*names: str) -> tuple[str, ...]:
    return tuple(f"dataplane/{name}" for name in names)


def _control(*names: str) -> tuple[str, ...]:
    return tuple(f"control/{name}" for name in names)


SHARED = _dataplane("common")  # the only folder that control and dataplane have in common

ARROWS: Arrows = {
    "dataplane/common": (),
    # pure: bytes, tables, flows
    "dataplane/wire": SHARED,
    "dataplane/cookie": _dataplane("common", "wire"),
    "dataplane/tables": _dataplane("common", "wire"),
    "dataplane/flow": _dataplane("common", "wire"),
    # what the stages work on
    "dataplane/profile": SHARED,
    "dataplane/io": _dataplane("common", "profile", "tables"),
    "dataplane/core": _dataplane("common", "wire", "cookie", "tables", "flow", "profile", "io"),
    "dataplane/trace": _dataplane("common", "wire", "io", "core"),
    # the stages, and the programs that are made of them
    "dataplane/rewrite": _dataplane("common", "wire", "core"),
    "dataplane/parse": _dataplane("common", "wire", "core", "rewrite"),
    "dataplane/bind": _dataplane("common", "wire", "cookie", "flow", "core", "rewrite"),
    "dataplane/steer": _dataplane("common", "wire", "cookie", "tables", "core"),
    "dataplane/explain": _dataplane("common", "wire", "tables", "flow", "io", "core", "steer"),
    "dataplane/link": _dataplane("common", "tables", "flow", "profile", "io", "core", "explain", "trace"),
    "dataplane/replay": _dataplane("common", "wire", "flow", "core", "steer"),
    "dataplane": _dataplane("common", "tables", "flow", "profile", "io", "core", "parse", "rewrite", "bind", "steer", "trace", "link"),

    "control/accept": SHARED,
    "control/protocol": SHARED,
    "control/pki": (*SHARED, *_control("protocol")),
    "control/repository": (*SHARED, *_control("protocol")),
    "control/store": SHARED,
    "control/agent": (*SHARED, *_control("accept", "protocol", "pki", "repository", "store")),
    "control/hooks": (*SHARED, *_control("store")),
    "control/daemon/config": (*SHARED, *_control("protocol", "repository")),
    "control/daemon/keys": (*SHARED, *_control("protocol")),
    "control/daemon/checks": (*SHARED, *_control("protocol", "daemon/config")),
    "control/daemon/blades": (*SHARED, *_control("protocol", "daemon/config", "daemon/checks")),
    "control/daemon/membership": (*SHARED, *_control("protocol", "pki", "daemon/config")),
    "control/daemon/moves": (*SHARED, *_control("protocol", "repository", "daemon/config", "daemon/blades")),
    "control/daemon/events": SHARED,
    "control/daemon/history": (*SHARED, *_control("protocol", "daemon/config", "daemon/blades", "daemon/moves", "daemon/events")),
    "control/daemon/core": (*SHARED, *_control("protocol", "pki", "repository", "daemon/config", "daemon/keys", "daemon/checks", "daemon/blades",
                                               "daemon/membership", "daemon/moves", "daemon/events", "daemon/history")),
    "control/daemon/api": (*SHARED, *_control("protocol", "repository", "daemon/config", "daemon/keys", "daemon/blades",
                                              "daemon/membership", "daemon/moves", "daemon/events", "daemon/history",
                                              "daemon/core")),
    "control/daemon": (*SHARED, *_control("protocol", "daemon/config", "daemon/history", "daemon/core", "daemon/api")),
    "control/cli": (*SHARED, *_control("protocol", "pki", "daemon/config")),

    "tools/lib/loadgen": (*_dataplane("common", "wire", "cookie", "tables", "io"), "tests/support"),
}
FOLDERS = ("dataplane", "control", "tools/lib/loadgen")
OUTSIDE = ("tests/support",)  # is not looked at, but may be included
GENERATED = {"link.pb.h": "dataplane/common", "chassis.pb.h": "control/protocol"}

_INCLUDE = re.compile(r'^#\s*include "([^"]+)"', re.MULTILINE)


def upward(arrows: Arrows) -> Iterator[str]:
    """Arrows of the list itself that do not lead down. As long as there is none, there is no cycle."""
    below = set(OUTSIDE)
    for folder, targets in arrows.items():
        yield from (f"{folder} -> {target} leads upwards: ARROWS must name {target} first"
                    for target in targets if target not in below)
        below.add(folder)


def forbidden(arrows: Arrows, root: Path) -> Iterator[str]:
    """#include lines of the sources that no arrow allows."""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*")):
        if path.suffix not in (".h", ".cc", ".c"):
            continue
        name = path.relative_to(root)
        folder = name.parent.as_posix()
        if folder not in arrows:
            yield f"{name}: folder {folder} is not in ARROWS; say there what it may include"
            continue
        for header in _INCLUDE.findall(path.read_text()):
            target = GENERATED.get(header) or Path(header).parent.as_posix()
            if target not in (".", folder, *arrows[folder]):
                yield f"{name} includes {header}, but {folder} may not include {target}"


def check() -> Report:
    """One test for the list, one for the sources."""
    report = Report()
    for faults in (list(upward(ARROWS)), list(forbidden(ARROWS, ROOT))):
        if faults:
            report.fails("tools/lib/testing/arrows.py:\n" + "\n".join(f"    {fault}" for fault in faults))
        else:
            report.passes()
    return report
