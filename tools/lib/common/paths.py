# SPDX-License-Identifier: Apache-2.0
"""Where things are: the source tree and the build directory."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def build_dir() -> Path:
    """./build, or what KR_BUILD says (a developer's own build directory)."""
    return Path(os.environ.get("KR_BUILD") or ROOT / "build").resolve()
