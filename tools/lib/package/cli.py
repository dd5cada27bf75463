# SPDX-License-Identifier: Apache-2.0
"""tools/package: makes the packages and says where they are."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from package.build import build


def main(words: Sequence[str]) -> int:
    top = argparse.ArgumentParser("tools/package", description="Debian packages of this source tree, for this release.")
    top.add_argument("--out", type=Path, metavar="DIR", help="copies them there")
    out: Path | None = top.parse_args(words).out
    for package in build():
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            package = Path(shutil.copy2(package, out))
        print(package)
    return 0
