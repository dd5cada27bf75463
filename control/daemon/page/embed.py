# SPDX-License-Identifier: Apache-2.0
"""Makes a C++ file of the page's files: embed.py FILE... OUTPUT."""

import sys
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
STEP = 8000  # compilers take no longer literals


def literal(text: str) -> str:
    assert ")kr-page" not in text
    return "\n".join(f'R"kr-page({text[at:at + STEP]})kr-page"' for at in range(0, len(text), STEP))


def main(files: list[str], output: str) -> None:
    parts = ['#include "control/daemon/api/page_files.h"\n\n#include <array>\n\nnamespace keyrail {\n\n'
             "std::span<const PageFile> page_files() {\n    static constexpr auto kFiles = std::to_array<PageFile>({\n"]
    for file in map(Path, files):
        parts.append(f'{{"{file.name}", "{TYPES[file.suffix]}", {literal(file.read_text())}}},\n')
    parts.append("});\n    return kFiles;\n}\n\n}  // namespace keyrail\n")
    Path(output).write_text("".join(parts))


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
