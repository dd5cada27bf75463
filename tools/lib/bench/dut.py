# SPDX-License-Identifier: Apache-2.0
"""tools/pktgen/dut: keyrail-dp on any two DPDK devices as the device under test of a generator, with live counters."""

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench import dispatcher
from common import build
from common.paths import build_dir
from common.say import say
from common.shell import ToolError

SHOWN = 6  # reasons in a line, the most frequent ones
NOT_REASONS = ("flows", "drops", "rx", "tx", "punt", "held")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/pktgen/dut", description=(
        "Runs keyrail-dp on two DPDK devices, with a service, blades and neighbours that need no ARP, and says each second "
        "what becomes of the packets. Ends with Ctrl-C. It has a network namespace of its own: PCI devices, memif and vhost "
        "work, interfaces of the kernel do not."))
    top.add_argument("--front", required=True, metavar="DEVICE", help="towards the clients: 0000:3b:00.0, net_memif0,role=server,...")
    top.add_argument("--back", required=True, metavar="DEVICE", help="towards the blades")
    top.add_argument("--front-mac", default="", metavar="MAC", help="of the front port (default: the device's own)")
    top.add_argument("--service", default="early", choices=("early", "late", "tuple"),
                     help="how its connections are bound: by the SYN, by the ClientHello, or plain layer 4 (default: early)")
    top.add_argument("--vip", default=dispatcher.VIP, metavar="ADDRESS", help=f"IPv4 address (default: {dispatcher.VIP})")
    top.add_argument("--blades", type=int, default=3, metavar="N", help="(default: 3)")
    top.add_argument("--workers", type=int, default=1, metavar="N", help="(default: 1)")
    top.add_argument("--cores", default="", metavar="LCORES", help="EAL's --lcores (default: lcore N on CPU N)")
    top.add_argument("--megabytes", type=int, default=1024, metavar="N", help="of huge pages (default: 1024)")
    top.add_argument("--stats", type=Path, metavar="FILE", help="write the counters there each second, as `keyrail stats --json` "
                     "has them: KR_STATS=\"cat FILE\" for the scripts")
    top.add_argument("--json", action="store_true", help="a line of JSON each second")
    return top


def setup(wanted: argparse.Namespace) -> dispatcher.Setup:
    for name, most in (("blades", 4000), ("workers", 64)):
        if not 1 <= getattr(wanted, name) <= most:
            raise ToolError(f"--{name} must be from 1 to {most}")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", wanted.vip) or any(int(part) > 255 for part in wanted.vip.split(".")):
        raise ToolError(f"--vip {wanted.vip}: must be an IPv4 address")
    cores = wanted.cores or ",".join(f"{number}@{number}" for number in range(wanted.workers + 1))
    plain = wanted.service == "tuple"
    return dispatcher.Setup(wanted.front, wanted.back, wanted.front_mac, (wanted.vip,), "tuple" if plain else "session",
                            "early" if plain else wanted.service, wanted.blades, wanted.workers, cores,
                            megabytes=wanted.megabytes)


def reasons(stats: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in stats.items() if name not in NOT_REASONS}


def line(seconds: float, before: dict[str, int], now: dict[str, int]) -> dict:
    """What happened meanwhile, a second at the mean."""
    def rate(name: str) -> float:
        return (now[name] - before[name]) / seconds

    grown = {name: rate(name) for name in reasons(now) if now[name] > before.get(name, 0)}
    return {"rx_pps": rate("rx"), "tx_pps": rate("tx"), "drops_pps": rate("drops"), "flows": now["flows"],
            "lost": dispatcher.lost(now), "reasons_pps": dict(sorted(grown.items(), key=lambda entry: -entry[1]))}


def text(of: dict) -> str:
    top = ", ".join(f"{name} {count:,.0f}" for name, count in list(of["reasons_pps"].items())[:SHOWN])
    return (f"rx {of['rx_pps'] / 1e6:.3f} Mpps, tx {of['tx_pps'] / 1e6:.3f}, drops {of['drops_pps'] / 1e6:.3f}; "
            f"{of['flows']:,} flows; {top or 'nothing comes'}")


def write(file: Path, stats: dict[str, int]) -> None:
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps({"reasons": reasons(stats)}) + "\n")
    new.replace(file)


def main(words: Sequence[str]) -> int:
    wanted = parser().parse_args(words)
    wish = setup(wanted)
    build.configure(build_dir())
    build.compile_all(build_dir(), [dispatcher.PROGRAM, dispatcher.FEED])
    with dispatcher.running(wish) as dut:
        say(f"front MAC {dut.front_mac}, back MAC {dut.back_mac}: tools/pktgen/capture storm --mac {dut.front_mac} "
            f"--vip {wanted.vip}")
        before, begin = dut.stats(), time.monotonic()
        while True:
            time.sleep(1)
            if not dut.process.alive:
                raise ToolError(f"keyrail-dp has ended:\n{dut.process.last_words()}")
            stats, now = dut.stats(), time.monotonic()
            if wanted.stats:
                write(wanted.stats, stats)
            found = line(now - begin, before, stats)
            print(json.dumps(found) if wanted.json else text(found), flush=True)
            before, begin = stats, now
