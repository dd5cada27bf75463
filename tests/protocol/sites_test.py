# SPDX-License-Identifier: Apache-2.0
"""Who may have a session: only a site that would have let its client in itself (control/hooks/site.h). Real servers, TLS
1.2 and 1.3; the two sites in one process, in two that share a store, and on two blades."""

import time
from pathlib import Path

import pytest
import two_names
from sites import KINDS, Authority, Site, start, visit
from tls_server import VERSIONS, Bench, Server, Store

BOTH = pytest.mark.parametrize("version", VERSIONS)
ALL = pytest.mark.parametrize("kind", KINDS)
WHERE = pytest.mark.parametrize("where", ["one process", "two processes", "two blades"])


def service_id(name: str) -> str:
    """As the store lists it (dataplane/common/ids.h)."""
    number = 0xCBF29CE484222325
    for byte in name.encode():
        number = (number ^ byte) * 0x100000001B3 % 2**64
    return f"{number:x}"


class Sites:
    """A site that makes sessions, and one that they are offered to."""

    def __init__(self, bench: Bench, kind: str, where: str, made_at: Site, offered_to: Site) -> None:
        self.bench, self.kind, self.where = bench, kind, where
        self.made_at, self.offered_to = made_at, offered_to
        self.here = bench.store("here", 1)
        self.there = bench.store("there", 2) if where == "two blades" else self.here
        self.servers: list[Server] = []
        if where == "one process":
            self.servers.append(start(bench, kind, self.here, [made_at, offered_to]))
        else:
            self.servers += [start(bench, kind, self.here, [made_at]), start(bench, kind, self.there, [offered_to])]

    def carry(self) -> None:
        """The sessions go to where the other site is."""
        if self.there is not self.here:
            self.here.move_all_to(self.there)


@pytest.fixture
def ca(bench: Bench) -> Authority:
    return Authority(bench, "ca1")


@WHERE
@ALL
@BOTH
@pytest.mark.parametrize("verify", ["none", "optional"])
def test_a_session_without_a_certificate_does_not_open_a_site_that_demands_one(
        bench: Bench, ca: Authority, session: Path, version: str, kind: str, where: str, verify: str) -> None:
    sites = Sites(bench, kind, where, Site(verify=verify, ca="" if verify == "none" else "ca1"), Site(verify="required", ca="ca1"))
    client = ca.client("ann")
    assert visit(sites.made_at, version, session, save=True).answer
    sites.carry()
    intruder = visit(sites.offered_to, version, session)
    # To OpenSSL nginx only ever says "optional"; it turns such a client away itself.
    assert not intruder.reused or (kind == "nginx" and verify == "optional"), intruder.output
    assert "SUCCESS" not in intruder.answer and "1,0" not in intruder.answer
    welcome = visit(sites.offered_to, version, session, *client)
    assert not welcome.reused and "ann" in welcome.answer, welcome.output


@WHERE
@ALL
@BOTH
def test_a_certificate_of_one_authority_does_not_open_a_site_that_trusts_another(
        bench: Bench, ca: Authority, session: Path, version: str, kind: str, where: str) -> None:
    other = Authority(bench, "ca2")
    sites = Sites(bench, kind, where, Site(verify="required", ca="ca1"), Site(verify="required", ca="ca2"))
    ann, bob = ca.client("ann"), other.client("bob")
    assert "ann" in visit(sites.made_at, version, session, *ann, save=True).answer
    sites.carry()
    intruder = visit(sites.offered_to, version, session)
    assert not intruder.reused, intruder.output
    assert "ann" not in intruder.answer
    assert "bob" in visit(sites.offered_to, version, session, *bob).answer


@WHERE
@ALL
@BOTH
@pytest.mark.parametrize("verify", ["none", "optional", "required"])
def test_sites_that_demand_the_same_share_sessions(bench: Bench, ca: Authority, session: Path, version: str, kind: str,
                                                   where: str, verify: str) -> None:
    """Ordinary resumption: the same site in another process or on another blade."""
    authority = "" if verify == "none" else "ca1"
    there = Site(verify=verify, ca=authority)
    sites = Sites(bench, kind, where, Site(verify=verify, ca=authority), there)
    client = () if verify == "none" else ca.client("ann")
    offered_to = sites.made_at if where == "one process" and kind != "haproxy" else there  # their sites stay apart anyway
    assert not visit(sites.made_at, version, session, *client, save=True).reused
    sites.carry()
    for _ in range(2):
        again = visit(offered_to, version, session, save=True)
        assert again.reused, again.output
        assert ("ann" in again.answer) == (verify != "none"), again.answer


@ALL
@BOTH
@pytest.mark.parametrize("first", ["public", "private"])
def test_sites_told_apart_by_sni(bench: Bench, ca: Authority, session: Path, version: str, kind: str, first: str) -> None:
    """nginx changes to the site's SSL_CTX after OpenSSL has looked for the session."""
    store = bench.store("s")
    public, one = Site("a.test"), Site("b.test", "required", "ca1", certificate="b.test")
    other = Site("c.test", "required", "ca2")
    bob = Authority(bench, "ca2").client("bob")
    bench.certificate("c.test")
    other.certificate = "c.test"
    start(bench, kind, store, [public, one, other] if first == "public" else [one, other, public], one_port=True)
    ann = ca.client("ann")
    made = {"none": session.with_name("none"), "ann": session.with_name("ann")}
    assert visit(public, version, made["none"], save=True).answer
    assert "ann" in visit(one, version, made["ann"], *ann, save=True).answer
    for site, whose in ((one, "none"), (other, "none"), (other, "ann"), (public, "ann")):
        intruder = visit(site, version, made[whose])
        assert not intruder.reused, (site, whose, intruder.output)
        assert "ann" not in intruder.answer
    assert "bob" in visit(other, version, made["ann"], *bob).answer
    for site, whose in ((public, "none"), (one, "ann")):
        again = visit(site, version, made[whose], save=True)
        assert again.reused and ("ann" in again.answer) == (whose == "ann"), (site, again.output)


@ALL
def test_who_asks_for_another_site_after_a_retry_gets_no_more_by_a_session(bench: Bench, ca: Authority, session: Path,
                                                                           kind: str) -> None:
    """Than by a full handshake: which site's rules hold then, the server decides."""
    store = bench.store("s")
    Authority(bench, "ca2")
    public, one, other = Site("a.test"), Site("b.test", "required", "ca1", certificate="b.test"), Site("c.test", "required", "ca2")
    bench.certificate("c.test")
    other.certificate = "c.test"
    start(bench, kind, store, [public, one, other], one_port=True, extra=two_names.CURVES[kind])
    for site, client, certificate in ((public, (), ""), (one, ca.client("ann"), f"{bench.directory}/ann")):
        for second in (public, one, other):
            assert visit(site, "1.3", session, *client, offer=False, save=True).answer
            full = two_names.visit(public.port, None, site.name, second.name, certificate)
            resumed = two_names.visit(public.port, session, site.name, second.name)
            assert full.retried and resumed.retried
            assert resumed.answer in ("", full.answer), (site, second)
            assert resumed.reused or second is not site


@BOTH
@pytest.mark.parametrize("apart", ["ports", "SNI"])
def test_a_group_of_sites_shares_no_certificates(bench: Bench, ca: Authority, session: Path, version: str, apart: str) -> None:
    """`id_context` lets sites use each other's sessions; it does not let anybody's clients in."""
    store = bench.store("s")
    Authority(bench, "ca2")
    sites = [Site("a.test", "required", "ca1"), Site("b.test", "required", "ca2"), Site("c.test")]
    start(bench, "nginx", store, sites, one_port=apart == "SNI")
    store.control("blade=1", "group=7", *(f"port={port}" for port in dict.fromkeys(site.port for site in sites)))
    assert "ann" in visit(sites[0], version, session, *ca.client("ann"), save=True).answer
    for site in sites[1:]:
        intruder = visit(site, version, session)
        assert not intruder.reused and "ann" not in intruder.answer, intruder.output
    plain = session.with_name("plain")
    visit(sites[2], version, plain, save=True)
    for site in sites[:2]:
        assert not visit(site, version, plain).reused
    assert "ann" in visit(sites[0], version, session).answer


@ALL
@BOTH
def test_services_stay_apart(bench: Bench, session: Path, version: str, kind: str) -> None:
    """The same site at two services' addresses: they share sessions only as a group. HAProxy and Apache show their sockets
    to nobody; we see what they read."""
    store = bench.store("s")
    one, other = Site(), Site()
    start(bench, kind, store, [one, other])
    store.control("blade=1", f"port={one.port}", f"port={other.port}")
    visit(one, version, session, save=True)
    assert not visit(other, version, session).reused
    assert visit(one, version, session).reused
    assert {(made["port"], made["service"]) for made in store.sessions()} == {
        (str(site.port), service_id(str(site.port))) for site in (one, other)}
    store.control("blade=1", "group=7", f"port={one.port}", f"port={other.port}")
    visit(one, version, session, offer=False, save=True)
    assert visit(other, version, session).reused


@pytest.mark.parametrize("kind", ["haproxy", "apache"])
@BOTH
def test_an_address_of_no_service_is_the_blades_only_service(bench: Bench, session: Path, version: str, kind: str) -> None:
    """Behind another listener of the same server, where nothing tells which service it is; of several none is meant."""
    store = bench.store("s")
    one, other = Site(), Site()
    start(bench, kind, store, [one, other])
    store.control("blade=1", "service=only", f"port={one.port}")
    visit(other, version, session, save=True)
    assert {made["service"] for made in store.sessions()} == {service_id("only")}
    assert {made["port"] for made in store.sessions()} == {"0"}
    assert visit(other, version, session).reused
    assert not visit(one, version, session).reused, "what is at a service's address, is that one's"


@WHERE
@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
@BOTH
def test_a_certificate_that_did_not_verify_is_no_certificate(bench: Bench, ca: Authority, session: Path, version: str,
                                                             kind: str, where: str) -> None:
    """A site that lets anybody's certificate pass makes sessions that are good nowhere else."""
    stranger = Authority(bench, "ca2").client("eve")
    sites = Sites(bench, kind, where, Site(verify="any", ca="ca1"), Site(verify="optional", ca="ca1"))
    assert "eve" in visit(sites.made_at, version, session, *stranger, save=True).answer
    sites.carry()
    intruder = visit(sites.offered_to, version, session)
    assert not intruder.reused and "eve" not in intruder.answer, intruder.output


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "apache"])
@BOTH
def test_a_revoked_certificate_does_not_resume(bench: Bench, ca: Authority, session: Path, version: str, kind: str) -> None:
    store = bench.store("s")
    site = Site(verify="required", ca="ca1")
    crl = {"nginx": "ssl_crl {};", "haproxy": "crl-file {}",
           "apache": "SSLCARevocationCheck chain\nSSLCARevocationFile {}\n"}[kind].format(bench.directory / "ca1.crl")
    ann, bob = ca.client("ann"), ca.client("bob")
    ca.crl()
    server = start(bench, kind, store, [site], extra=crl)
    of_bob = session.with_name("bob")
    assert "ann" in visit(site, version, session, *ann, save=True).answer
    assert "bob" in visit(site, version, of_bob, *bob, save=True).answer
    assert "ann" in visit(site, version, session, save=True).answer, "as long as she is welcome"
    server.stop()
    ca.crl("ann")
    start(bench, kind, store, [site], extra=crl)
    assert not visit(site, version, session).reused
    refused = visit(site, version, session, *ann)
    assert not refused.reused and "SUCCESS" not in refused.answer and "1,0" not in refused.answer, refused.output
    assert "bob" in visit(site, version, of_bob, *bob).answer


@ALL
@BOTH
def test_an_expired_certificate_does_not_resume(bench: Bench, ca: Authority, session: Path, version: str, kind: str) -> None:
    """Its session may live longer than it."""
    site = Site(verify="required", ca="ca1")
    start(bench, kind, bench.store("s"), [site])
    end = int(time.time()) + 4
    ann = ca.client("ann", until=end)
    assert "ann" in visit(site, version, session, *ann, save=True).answer
    assert visit(site, version, session, save=True).reused
    while time.time() <= end + 1:
        time.sleep(0.05)
    assert not visit(site, version, session, *ann).reused


@BOTH
def test_a_directory_that_demands_a_certificate(bench: Bench, ca: Authority, session: Path, version: str) -> None:
    """Apache asks for it after the handshake (TLS 1.3), or renegotiates (TLS 1.2)."""
    store = bench.store("s")
    site, other = Site("a.test", "none", "ca1"), Site("b.test", "none", "ca2")
    Authority(bench, "ca2")
    extra = '<Location "/private">\nSSLVerifyClient require\n</Location>\n'
    start(bench, "apache", store, [site, other], extra=extra)
    ann = ca.client("ann")
    plain = session.with_name("plain")
    assert visit(site, version, plain, save=True).answer
    assert visit(site, version, plain, save=True).reused
    private = visit(site, version, session, *ann, "-enable_pha", save=True, path="/private/x")
    assert "ann" in private.answer, private.output
    again = visit(site, version, session, *ann, "-enable_pha", path="/private/x")
    if version == "1.3":  # in TLS 1.2 Apache gives what was renegotiated a context of its own
        assert again.reused and "ann" in again.answer, again.output
    assert not visit(other, version, session, "-enable_pha").reused
    without = visit(site, version, plain, "-enable_pha", path="/private/x")
    assert "SUCCESS" not in without.answer, without.output


def test_a_store_is_one_server_of_each_kind(bench: Bench, session: Path) -> None:
    """What one kind of server made, another one does not take (its sites are others), and does not use up."""
    store: Store = bench.store("s")
    sites = {kind: Site() for kind in KINDS}
    for kind, site in sites.items():
        start(bench, kind, store, [site])
    visit(sites["nginx"], "1.3", session, save=True)
    for kind in ("haproxy", "apache"):
        assert not visit(sites[kind], "1.3", session).reused
    assert visit(sites["nginx"], "1.3", session).reused
