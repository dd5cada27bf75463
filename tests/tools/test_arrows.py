# SPDX-License-Identifier: Apache-2.0
"""The check of which folder includes which: what it must find, and that today's sources are clean."""

from pathlib import Path

import pytest

from testing import arrows

ALLOWED: arrows.Arrows = {"dataplane/common": (), "dataplane/bind": ("dataplane/common",)}


def source(root: Path, name: str, *headers: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f'#include "{header}"\n' for header in headers))


@pytest.mark.parametrize(("name", "header", "complaint"), [
    ("dataplane/bind/bind.cc", "dataplane/common/result.h", None),
    ("dataplane/bind/bind.cc", "dataplane/bind/bind.h", None),
    ("dataplane/bind/bind.cc", "link.pb.h", None),
    ("dataplane/bind/bind.cc", "chassis.pb.h", "dataplane/bind may not include control/protocol"),
    ("dataplane/common/result.h", "dataplane/bind/bind.h", "dataplane/common may not include dataplane/bind"),
    ("dataplane/new/new.h", "dataplane/common/result.h", "folder dataplane/new is not in ARROWS"),
])
def test_an_include_without_an_arrow_is_found(tmp_path: Path, name: str, header: str, complaint: str | None) -> None:
    source(tmp_path, name, header)
    found = list(arrows.forbidden(ALLOWED, tmp_path))
    assert len(found) == (0 if complaint is None else 1), found
    if complaint is not None:
        assert found[0].startswith(name) and complaint in found[0]


def test_the_list_has_no_arrow_upwards_and_so_no_cycle() -> None:
    assert list(arrows.upward(ALLOWED)) == []
    cycle = {"dataplane/common": ("dataplane/bind",), "dataplane/bind": ("dataplane/common",)}
    assert ["dataplane/common -> dataplane/bind leads upwards" in fault for fault in arrows.upward(cycle)] == [True]


def test_control_and_dataplane_share_one_folder() -> None:
    for folder, targets in arrows.ARROWS.items():
        mine = folder.split("/")[0]
        others = [target for target in targets if target.split("/")[0] in {"control", "dataplane"} - {mine}]
        if mine in ("control", "dataplane"):
            assert others in ([], ["dataplane/common"]), folder


def test_the_sources_keep_to_it() -> None:
    report = arrows.check()
    assert report.failed == 0, report.failures
