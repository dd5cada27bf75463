# SPDX-License-Identifier: Apache-2.0
"""What the hooks cost an nginx, both sides resuming every time: a worker with our store against one with nginx' own
shared cache or, for TLS 1.2 tickets, its own tickets, in turns, in one run. The clients share the machine's cores with the server, so the server's CPU time per
connection is what counts; a server that is busy all the time makes that many times fewer connections.

    meson test -C build --benchmark nginx_rate --verbose
"""

import ctypes
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/protocol"), str(ROOT / "tools/lib")]
from clients import handshakes  # noqa: E402
from tls_server import Bench, Server  # noqa: E402

CLONE_NEWNET = 0x40000000
ROUNDS, CONNECTIONS = 7, 500
OWN_TICKETS = "ssl_session_cache off; ssl_session_timeout 1h;"
OWN_CACHE = "ssl_session_cache shared:s:10m; ssl_session_tickets off; ssl_session_timeout 1h;"


def cpu_us(server: Server) -> float:
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in server.workers()) / 1000


def measure(server: Server, version: str, certificate: Path) -> float:
    """Microseconds of the server's CPU per resumed connection."""
    before = cpu_us(server)
    done = subprocess.run(["/usr/bin/python3", handshakes.__file__, "resumed", version, str(CONNECTIONS), "127.0.0.1",
                           str(server.port), "a.test", certificate], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["resumed"] == CONNECTIONS, "not every connection was resumed"
    return (cpu_us(server) - before) / (CONNECTIONS + 1)


def main() -> None:
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        sys.exit("needs root, for a network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    bench = Bench()
    try:
        certificate = Path(f"{bench.directory}/a.test.pem.crt")
        hooked = bench.nginx(bench.store("s"))
        cache, tickets = (bench.nginx(None, setting, hooks=False) for setting in (OWN_CACHE, OWN_TICKETS))
        for version, own in (("1.2 by id", cache), ("1.2", tickets), ("1.3", cache)):
            rounds = [(measure(hooked, version, certificate), measure(own, version, certificate)) for _ in range(ROUNDS)]
            hooks_us, own_us = (statistics.median(figures) for figures in zip(*rounds, strict=True))
            ratio = statistics.median(theirs / ours for ours, theirs in rounds)
            print(f"TLS {version}: hooks {hooks_us:.1f} us, nginx' own {own_us:.1f} us of server CPU per resumed "
                  f"connection; connection rate {ratio:.3f} of nginx' own (median of {ROUNDS} rounds of {CONNECTIONS})",
                  flush=True)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
