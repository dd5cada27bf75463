# SPDX-License-Identifier: Apache-2.0
"""A profile for this machine: which ports, which cores, how much memory. What only its operator knows (addresses, routes)
stays to be filled in."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyrail_hw.machine import HardwareError, Machine, Nic

MEGABYTES, FLOWS = 1792, 4194304  # as profiles/example-2x25g.toml, which says what each is for
MAX_WORKERS = 16  # of those that detect gives: more are worth it where a port spreads over as many queues


@dataclass(frozen=True)
class Wanted:
    """What the command line says; "" or 0: it is chosen."""

    front: str = ""
    back: str = ""
    workers: int = 0


def profile(machine: Machine, wanted: Wanted) -> str:
    front, back = choose(machine, wanted)
    control, workers = place(machine, front.node, wanted.workers)
    lcores = ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate([control, *workers]))
    return "\n".join([
        "# Made by 'keyrail-hw detect'. Fill in the addresses, then: keyrail-hw bind FILE && keyrail-hw preflight FILE",
        *(f"# not used: {describe(nic)}" for nic in machine.nics() if nic not in (front, back)),
        "", "[worker]", f"count = {len(workers)}", f'cores = "{lcores}"  # lcore@CPU: 0 is the control thread', 'poll = "busy"',
        "", "[memory]", f"megabytes = {MEGABYTES}", "mbufs = 131072", f"flows = {FLOWS}",
        'flow_directory = "/dev/hugepages"', "holds = 16384", "moved = 4194304", "routes = 65536",
        *_port("front", front, 'routes = []     # "default via 192.0.2.1"'), *_port("back", back), ""])


def describe(nic: Nic) -> str:
    parts = [nic.address, nic.device, "/".join(nic.interfaces), f"{nic.speed} Mbit/s" if nic.speed > 0 else "",
             f"node {nic.node}" if nic.node >= 0 else "", f"driver {nic.driver}" if nic.driver else "", nic.in_use]
    return ", ".join(filter(None, parts))


def _port(role: str, nic: Nic, *more: str) -> list[str]:
    return ["", f"[[port]]  # {describe(nic)}", f'name = "{role}0"', f'role = "{role}"', f'device = "{nic.address}"',
            f'kernel_interface = "{role}"', "addresses = []  # " + ('"192.0.2.2/24"' if role == "front" else '"10.77.0.1/24"'),
            *more]


def choose(machine: Machine, wanted: Wanted) -> tuple[Nic, Nic]:
    """The two fastest ports of one node that nobody uses, unless they are named."""
    nics = machine.nics()
    named = {role: _named(nics, role, address) for role, address in (("front", wanted.front), ("back", wanted.back)) if address}
    free = [nic for nic in nics if not nic.in_use and nic not in named.values()]
    near = {nic.node for nic in named.values()}
    free.sort(key=lambda nic: (nic.node not in near if near else 0, -nic.speed, nic.node, nic.address))
    if not named and len(free) > 2:  # the second one as near to the first as can be
        free[1:] = sorted(free[1:], key=lambda nic: (nic.node != free[0].node, -nic.speed, nic.address))
    if len(free) + len(named) < 2:
        raise HardwareError("two network ports that nobody uses are needed:\n"
                            + ("\n".join(f"  {describe(nic)}" for nic in nics) or "  there is none at all"))
    chosen = iter(free)
    front = named.get("front") or next(chosen)
    back = named.get("back") or next(chosen)
    if front == back:
        raise HardwareError(f"{front.address} cannot be front and back")
    return front, back


def _named(nics: Sequence[Nic], role: str, address: str) -> Nic:
    for nic in nics:
        if address in (nic.address, nic.address.removeprefix("0000:"), *nic.interfaces):
            if nic.in_use:
                raise HardwareError(f"--{role} {address}: {nic.in_use}; Keyrail would take it away from the kernel")
            return nic
    raise HardwareError(f"--{role} {address}: no such network port; there are:\n"
                        + "\n".join(f"  {describe(nic)}" for nic in nics))


def place(machine: Machine, node: int, workers: int) -> tuple[int, list[int]]:
    """CPUs of the control thread and of the workers, on the ports' node: isolated ones, if there are any."""
    cores = machine.cores(node)
    isolated = [cpu for cpu in cores if cpu in machine.isolated]
    others = [cpu for cpu in machine.cores(-1) if cpu not in isolated]
    control = next((cpu for cpu in cores if cpu not in isolated), others[0] if others else cores[0])
    candidates = isolated or [cpu for cpu in cores if cpu != control] or [control]
    if workers > len(candidates):
        raise HardwareError(f"--workers {workers}: there are {len(candidates)} cores for workers on the ports' node "
                            f"(CPUs {', '.join(map(str, candidates))})")
    return control, candidates[:workers or min(len(candidates), MAX_WORKERS)]
