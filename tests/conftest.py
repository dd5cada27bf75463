# SPDX-License-Identifier: Apache-2.0
"""Lets the Python tests import the tools' own modules and tests/support."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT / "tools/lib", ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
