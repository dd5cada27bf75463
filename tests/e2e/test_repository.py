# SPDX-License-Identifier: Apache-2.0
"""A blade dies, and its sessions do not: they come back from the repository, on another blade, once."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients import openssl
from clients.outcome import VERSIONS
from lab.namespaces import enter, in_host
from lab.plan import AWAY4, DISPATCH, SWITCH
from support.chassis import Chassis, eventually

REDIS_PORT = 6379  # of the dispatcher's namespace


@contextmanager
def kept(chassis: Chassis, kind: str, directory: Path) -> Iterator[None]:
    """The service with this repository; as it was at the end."""
    redis, tables = None, ""
    try:
        if kind == "redis":
            redis = subprocess.Popen([*enter(DISPATCH), "redis-server", "--bind", "127.0.0.1", "--port",
                                      str(REDIS_PORT), "--save", "", "--dir", str(directory), "--logfile", "redis.log"])
            tables = f'\n[redis]\nnodes = ["127.0.0.1:{REDIS_PORT}"]\n'
        service = f'pool = "web"\nrepository = "{kind}"\n'
        with chassis.configured(lambda text: text.replace('pool = "web"\n', service) + tables):
            yield
    finally:
        if redis:
            redis.kill()
            redis.wait()


@contextmanager
def unplugged(chassis: Chassis, blade: str) -> Iterator[None]:
    """Neither its server nor its agent nor its machine answers any more."""
    try:
        in_host(SWITCH, ["ip", "link", "set", blade, "down"])
        eventually(lambda: chassis.blade_states()[blade] == "down", 10, f"{blade} is down")
        yield
    finally:
        in_host(SWITCH, ["ip", "link", "set", blade, "up"])
        chassis.wait_for_states("up", 20)


def repository(chassis: Chassis, kind: str, figure: str) -> int:
    return chassis.stats().raw["checkpoints"]["repositories"][kind][figure]


def all_there_is(chassis: Chassis, kind: str, scratch: Path) -> int:
    """How many were stored, once the agents have their keys and have told of every session that there was before."""
    assert openssl.connect("1.3", scratch, source=AWAY4).ok
    stored = [0, *eventually(lambda: (now := repository(chassis, kind, "stored")) and [now], 10, "a session is stored")]
    while stored[-1] != stored[-2]:
        time.sleep(0.5)
        stored.append(repository(chassis, kind, "stored"))
    return stored[-1]


def in_repository(chassis: Chassis, kind: str, session: Path, before: int) -> bool:
    """keyraild has heard of it, and wrote more than before."""
    known = chassis.keyrail("session", "where", openssl.session_name(session))["uses"] is not None
    return known and repository(chassis, kind, "stored") > before and repository(chassis, kind, "waiting") == 0


@pytest.mark.parametrize("kind", ["lmdb", "redis"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_blade_dies(chassis: Chassis, session: Path, tmp_path: Path, version: str, kind: str) -> None:
    with kept(chassis, kind, tmp_path):
        before = all_there_is(chassis, kind, tmp_path / "other")
        home = openssl.connect(version, session, source=AWAY4)
        assert home.ok, home
        eventually(lambda: in_repository(chassis, kind, session, before), 10, "the session is in the repository")
        with unplugged(chassis, home.blade):
            again = openssl.connect(version, session, source=AWAY4)
            assert again.resumed and again.blade != home.blade, (home, again, chassis.account())
            assert repository(chassis, kind, "taken") >= 1
        # The blade is back, and with it its copy of the session: it counts for nothing.
        later = openssl.connect(version, session, source=AWAY4)
        assert later.resumed and later.blade == again.blade, (home, again, later, chassis.account())
