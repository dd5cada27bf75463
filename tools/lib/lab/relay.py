# SPDX-License-Identifier: Apache-2.0
"""Brings a browser on this machine to keyraild's socket: relay.py SOCKET PORT URL_FILE. Listens on loopback, and only for the
users that may: whoever comes through here is root for keyraild."""

import asyncio
import os
import sys
from pathlib import Path

ALLOWED = {0, int(os.environ.get("SUDO_UID", "0"))}


def owner(port: int) -> int | None:
    """The user of the local socket with this port, by the kernel's word."""
    wanted = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted and not fields[2].endswith(":0000"):
            return int(fields[7])
    return None


async def pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            into.write(data)
            await into.drain()
    except OSError:
        pass
    finally:
        if not into.is_closing():
            into.close()


async def serve(socket: str, port: int, url_file: Path) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if owner(writer.get_extra_info("peername")[1]) not in ALLOWED:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nonly who started the lab, and root\n")
            return writer.close()
        try:
            to, back = await asyncio.open_unix_connection(socket)
        except OSError:
            return writer.close()  # keyraild is gone
        await asyncio.gather(pour(reader, back), pour(to, writer))

    try:
        server = await asyncio.start_server(relay, "127.0.0.1", port)
    except OSError:  # somebody else has it
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
    new = url_file.with_suffix(".new")
    new.write_text(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ui\n")
    new.replace(url_file)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
