# SPDX-License-Identifier: Apache-2.0
"""The ClientHellos in a capture: what tools/replay says, and what tshark says, in the same words."""

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.paths import ROOT
from common.shell import run
from differential.wire import Endpoint

FIELDS = ("frame.protocols", "ip.src", "ipv6.src", "tcp.srcport", "tls.handshake.extensions_server_name",
          "tls.handshake.extensions_alpn_str", "tls.handshake.session_id",
          "tls.handshake.extensions.psk.identity.identity", "tls.handshake.extension.type")
SEPARATOR, BETWEEN = "\t", "\x01"
EARLY_DATA = "42"


@dataclass(frozen=True)
class Seen:
    """One ClientHello."""

    sni: str
    alpn: tuple[str, ...]
    session_id: str
    psk_identities: tuple[str, ...]
    early_data: bool


# By client, each one's hellos in their order.
Hellos = dict[str, list[Seen]]


def by_tshark(file: Path) -> Hellos:
    done = run(["tshark", "-n", "-r", file, "-o", "tcp.reassemble_out_of_order:TRUE",
                "-Y", "tcp && tls.handshake.type == 1", "-T", "fields",
                "-E", f"separator={SEPARATOR}", "-E", f"aggregator={BETWEEN}",
                *(word for field in FIELDS for word in ("-e", field))])
    seen: Hellos = defaultdict(list)
    for line in done.stdout.splitlines():
        protocols, source4, source6, port, sni, alpn, session_id, psks, kinds = (
            list(filter(None, field.split(BETWEEN))) for field in line.split(SEPARATOR))
        six = protocols[0].rfind(":ipv6") > protocols[0].rfind(":ip:")  # the innermost, in a tunnel
        client = Endpoint(str(ipaddress.ip_address((source6 if six else source4)[-1])), int(port[-1]))
        seen[str(client)].append(Seen("".join(sni[:1]), tuple(alpn), "".join(session_id[:1]), tuple(psks),
                                      EARLY_DATA in kinds))
    return seen


def replayed(file: Path) -> list[dict]:
    """tools/replay's own lines."""
    return [json.loads(line) for line in run([ROOT / "tools/replay", file]).stdout.splitlines()]


def by_replay(lines: Iterable[dict]) -> Hellos:
    """The complete ones among them."""
    seen: Hellos = defaultdict(list)
    for line in lines:
        if line["complete"]:
            seen[line["src"]].append(Seen(line["sni"], tuple(line["alpn"]), line["session_id"],
                                          tuple(line["psk_identities"]), line["early_data"]))
    return seen


def differences(theirs: Hellos, ours: Hellos) -> list[str]:
    """What a person needs to find the first mistake; empty when both say the same."""
    return [f"{client}:\n  tshark {theirs.get(client, [])}\n  replay {ours.get(client, [])}"
            for client in sorted({*theirs, *ours}) if theirs.get(client, []) != ours.get(client, [])]
