# SPDX-License-Identifier: Apache-2.0
"""What an operator does to a chassis that works: one thing at a time, and everything is whole again afterwards."""

import os
import random
import signal
import time
from collections.abc import Callable

from common.shell import ToolError
from lab import lifecycle, readiness
from lab.namespaces import wait_until
from lab.plan import CONFIG, DISPATCH
from lab.state import load

WHOLE = 30.0  # seconds until everything is up again


def pid(host: str, name: str) -> int:
    state = load()
    if state is None:
        raise ToolError("the lab is not up any more")
    return state.process(host, name).pid


def whole() -> bool:
    try:
        blades = readiness.keyrail_json("blade", "list")
    except ToolError:
        return False  # keyraild comes up
    return all(blade["state"] == "up" and blade["agent"]["connected"] for blade in blades)


def wait_until_whole() -> None:
    if not wait_until(whole, WHOLE, every=0.2):
        raise ToolError(f"not whole again after {WHOLE:.0f} s: {readiness.keyrail_json('blade', 'list')}")


def drain_and_resume(chance: random.Random, blade: str) -> None:
    number = blade.removeprefix("blade")
    readiness.keyrail("blade", "drain", number)
    time.sleep(chance.uniform(1, 6))
    readiness.keyrail("blade", "resume", number)


def reload_configuration(_chance: random.Random, blade: str) -> None:
    """A blade is taken out of the file, and put back."""
    good = CONFIG.read_text()
    tables = good.split("[[")
    other = "[[".join(table for table in tables if not table.startswith(f"blade]]\nid = {blade.removeprefix('blade')}\n"))
    numbers = [int(word) for word in good.split("blades = [")[1].split("]")[0].split(",")]
    rest = [number for number in numbers if number != int(blade.removeprefix("blade"))]
    try:
        CONFIG.write_text(other.replace(f"blades = {numbers}", f"blades = {rest}"))
        readiness.keyrail("config", "reload")
        time.sleep(2)
    finally:
        CONFIG.write_text(good)
        readiness.keyrail("config", "reload")


def graceful_stop(chance: random.Random, blade: str) -> None:
    """nginx -s quit: it takes nothing new, and ends with its last connection, or when we are tired of waiting."""
    server = pid(blade, "nginx")
    os.kill(server, signal.SIGQUIT)
    wait_until(lambda: not os.path.exists(f"/proc/{server}"), chance.uniform(5, 40), every=0.2)
    lifecycle.restart(blade, "nginx")


def restart_server(_chance: random.Random, blade: str) -> None:
    lifecycle.restart(blade, "nginx")


def restart_agent(_chance: random.Random, blade: str) -> None:
    lifecycle.restart(blade, "keyrail-agent")


def restart_keyraild(_chance: random.Random, _blade: str) -> None:
    lifecycle.restart(DISPATCH, "keyraild")


def restart_dataplane(_chance: random.Random, _blade: str) -> None:
    lifecycle.restart(DISPATCH, "keyrail-dp")


OPERATIONS: dict[str, Callable[[random.Random, str], None]] = {
    "drain, resume": drain_and_resume, "reload": reload_configuration, "graceful stop": graceful_stop,
    "restart of the server": restart_server, "restart of the agent": restart_agent,
    "restart of keyraild": restart_keyraild, "restart of keyrail-dp": restart_dataplane}
