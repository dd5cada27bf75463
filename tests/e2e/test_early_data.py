# SPDX-License-Identifier: Apache-2.0
"""0-RTT: a client's early data is accepted on the blade that its session moved to, and a replay nowhere."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import REQUEST, header, run_client
from lab.plan import AWAY4, PORT, SERVER_NAME, VIP4, WEB_CA, Options
from support.chassis import Chassis
from support.releases import ONE_AND_TWO, needs_both

FIRST_FLIGHT = Path(__file__).parents[1] / "support/first_flight.py"
EARLY_REQUEST = f"GET / HTTP/1.1\r\nHost: {SERVER_NAME}\r\n\r\n"
servers = pytest.mark.parametrize("options", [
    Options(), Options(server="haproxy", cert="p256"), pytest.param(Options(releases=ONE_AND_TWO), marks=needs_both)], ids=str)


def first_flight(what: str, flight: Path, *command: str | Path) -> str:
    status, text = run_client(["/usr/bin/python3", FIRST_FLIGHT, what, VIP4, str(PORT), flight, AWAY4, *command],
                              stdin=REQUEST)
    assert status == 0, text
    return text


def early_command(session: Path) -> list[str | Path]:
    request = session.with_name("early")
    request.write_text(EARLY_REQUEST)
    return ["openssl", "s_client", "-connect", "127.0.0.1:@PORT@", "-servername", SERVER_NAME, "-CAfile", WEB_CA,
            "-tls1_3", "-ign_eof", "-sess_in", session, "-early_data", request]


def connect_early(session: Path, flight: Path) -> str:
    """Sends one request as early data and one after the handshake; keeps the first flight's bytes."""
    return first_flight("record", flight, *early_command(session), "-sess_out", session)


@servers
def test_early_data_follows_the_session_and_is_never_replayed(chassis: Chassis, session: Path, tmp_path: Path,
                                                              options: Options) -> None:
    home = openssl.connect("1.3", session, source=AWAY4)
    assert home.ok, home
    flight, kept = tmp_path / "flight", tmp_path / "kept"
    copy = tmp_path / "copy"
    copy.write_bytes(session.read_bytes())
    first_flight("keep", kept, *early_command(copy))
    assert "Early data was accepted" in connect_early(session, flight), "on the blade that has the session"
    assert first_flight("send", kept).strip() == "not answered", "another connection has had that ticket's early data"
    with chassis.drained(home.blade):
        text = connect_early(session, flight)
        assert "Early data was accepted" in text, text
        assert header(text, "X-Blade") not in ("", home.blade), text
    for blade in chassis.blade_states():
        with ExitStack() as others:
            for other in chassis.blade_states():
                if other != blade:
                    others.enter_context(chassis.drained(other))
            for sent in (flight, kept):
                assert first_flight("send", sent).strip() == "not answered", f"{blade} took a replay"
    assert first_flight("send", flight).strip() == "not answered"
    after = openssl.connect("1.3", session, source=AWAY4)
    assert after.resumed, "the replays cost the client nothing"


def test_a_first_flight_is_answered_once(chassis: Chassis, session: Path, tmp_path: Path) -> None:
    """Its very bytes, four times at once: so that what tells an answer does tell one (of nginx; HAProxy answers only
    after the handshake)."""
    assert openssl.connect("1.3", session, source=AWAY4).ok
    kept = tmp_path / "kept"
    first_flight("keep", kept, *early_command(session))
    with ThreadPoolExecutor(4) as pool:
        answers = [text.strip() for text in pool.map(lambda _: first_flight("send", kept), range(4))]
    assert sorted(answers) == ["answered", *["not answered"] * 3]
