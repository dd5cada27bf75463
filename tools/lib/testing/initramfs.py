# SPDX-License-Identifier: Apache-2.0
"""The file system that a kernel starts with: busybox, an /init, and the modules by which it finds its root."""

import lzma
from collections.abc import Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")  # of busybox-static
DIRECTORY, FILE = 0o040755, 0o100755


def write(file: Path, init: str, modules: Path, wanted: Sequence[str]) -> None:
    """`modules`: /lib/modules/VERSION; `wanted` names some, which come with those that they need."""
    order = _in_order(modules, wanted)
    archive = bytearray()
    number = 0

    def add(name: str, mode: int, content: bytes = b"") -> None:
        """As the kernel's "newc" has it: fields of eight hex digits, name and content padded to four bytes."""
        nonlocal number
        number += 1
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        for part in (head, content):
            archive.extend(part + b"\0" * (-len(part) % 4))

    for name in ("bin", "modules"):
        add(name, DIRECTORY)
    add("bin/busybox", FILE, BUSYBOX.read_bytes())
    add("init", FILE, init.encode())
    for path in order:
        add(f"modules/{_bare(path)}.ko", FILE, _content(modules / path))
    add("modules/order", FILE, "".join(f"{_bare(path)}.ko\n" for path in order).encode())
    add("TRAILER!!!", 0)
    file.write_bytes(archive)


def _bare(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    return lzma.decompress(raw) if path.suffix == ".xz" else raw


def _in_order(modules: Path, wanted: Sequence[str]) -> list[str]:
    """Their files, each behind what it needs. The package has no modules.dep, which depmod makes at installation: each module
    says itself what it needs. What is in none is built into the kernel."""
    files = {_bare(str(path)): str(path.relative_to(modules)) for path in (modules / "kernel").rglob("*.ko*")}
    order: list[str] = []

    def add(name: str) -> None:
        if name not in files or files[name] in order:
            return
        for line in _content(modules / files[name]).split(b"\0"):
            if line.startswith(b"depends="):
                for needed in line.removeprefix(b"depends=").decode().split(","):
                    add(needed.replace("-", "_"))
        order.append(files[name])

    for name in wanted:
        add(name)
    return order
