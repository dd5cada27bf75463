# SPDX-License-Identifier: Apache-2.0
"""What an operator does to a chassis that works: one thing at a time, and everything is whole again afterwards."""

import os
import random
import time
from collections.abc import Callable

from common.shell import ToolError
from lab import lifecycle, readiness
from lab.namespaces import wait_until
from lab.plan import CONFIG, DISPATCH
from lab.servers import RELOAD, STOP_GRACEFULLY
from lab.state import State, load

WHOLE = 30.0  # seconds until everything is up again
STOPPED = 60.0  # seconds until the last of the load's connections has ended


def lab() -> State:
    state = load()
    if state is None:
        raise ToolError("the lab is not up any more")
    return state


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


def graceful_stop(_chance: random.Random, blade: str) -> None:
    """The server takes nothing new, and ends with its last connection."""
    name = lab().options.server
    server = lab().process(blade, name)
    os.kill(server.pid, STOP_GRACEFULLY[name])
    if not wait_until(lambda: not server.alive, STOPPED, every=0.2):
        raise ToolError(f"{name} on {blade} still has connections {STOPPED:.0f} s after it was told to stop: somebody hangs")
    lifecycle.restart(blade, name)


def reload_server(_chance: random.Random, blade: str) -> None:
    name = lab().options.server
    if name in RELOAD:
        os.kill(lab().process(blade, name).pid, RELOAD[name])
    else:
        lifecycle.succeed(blade, name, "-sf")


def restart_server(_chance: random.Random, blade: str) -> None:
    lifecycle.restart(blade, lab().options.server)


def restart_agent(_chance: random.Random, blade: str) -> None:
    lifecycle.restart(blade, "keyrail-agent")


def restart_keyraild(_chance: random.Random, _blade: str) -> None:
    lifecycle.restart(DISPATCH, "keyraild")


def restart_dataplane(_chance: random.Random, _blade: str) -> None:
    lifecycle.restart(DISPATCH, "keyrail-dp")


RESTART_SERVER = "restart of the server"
OPERATIONS: dict[str, Callable[[random.Random, str], None]] = {
    "drain, resume": drain_and_resume, "reload": reload_configuration, "graceful stop": graceful_stop,
    "reload of the server": reload_server, RESTART_SERVER: restart_server, "restart of the agent": restart_agent,
    "restart of keyraild": restart_keyraild, "restart of keyrail-dp": restart_dataplane}
