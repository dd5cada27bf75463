# SPDX-License-Identifier: Apache-2.0
"""Continuance: when a drain's deadline is over, clients with idle connections are sent elsewhere, and resume there."""

import subprocess
from pathlib import Path

from clients import openssl
from clients.outcome import header
from lab.namespaces import enter
from lab.plan import AWAY4, CLIENT, PORT, SERVER_NAME, VIP4, WEB_CA
from support.chassis import Chassis

REQUEST = f"GET / HTTP/1.1\r\nHost: {SERVER_NAME}\r\n\r\n"  # HTTP/1.1: the connection stays
SECONDS = 20


def keep_alive(session: Path) -> subprocess.Popen[str]:
    """A client that asks once and stays; it ends when its connection does."""
    client = subprocess.Popen(
        [*enter(CLIENT), "openssl", "s_client", "-connect", f"{VIP4}:{PORT}", "-servername", SERVER_NAME, "-CAfile",
         str(WEB_CA), "-tls1_3", "-ign_eof", "-bind", f"{AWAY4}:0", "-sess_out", str(session)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert client.stdin
    client.stdin.write(REQUEST)
    client.stdin.flush()
    return client


def blade_of(client: subprocess.Popen[str]) -> str:
    assert client.stdout
    for line in client.stdout:
        if blade := header(line, "X-Blade"):
            return blade
    raise AssertionError("no answer")


def test_an_idle_client_comes_back_elsewhere(chassis: Chassis, session: Path) -> None:
    client = keep_alive(session)
    try:
        blade = blade_of(client)
        number = blade.removeprefix("blade")
        chassis.keyrail("blade", "drain", number, "--deadline", "1s")
        try:
            client.communicate(timeout=SECONDS)  # no request, no answer: only the server can have ended it
            outcome = openssl.connect("1.3", session, source=AWAY4)
        finally:
            chassis.keyrail("blade", "resume", number)
        assert outcome.resumed and outcome.blade != blade, outcome
    finally:
        client.kill()
        client.wait()


def test_others_keep_their_connections(chassis: Chassis, session: Path) -> None:
    client = keep_alive(session)
    try:
        number = blade_of(client).removeprefix("blade")
        chassis.keyrail("blade", "drain", number)  # without a deadline
        try:
            client.communicate(timeout=3)
            raise AssertionError("its connection was closed")
        except subprocess.TimeoutExpired:
            pass
        finally:
            chassis.keyrail("blade", "resume", number)
    finally:
        client.kill()
        client.wait()
