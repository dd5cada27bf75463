# SPDX-License-Identifier: Apache-2.0
"""Network cards from the kernel to vfio-pci, and back to the driver that they had. Done twice, nothing happens."""

import json
from collections.abc import Iterator

from keyrail_hw.machine import ETHERNET, KEEP_THEIR_DRIVER, VFIO, HardwareError, Machine, Nic
from keyrail_hw.profile import Profile

STATE = "/var/lib/keyrail/hw-drivers.json"  # address -> the driver that it had
DEVICES, DRIVERS = "/sys/bus/pci/devices", "/sys/bus/pci/drivers"


def bind(machine: Machine, profile: Profile) -> Iterator[str]:
    """What was done, a line for each port. All of them are looked at before one is touched."""
    nics = [_of_port(machine, port.pci) for port in profile.ports if port.pci]
    if any(nic.driver not in KEEP_THEIR_DRIVER for nic in nics) and not machine.path(f"{DRIVERS}/{VFIO}").exists():
        raise HardwareError("vfio-pci is not loaded: modprobe vfio-pci")
    for nic in nics:
        if nic.driver in KEEP_THEIR_DRIVER:
            yield f"{nic.address}: stays with {nic.driver}, DPDK runs beside it"
        elif nic.driver == VFIO:
            yield f"{nic.address}: has {VFIO} already"
        else:
            _remember(machine, nic)
            _give(machine, nic.address, nic.driver, VFIO)
            yield f"{nic.address}: {nic.driver or 'no driver'} -> {VFIO}"


def unbind(machine: Machine, profile: Profile) -> Iterator[str]:
    state = _state(machine)
    for port in profile.ports:
        if not port.pci:
            continue
        nic = machine.nic(port.pci)
        if nic.driver != VFIO:
            yield f"{nic.address}: has {nic.driver or 'no driver'}, not {VFIO}"
            continue
        driver = state.get(nic.address, "")
        _give(machine, nic.address, VFIO, driver)
        state.pop(nic.address, None)
        _save(machine, state)
        yield f"{nic.address}: {VFIO} -> {machine.nic(nic.address).driver or 'no driver'}"


def _of_port(machine: Machine, address: str) -> Nic:
    if address not in machine.names(DEVICES):
        raise HardwareError(f"there is no device {address}: 'keyrail-hw list' shows those that are there")
    if not machine.read(f"{DEVICES}/{address}/class").startswith(ETHERNET):
        raise HardwareError(f"{address} is no network card: 'keyrail-hw list' shows those that are there")
    nic = machine.nic(address)
    if nic.in_use:
        raise HardwareError(f"{address} stays with the kernel: {nic.in_use}")
    return nic


def _give(machine: Machine, address: str, before: str, driver: str) -> None:
    """`driver` "": the one that the kernel chooses."""
    device = f"{DEVICES}/{address}"
    machine.write(f"{device}/driver_override", f"{driver if driver == VFIO else ''}\n")
    if before:
        machine.write(f"{device}/driver/unbind", address)
    machine.write("/sys/bus/pci/drivers_probe", address)
    now = machine.link(f"{device}/driver")
    if driver and now != driver:
        raise HardwareError(f"{address} has {now or 'no driver'} where {driver} was wanted: 'dmesg' says why "
                            "(without an IOMMU see 'keyrail-hw preflight')")


def _state(machine: Machine) -> dict[str, str]:
    text = machine.read(STATE)
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise HardwareError(f"{machine.path(STATE)}: {error}; remove it: the kernel then chooses the drivers") from error
    return {str(address): str(driver) for address, driver in found.items()} if isinstance(found, dict) else {}


def _remember(machine: Machine, nic: Nic) -> None:
    """Before anything is touched."""
    _save(machine, _state(machine) | {nic.address: nic.driver})


def _save(machine: Machine, state: dict[str, str]) -> None:
    file = machine.path(STATE)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(state) + "\n")
        new.replace(file)
    except OSError as error:
        raise HardwareError(f"{file} cannot be written: {error.strerror}") from error
