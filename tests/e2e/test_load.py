# SPDX-License-Identifier: Apache-2.0
"""Many connections: none fails, and the books balance afterwards."""

import re

import pytest

from clients.outcome import VERSIONS, run_client
from lab.plan import VIP4
from support.chassis import Chassis

CONNECTIONS, PARALLEL = 2000, 32


def figure(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("version", VERSIONS)
def test_2000_connections_32_in_parallel(chassis: Chassis, version: str) -> None:
    status, text = run_client(["ab", "-q", "-n", str(CONNECTIONS), "-c", str(PARALLEL), "-s", "30", "-f",
                               f"TLS{version}", f"https://{VIP4}/index.txt"], timeout=120)
    assert status == 0, text
    assert figure(text, "Complete requests") == CONNECTIONS
    assert figure(text, "Failed requests") == 0, text
    assert figure(text, "Non-2xx responses") == 0, text


def test_counters_are_conserved(chassis: Chassis) -> None:
    stats = chassis.quiet_stats()
    assert stats.counter("rx") > 0 and stats.counter("tx") > 0
    assert stats.counter("held") == 0
