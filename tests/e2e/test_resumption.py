# SPDX-License-Identifier: Apache-2.0
"""A returning client is resumed: every time, with every client, wherever it comes from."""

from pathlib import Path

import pytest

from clients import curl, gnutls, openssl
from clients.outcome import VERSIONS, endpoint, resumed, run_client, where
from common.debian import has_program
from lab.plan import AWAY4, AWAY6, CLIENT4_SECOND, VIP4, VIP6
from support import nginx
from support.chassis import Chassis

HUNDRED = 100
TODAYS = "trixie"  # Debian 13: the release whose clients have today's defaults
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_families = pytest.mark.parametrize("vip", [VIP4, VIP6])


@pytest.mark.parametrize("version, says", [("1.2", []), ("1.2", ["-no_ticket"]), ("1.3", [])], ids=["1.2", "1.2 by id", "1.3"])
def test_openssl_resumes_every_time(chassis: Chassis, session: Path, version: str, says: list[str]) -> None:
    assert openssl.connect(version, session, options=says).ok
    names = set()
    for number in range(HUNDRED):
        names.add(openssl.session_name(session))
        outcome = openssl.connect(version, session, options=says)
        assert outcome.resumed, f"reconnect {number}: {outcome}"
        assert outcome.version == version
    # A fresh ticket each time in TLS 1.3; in TLS 1.2 a session keeps its id or ticket.
    assert len(names) == (HUNDRED if version == "1.3" else 1)


@both_versions
@both_families
def test_curl_resumes_every_time(chassis: Chassis, version: str, vip: str) -> None:
    outcomes = curl.connect(version, HUNDRED + 1, vip)
    assert not outcomes[0].resumed
    assert resumed(outcomes[1:]) == HUNDRED, where(outcomes) + str([one for one in outcomes if one.error])
    assert len({outcome.local_port for outcome in outcomes}) == HUNDRED + 1


@pytest.mark.skipif(not has_program(TODAYS, "curl"), reason=f"tools/test --on {TODAYS} makes the root that has it")
@both_families
def test_todays_curl_resumes_every_time(chassis: Chassis, vip: str) -> None:
    """OpenSSL 3.5 and its defaults: each hello has a post-quantum share and takes two segments, whoever makes it here."""
    before = chassis.stats()
    outcomes = curl.connect("1.3", HUNDRED + 1, vip, release=TODAYS)
    assert not outcomes[0].resumed
    assert resumed(outcomes[1:]) == HUNDRED, where(outcomes) + str([one for one in outcomes if one.error])
    more = chassis.stats().counter("hello_rest") - before.counter("hello_rest")
    assert more >= HUNDRED, "segments of hellos behind their first ones"


@both_versions
def test_gnutls_resumes_every_time(chassis: Chassis, version: str) -> None:
    outcomes = [gnutls.reconnect(version) for _ in range(HUNDRED)]
    assert resumed(outcomes) == HUNDRED, [one for one in outcomes if not one.resumed][:1]


@both_versions
@pytest.mark.parametrize("source, vip", [(CLIENT4_SECOND, VIP4), (AWAY4, VIP4), (AWAY6, VIP6)])
def test_another_source_address_resumes(chassis: Chassis, session: Path, version: str, source: str,
                                        vip: str) -> None:
    """At the same blade, from whatever port."""
    seen = [openssl.connect(version, session), *(openssl.connect(version, session, vip, source) for _ in range(10))]
    assert all(outcome.resumed for outcome in seen[1:]), (seen, chassis.account())
    assert len({outcome.blade for outcome in seen}) == 1, (seen, chassis.account())


@both_versions
def test_ipv4_session_resumes_on_ipv6(chassis: Chassis, session: Path, version: str) -> None:
    home = openssl.connect(version, session, VIP4)
    outcome = openssl.connect(version, session, VIP6)
    assert outcome.resumed and outcome.blade == home.blade, outcome


def test_new_clients_reach_every_blade(chassis: Chassis, tmp_path: Path) -> None:
    blades = {openssl.connect("1.3", tmp_path / str(number)).blade for number in range(40)}
    assert len(blades) == chassis.options.blades, blades


def test_second_client_hello_resumes_too(chassis: Chassis, tmp_path: Path) -> None:
    """RFC 8446 section 4.1.4: the server wants another group, and the client says hello once more. Both hellos ask for the
    session, which can be taken only once. By default nginx takes any group that OpenSSL clients send a share of."""
    retry = ["-groups", "P-521:X25519"]  # a key share for the first
    with nginx.configured(chassis, "ssl_ecdh_curve X25519;"):
        _, text = run_client(["openssl", "s_client", "-connect", endpoint(VIP4), "-tls1_3", "-msg", *retry], stdin="")
        assert text.count("ClientHello") == 2, text
        for number in range(5):
            file = tmp_path / str(number)
            home = openssl.connect("1.3", file, source=AWAY4)
            again = openssl.connect("1.3", file, source=AWAY4, options=retry)
            assert again.resumed and again.blade == home.blade, again
            with chassis.drained(home.blade):
                moved = openssl.connect("1.3", file, source=AWAY4, options=retry)
                assert moved.resumed and moved.blade != home.blade, moved
