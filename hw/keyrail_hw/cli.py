# SPDX-License-Identifier: Apache-2.0
"""The command line. Exit status: 0 all is well; 1 a requirement failed, or it could not be done; 2 a mistake in the words."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from keyrail_hw import binding, detect, preflight, profile
from keyrail_hw.machine import HardwareError, Machine

EPILOG = """
  keyrail-hw list                                the network ports, and who uses them
  keyrail-hw detect --out /etc/keyrail/hw.toml   a profile for this machine; fill in the addresses
  keyrail-hw bind /etc/keyrail/hw.toml           its ports to vfio-pci
  keyrail-hw preflight /etc/keyrail/hw.toml      pass, warn or fail of each requirement, and the fix
  keyrail-hw unbind /etc/keyrail/hw.toml         the ports back to the kernel
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("keyrail-hw", description="What is in this machine, and whether Keyrail can run on it.",
                                  epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="where /sys, /proc and /var are (for tests)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, words: str, of_profile: bool | None = True) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        if of_profile is not None:
            one.add_argument("profile", type=Path, metavar="PROFILE", nargs=None if of_profile else "?",
                             help="hardware profile of keyrail-dp" + ("" if of_profile else " (default: the machine alone)"))
        one.add_argument("--json", action="store_true", help="for programs")
        return one

    command("list", "network ports: address, driver, NUMA node, and who uses them", None)
    found = command("detect", "write a profile for this machine", None)
    found.add_argument("--out", type=Path, metavar="FILE", help="where to (default: standard output); never over a file")
    found.add_argument("--front", default="", metavar="PORT", help="PCI address or interface towards the clients")
    found.add_argument("--back", default="", metavar="PORT", help="the same towards the blades")
    found.add_argument("--workers", type=int, default=0, metavar="N",
                       help=f"cores that forward (default: all of the ports' node but one, {detect.MAX_WORKERS} at most)")
    command("preflight", "check each requirement", False)
    command("bind", "give a profile's network ports to vfio-pci; never one that the kernel uses")
    command("unbind", "give them back to the drivers that they had")
    return top


def _preflight(machine: Machine, wanted: argparse.Namespace) -> int:
    checks = list(preflight.of_machine(machine))
    if wanted.profile:
        checks += preflight.of_profile(machine, profile.read(wanted.profile))
    failed = any(check.verdict == preflight.Verdict.FAIL for check in checks)
    if wanted.json:
        print(json.dumps({"ready": not failed, "checks": [asdict(check) for check in checks]}))
        return int(failed)
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.verdict:4}  {check.name:{width}}  {check.found}")
        if check.fix:
            print(f"{'':6}{'':{width}}  -> {check.fix}")
    return int(failed)


def _detect(machine: Machine, wanted: argparse.Namespace) -> None:
    text = detect.profile(machine, detect.Wanted(wanted.front, wanted.back, wanted.workers))
    if wanted.out:
        try:
            with wanted.out.open("x") as file:
                file.write(text)
        except OSError as error:
            raise HardwareError(f"{wanted.out}: {error.strerror}") from error
    if wanted.json:
        print(json.dumps({"profile": text, "file": str(wanted.out) if wanted.out else None}))
    else:
        print(f"wrote {wanted.out}" if wanted.out else text, end="\n" if wanted.out else "")


def run(wanted: argparse.Namespace) -> int:
    machine = Machine(wanted.root)
    match wanted.command:
        case "list":
            nics = machine.nics()
            print(json.dumps([asdict(nic) for nic in nics]) if wanted.json else
                  "\n".join(map(detect.describe, nics)) or "no network ports on PCI")
        case "preflight":
            return _preflight(machine, wanted)
        case "detect":
            if wanted.workers < 0:
                raise HardwareError("--workers must be 1 or more")
            _detect(machine, wanted)
        case "bind" | "unbind" as what:
            done = getattr(binding, what)(machine, profile.read(wanted.profile))
            lines = []
            for line in done:
                lines.append(line)
                if not wanted.json:
                    print(line, flush=True)
            if wanted.json:
                print(json.dumps(lines))
            elif not lines:
                print(f"{wanted.profile} has no port on PCI")
    return 0


def main(words: Sequence[str]) -> int:
    wanted = parser().parse_args(words)
    try:
        return run(wanted)
    except HardwareError as error:
        print(json.dumps({"error": str(error)}) if wanted.json else f"keyrail-hw: {error}",
              file=sys.stdout if wanted.json else sys.stderr)
        return 1
