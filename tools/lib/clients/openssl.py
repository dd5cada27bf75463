# SPDX-License-Identifier: Apache-2.0
"""openssl s_client: one process per connection, the session in a file between them."""

import itertools
import re
import time
from collections.abc import Sequence
from pathlib import Path

from clients.outcome import REQUEST, Outcome, endpoint, header, run_client
from common.shell import run
from lab.plan import CLIENT4, CLIENT6, SERVER_NAME, VIP4, WEB_CA

HEX_DUMP = re.compile(r"^\s+[0-9a-f]{4} - ((?:[0-9a-f]{2}[ -])+)", re.MULTILINE)

# The kernel would take a port again within a minute now and then. Where that flow is not over for the dispatcher (its client
# was killed), the SYN goes to its blade, and the session follows it there: right, but not what who asks for a connection means.
_PORTS = (10_000 + number % 22_000 for number in itertools.count(int(time.monotonic() * 50)))  # below the kernel's own


def connect(version: str, session: Path, vip: str = VIP4, source: str = "", options: Sequence[str] = ()) -> Outcome:
    """Offers the session in the file if there is one, asks for `/`, and leaves the newest session in it. `options`:
    more of s_client's own."""
    command: list[str | Path] = [
        "openssl", "s_client", "-connect", endpoint(vip), "-servername", SERVER_NAME, "-CAfile", WEB_CA,
        "-verify_return_error", f"-tls{version.replace('.', '_')}", "-ign_eof", "-sess_out", session]
    if session.exists():
        command += ["-sess_in", session]
    command += ["-bind", endpoint(source or (CLIENT6 if ":" in vip else CLIENT4), next(_PORTS))]
    status, text = run_client([*command, *options], stdin=REQUEST)
    if status != 0 or not header(text, "X-TLS-Resumed"):
        lines = [line for line in text.splitlines() if "error" in line.lower()]
        return Outcome(False, error="; ".join(lines) or text[-200:])
    both = "Reused, TLSv" in text and header(text, "X-TLS-Resumed") == "r"
    return Outcome(True, both, header(text, "X-Blade"), header(text, "X-TLS-Version").removeprefix("TLSv"),
                   certificate=header(text, "X-Client"))


def session_name(session: Path) -> str:
    """The name by which the client will ask for this session, in hex: its ticket in TLS 1.3 (stateful tickets: the ticket
    is the name), the beginning of its ticket or else the session id in TLS 1.2."""
    text = run(["openssl", "sess_id", "-in", session, "-noout", "-text"]).stdout
    ticket = text.partition("TLS session ticket:")[2].partition("\n\n")[0]
    if ticket:
        return "".join(re.sub(r"[ -]", "", match) for match in HEX_DUMP.findall(ticket)).lower()[:64]
    found = re.search(r"Session-ID: ([0-9A-Fa-f]+)", text)
    return found[1].lower() if found else ""
