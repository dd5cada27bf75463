# SPDX-License-Identifier: Apache-2.0
"""Writes a C++ header that carries a file's bytes: embed.py FILE HEADER NAME."""

import sys
from pathlib import Path

source, header, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
content = source.read_bytes()
rows = (", ".join(map(str, content[at:at + 24])) for at in range(0, len(content), 24))
header.write_text(f"// Made from {source.name}.\n#pragma once\n#include <array>\n\n"
                  f"inline constexpr std::array<unsigned char, {len(content)}> {name} = {{\n"
                  + ",\n".join(rows) + "};\n")
