# SPDX-License-Identifier: Apache-2.0
"""A core dump of an agent or of a server has no session in it: secrets are where no dump goes.

What remains in a server's memory: the keys of the connections that it has at that moment, which OpenSSL keeps with them
and wipes with them."""

import re
from pathlib import Path

from clients import openssl
from common.shell import run
from lab import namespaces
from lab.plan import AWAY4, namespace
from support.chassis import Chassis, eventually
from support.core_image import found_in


def master_secret(session: Path) -> bytes:
    """Of a TLS 1.2 session (RFC 5246 section 8.1): client and server have the same."""
    text = run(["openssl", "sess_id", "-in", session, "-noout", "-text"]).stdout
    return bytes.fromhex(re.search(r"Master-Key: ([0-9A-F]+)", text)[1])


def test_a_core_dump_has_no_sessions(chassis: Chassis, session: Path) -> None:
    home = openssl.connect("1.2", session, source=AWAY4)
    secret = master_secret(session)
    with chassis.drained(home.blade):
        away = openssl.connect("1.2", session, source=AWAY4)
    assert away.resumed and away.blade != home.blade, away
    inside, outside = found_in(chassis.pid(away.blade, "keyrail-agent"), secret)
    assert outside, "the search finds nothing at all: the session should be in the store"
    for blade in (home.blade, away.blade):
        for pid in namespaces.processes_in(namespace(blade)):
            # The server lets go of a connection a moment after the client has gone.
            eventually(lambda pid=pid: not found_in(pid, secret)[0], 5,
                       f"{Path(f'/proc/{pid}/comm').read_text().strip()} on {blade}: {found_in(pid, secret)}")
