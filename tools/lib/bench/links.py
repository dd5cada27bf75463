# SPDX-License-Identifier: Apache-2.0
"""Virtual cables between two DPDK processes: the device strings of their ends."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Link:
    """{n} is the cable's number, {path} the directory of its socket. The device under test starts first."""

    dut: str
    generator: str

    def ends(self, scratch: Path, number: int) -> tuple[str, str]:
        return self.dut.format(n=number, path=scratch), self.generator.format(n=number, path=scratch)


_MEMIF = "net_memif{{n}},role={role},id=0,socket={{path}}/link{{n}}.sock,socket-abstract=no,rsize=11,bsize=2048"
# The client owns the memory and so need not copy; the device under test copies, as with a real neighbour.
MEMIF = Link(_MEMIF.format(role="server"), _MEMIF.format(role="client") + ",zero-copy=yes")
VHOST = Link("net_vhost{n},iface={path}/link{n}.sock", "net_virtio_user{n},path={path}/link{n}.sock,queue_size=1024")
