# SPDX-License-Identifier: Apache-2.0
"""The lab shares two cores with everything else: a dispatcher that polls adaptively must sleep when idle."""

from support.chassis import Chassis


def test_idle_dispatcher_sleeps(chassis: Chassis) -> None:
    assert chassis.cpu_share("dispatch", "keyrail-dp", 3) < 0.25


def test_idle_control_and_agents_sleep(chassis: Chassis) -> None:
    assert chassis.cpu_share("dispatch", "keyraild", 1) < 0.1
    assert chassis.cpu_share("blade1", "keyrail-agent", 1) < 0.1
