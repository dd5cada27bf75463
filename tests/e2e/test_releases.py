# SPDX-License-Identifier: Apache-2.0
"""A chassis of one Debian 12 and two Debian 13 blades: a session that OpenSSL 3.0 made is resumed by 3.5, and the other way.

The servers of the other release are those in the root that `tools/test --on` makes, and so are the agents if they were built
there; the hook library is this machine's for all of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS, Outcome
from common.debian import own_release, root_of
from common.shell import run
from lab.chassis import agent_of
from lab.plan import AWAY4, PKI, SERVERS, Options
from support import nginx
from support.chassis import Chassis
from support.releases import ONE_AND_TWO, OTHER, needs_both
from testing import releases

pytestmark = needs_both
NGINX, HAPROXY, APACHE = (Options(server=server, releases=ONE_AND_TWO) for server in SERVERS)
OPTIONS = NGINX
DIRECTIONS = list(permutations(("blade1", "blade2", "blade3"), 2))
SAYS = {"1.2": ["", "-no_ticket"], "1.3": [""]}


@pytest.fixture(scope="module", autouse=True)
def _agent_of_the_other() -> None:
    """The programs of two versions are no chassis: as fresh as those of this machine."""
    if agent_of(OTHER)[0]:
        releases.fresh_agent(OTHER)


def connect_to(blade: str, chassis: Chassis, session: Path, version: str, says: list[str]) -> Outcome:
    """One connection, while nobody else takes anything new."""
    with ExitStack() as others:
        for other in chassis.blade_states():
            if other != blade:
                others.enter_context(chassis.drained(other))
        return openssl.connect(version, session, source=AWAY4, options=says)


def moves(chassis: Chassis, folder: Path, version: str, says: list[str]) -> list[Outcome]:
    """A session of each blade is moved to each other blade, and back; the outcomes at the new place."""
    outcomes = []
    for home, target in DIRECTIONS:
        session = folder / f"{home}-{target}"
        session.unlink(missing_ok=True)
        first = connect_to(home, chassis, session, version, says)
        assert first.ok and first.blade == home and not first.resumed, (home, first)
        for place in (target, home):
            outcome = connect_to(place, chassis, session, version, says)
            # As text, for pytest shortens a tuple.
            assert outcome.resumed and outcome.blade == place, f"{home} to {target}: {outcome} {chassis.account()}"
            outcomes.append(outcome)
    return outcomes


def test_each_blade_runs_the_programs_of_its_release(chassis: Chassis) -> None:
    for blade, release in zip(("blade1", "blade2", "blade3"), NGINX.releases.split(","), strict=True):
        place = Path("/") if release == own_release() else root_of(release)
        for program in ("keyrail-agent", "nginx") if agent_of(release)[0] else ("nginx",):
            assert Path(f"/proc/{chassis.pid(blade, program)}/root").readlink() == place, (blade, program)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [NGINX, HAPROXY, APACHE], ids=str)
def test_sessions_move_in_all_directions(chassis: Chassis, tmp_path: Path, options: Options, version: str) -> None:
    for word in SAYS[version]:
        moves(chassis, tmp_path, version, [word] if word else [])


@pytest.fixture
def client_certificate() -> Iterator[list[str]]:
    """What s_client says to have one; where all blades can read it."""
    certificate, key = PKI / "client.pem", PKI / "client.key"
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", certificate, "-days", "30", "-subj", "/CN=a client"])
    yield ["-cert", str(certificate), "-key", str(key)]
    certificate.unlink()
    key.unlink()


@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificates_come_along(chassis: Chassis, tmp_path: Path, client_certificate: list[str], version: str) -> None:
    """The server knows whose session it is though the client shows its certificate no second time."""
    says = f"ssl_verify_client on; ssl_client_certificate {client_certificate[1]}; add_header X-Client $ssl_client_s_dn always;"
    with nginx.configured(chassis, says):
        for outcome in moves(chassis, tmp_path, version, client_certificate):
            assert outcome.certificate == "CN=a client", outcome
