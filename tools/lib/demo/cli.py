# SPDX-License-Identifier: Apache-2.0
"""tools/demo: the story in four acts, each with real clients."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clients import curl, openssl
from clients.outcome import VERSIONS, Outcome, resumed, where
from common.say import say
from common.shell import ToolError
from demo import measure
from demo.table import Table, heading
from lab import lifecycle, readiness
from lab.plan import AWAY4, AWAY6, BINDINGS, CLIENT4_SECOND, VIP4, VIP6, Options
from lab.waits import Waits, quantile

RECONNECTS = 60
CLIENTS = 6  # the openssl clients: each has a session of its own


def curl_reconnects(version: str) -> list[Outcome]:
    """One process, one session, a new connection for every request."""
    return curl.connect(version, RECONNECTS + 1)[1:]


def openssl_reconnects(version: str, scratch: Path) -> list[Outcome]:
    """Six clients, a process for every connection, the session in a file between them."""
    outcomes: list[Outcome] = []
    for number in range(CLIENTS):
        session = scratch / f"{version}-{number}"
        openssl.connect(version, session)
        outcomes += [openssl.connect(version, session) for _ in range(RECONNECTS // CLIENTS)]
        session.unlink(missing_ok=True)
    return outcomes


def show_reconnects(title: str, scratch: Path) -> int:
    """A table of who resumed and where; returns how many did not."""
    heading(title)
    table = Table((9, 20, 10, 48))
    table.row("TLS", "client", "resumed", "answered by")
    table.rule()
    missed = 0
    for version in VERSIONS:
        for client, outcomes in (("curl (1 client)", curl_reconnects(version)),
                                 (f"openssl ({CLIENTS} clients)", openssl_reconnects(version, scratch))):
            table.row(version, client, f"{resumed(outcomes)}/{len(outcomes)}", where(outcomes))
            missed += len(outcomes) - resumed(outcomes)
    return missed


def drain_the_holder(version: str, scratch: Path, table: Table) -> int:
    """Sessions of one blade, that blade drained, every session used once more; returns how many were lost."""
    sessions = {scratch / f"drain-{version}-{number}": "" for number in range(30)}
    for session in sessions:
        sessions[session] = openssl.connect(version, session).blade
    holder = max(set(sessions.values()), key=list(sessions.values()).count)
    held = [session for session, blade in sessions.items() if blade == holder]
    before = Waits.now(version)
    readiness.keyrail("blade", "drain", holder.removeprefix("blade"), "--rate", "1/s")  # they wait for their clients
    try:
        after = [openssl.connect(version, session) for session in held]
    finally:
        readiness.keyrail("blade", "resume", holder.removeprefix("blade"))
    table.row(version, holder, f"{resumed(after)}/{len(after)}", *waited(Waits.now(version).since(before)), where(after))
    return len(after) - resumed(after) + sum(outcome.blade == holder for outcome in after)


def waited(waits: Waits) -> tuple[str, str, str, str]:
    """What clients were held for, and whether that was less than a full handshake would have taken them longer."""
    p50, p99, saving = quantile(waits.waited, 0.5), quantile(waits.waited, 0.99), quantile(waits.saving, 0.5)
    if p50 is None or p99 is None:
        return "-", "-", "-", "nobody waited"
    if saving is None:
        return f"{p50:.0f} us", f"{p99:.0f} us", "?", "not known"
    holds = "always" if p99 <= saving else "mostly" if p50 <= saving else "no"
    return f"{p50:.0f} us", f"{p99:.0f} us", f"{saving:.0f} us", holds


def show_drain(scratch: Path) -> int:
    heading("(c) Keyrail, the holder is drained: its sessions move, the next reconnect resumes on another blade")
    table = Table((5, 8, 8, 9, 9, 12, 12, 40))
    table.row("TLS", "drained", "resumed", "hold p50", "hold p99", "full adds", "hold < full", "answered by")
    table.rule()
    missed = sum(drain_the_holder(version, scratch, table) for version in VERSIONS)
    print("  (hold: what the client's hello waited for its session; full adds: what a full handshake would have taken"
          "\n   that client longer, the servers' time and, in TLS 1.2, its round trip)")
    return missed


def measured_costs(options: Options) -> list[measure.Cost]:
    return [measure.handshake(options, kind, version) for version in VERSIONS for kind in ("full", "resumed")]


def show_costs(costs: list[measure.Cost]) -> None:
    table = Table((34, 14, 14, 14, 14))
    print()
    table.row("measured here", "TLS 1.2 full", "1.2 resumed", "TLS 1.3 full", "1.3 resumed")
    table.rule()
    table.row("client waits (median)", *(f"{cost.client_wall:.0f} us" for cost in costs))
    table.row("server CPU per connection (mean)", *(f"{cost.server_cpu:.0f} us" for cost in costs))
    moves = measure.moves()
    print(f"  {'a move, order to acknowledgement':34}  median {moves.get('p50_us', '?')} us, "
          f"99 % within {moves.get('p99_us', '?')} us, {moves.get('moved', '?')} moves")
    print("  (wall time: ClientHello to the client's Finished, Python's ssl on the cores that run"
          "\n   everything else too; CPU: the servers' scheduler accounts, TCP and the request included)")


def show_roaming(scratch: Path) -> int:
    heading("(d) Keyrail, the client's address changes: the session is found by its name, not by the address")
    table = Table((9, 30, 10, 48))
    table.row("TLS", "from", "resumed", "answered by")
    table.rule()
    missed = 0
    for version in VERSIONS:
        session = scratch / f"roam-{version}"
        home = openssl.connect(version, session)
        table.row(version, "its own address", "full", home.blade)
        for source, vip in ((CLIENT4_SECOND, VIP4), (AWAY4, VIP4), (AWAY6, VIP6)):
            outcome = openssl.connect(version, session, vip, source)
            table.row(version, source, "yes" if outcome.resumed else "no", outcome.blade or outcome.error)
            missed += not outcome.resumed
    return missed


def show_binding() -> None:
    for service in readiness.keyrail_json("status")["services"]:
        print(f"  {service['binding']['now']} binding: {service['binding']['why']}")


def play(options: Options) -> int:
    """All four acts; returns how many reconnects did not do what Keyrail promises."""
    with tempfile.TemporaryDirectory(prefix="keyrail-demo-") as directory:
        scratch = Path(directory)
        lifecycle.built(options)  # and says what this kernel can do, before act (a)
        lifecycle.up(Options(options.blades, options.server, options.cert, plain=True), fresh=False)
        show_reconnects(f"(a) plain layer-4 balancing, {options.blades} {options.server} blades: "
                        f"{RECONNECTS} reconnects", scratch)
        lifecycle.up(options, fresh=False)
        show_binding()
        missed = show_reconnects(f"(b) Keyrail, the same blades: {RECONNECTS} reconnects", scratch)
        costs = measured_costs(options)  # before sessions move: so that what resuming saves is known
        missed += show_drain(scratch)
        show_costs(costs)
        return missed + show_roaming(scratch)


def say_what_to_try() -> None:
    say("the lab is still up, until 'tools/lab down'")
    print(f"""  The page, for a browser on this machine:  {lifecycle.page()}

  Worth trying, with the page beside it:
    tools/lab exec dispatch keyrail blade drain blade2 --rate 2/s --wait   # its sessions leave, one by one; then: blade resume blade2
    tools/lab exec dispatch sh -c 'keyrail config apply "$KR_CONFIG" --confirm 60s'   # on trial: confirm it on the page
    tools/lab exec dispatch keyrail event follow
""")


def main(words: Sequence[str]) -> int:
    top = argparse.ArgumentParser("tools/demo", description="Sessions that are resumed, and moved, with real clients.")
    top.add_argument("--keep", action="store_true", help="leave the lab up at the end")
    top.add_argument("--bind", choices=BINDINGS, default=BINDINGS[0], help="as for tools/lab up")
    arguments = top.parse_args(words)
    options, whole = Options(bind=arguments.bind), False
    try:
        missed = play(options)
        whole = True
    finally:
        if not (arguments.keep and whole):
            lifecycle.down()
    print()
    if arguments.keep:
        say_what_to_try()
    if missed:
        raise ToolError(f"{missed} reconnects did not resume as they should")
    return 0
