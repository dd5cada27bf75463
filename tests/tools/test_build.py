# SPDX-License-Identifier: Apache-2.0
"""Builds of several clones: what one of them compiled another one need not compile."""

import os
import subprocess
import sys
from pathlib import Path

from common.build import shared
from common.paths import ROOT


def test_what_meson_makes_of_several_files_is_compiled_once_for_two_clones(tmp_path: Path) -> None:
    """Its includes are absolute: `/clone/build/../folder/file.cc`."""
    cache = {"CCACHE_DIR": str(tmp_path / "cache")}
    for clone in (tmp_path / "one", tmp_path / "two"):
        (clone / "folder").mkdir(parents=True)
        (clone / "build").mkdir()
        (clone / "folder/file.cc").write_text("int three() { return 3; }\n")
        (clone / "build/unity0.cpp").write_text(f"#include <{clone}/build/../folder/file.cc>\n")
        subprocess.run(["ccache", "g++", "-g1", "-c", "unity0.cpp", "-o", "unity0.o"], cwd=clone / "build", check=True,
                       env={**os.environ, **shared(clone), **cache})
    counted = subprocess.run(["ccache", "--print-stats"], env={**os.environ, **cache}, capture_output=True, text=True, check=True)
    figures = dict(line.split("\t", 1) for line in counted.stdout.splitlines())
    assert figures["preprocessed_cache_hit"] == "1", figures


def test_every_module_of_the_tools_can_be_imported() -> None:
    """tools/package could not, and nobody saw it: its part of tools/test is not in the default list."""
    own = ROOT / "tools/lib"
    names = [".".join(file.relative_to(own).with_suffix("").parts).removesuffix(".__init__") for file in sorted(own.rglob("*.py"))]
    script = "import importlib\nfor name in %r:\n    importlib.import_module(name)" % names
    # soak's load is a program of its own, which finds the others beside itself.
    path = os.pathsep.join(map(str, (own, own / "soak", own / "clients")))
    done = subprocess.run([sys.executable, "-B", "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
