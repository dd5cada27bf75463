# SPDX-License-Identifier: Apache-2.0
"""Chassis with blades of two Debian releases: the other one's programs are in the root that `tools/test --on` makes."""

import pytest

from common.debian import RELEASES, has_program, own_release

ONE_AND_TWO = "bookworm,trixie,trixie"
OTHER = next(release for release in RELEASES if release != own_release())
needs_both = pytest.mark.skipif(not has_program(OTHER, "nginx"), reason=f"no root: 'tools/test --on {OTHER}' makes it")
