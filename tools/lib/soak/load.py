# SPDX-License-Identifier: Apache-2.0
"""The load, run in the client's network: a line of JSON per connection. Ends when its stdin does."""

import json
import random
import sys
import threading
import time
from pathlib import Path

from kinds import KINDS, Visit, World

OUTPUT = threading.Lock()
over = threading.Event()


def visit_once(world: World, chance: random.Random, number: int, kinds: list[str]) -> dict[str, object]:
    """Each address has its clients, so that there is always somebody who sees what becomes of it."""
    kind = chance.choice(kinds)
    visit = Visit(world, chance, world.addresses[number % len(world.addresses)], chance.choice(("1.2", "1.3")))
    begin, error = time.time(), ""
    try:
        KINDS[kind][1](visit)
    except Exception as caught:  # noqa: BLE001 - whatever it is, the connection failed
        error = f"{type(caught).__name__}: {caught}"
    return {"kind": kind, "address": visit.address, "version": visit.version, "begin": begin, "end": time.time(),
            "port": visit.port, "connected": visit.connected, "blade": visit.blade, "answers": visit.answers, "error": error}


def client(world: World, number: int, kinds: list[str]) -> None:
    chance = random.Random(f"{world.seed}/{number}")
    time.sleep(chance.random() * 2)
    while not over.is_set():
        result = visit_once(world, chance, number, kinds)
        with OUTPUT:
            print(json.dumps(result), flush=True)
        over.wait(chance.random() * 0.3 if not result["error"] else 1)


def main() -> None:
    given = json.loads(sys.argv[1])
    world = World(given["addresses"], given["port"], given["name"], given["ca"], Path(given["file"]), given["seed"],
                  given["files"], given["half_closed_files"])
    weighted = [kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]
    kinds = [kind for kind in weighted if kind in given.get("kinds", KINDS)]
    clients = [threading.Thread(target=client, args=(world, number, kinds)) for number in range(given["clients"])]
    for one in clients:
        one.start()
    sys.stdin.read()
    over.set()
    for one in clients:
        one.join()


if __name__ == "__main__":
    main()
