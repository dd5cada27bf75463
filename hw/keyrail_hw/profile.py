# SPDX-License-Identifier: Apache-2.0
"""What of a profile is about the machine. Whether it is a good profile, keyrail-dp says."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from keyrail_hw.machine import HardwareError, cpus

PCI = re.compile(r"([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7](?=,|$)")


@dataclass(frozen=True)
class Port:
    name: str
    role: str
    pci: str  # address; "" for an interface of the kernel or a virtual device
    kernel_interface: str


@dataclass(frozen=True)
class Profile:
    file: Path
    ports: tuple[Port, ...]
    workers: tuple[int, ...]  # CPUs; empty: the kernel's choice
    busy: bool
    huge_pages: bool
    megabytes: int
    flow_directory: str
    flows: int
    moved: int


def read(file: Path) -> Profile:
    try:
        text = tomllib.loads(file.read_text())
    except OSError as error:
        raise HardwareError(f"{file}: {error.strerror}; 'keyrail-hw detect --out {file}' makes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HardwareError(f"{file}: {error}") from error
    try:
        worker, memory = text.get("worker", {}), text.get("memory", {})
        ports = tuple(Port(port.get("name", ""), port.get("role", ""), _pci(port["device"]), port.get("kernel_interface", ""))
                      for port in text.get("port", []))
        return Profile(file, ports, _workers(worker.get("cores", "")), worker.get("poll", "busy") == "busy",
                       memory.get("huge_pages", True), memory.get("megabytes", 512), memory.get("flow_directory", ""),
                       int(memory.get("flows", 1 << 20)), int(memory.get("moved", 1 << 20)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HardwareError(f"{file}: this is no profile: {error!r}; 'keyrail-dp --profile {file}' says more") from error


def _pci(device: str) -> str:
    found = PCI.match(device)
    if not found:
        return ""
    return found[0].lower() if found[1] else f"0000:{found[0].lower()}"


def _workers(cores: str) -> tuple[int, ...]:
    """EAL's --lcores, "0@1,1@2" or "(0,1)@0": lcore 0 is the control thread."""
    found: set[int] = set()
    for lcores, at in re.findall(r"(\([^)]*\)|[\d-]+)@(\([^)]*\)|[\d-]+)", cores):
        if any(lcore != 0 for lcore in cpus(lcores.strip("()"))):
            found.update(cpus(at.strip("()")))
    return tuple(sorted(found))
