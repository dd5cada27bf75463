# SPDX-License-Identifier: Apache-2.0
"""What runs in the virtual machine of `tools/test --only kernels`: the lab comes up, clients come back, a blade is drained.
Says what it came to in lines that testing/kernels.py reads."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clients import curl, openssl  # noqa: E402
from clients.outcome import VERSIONS, Outcome  # noqa: E402
from lab import lifecycle, readiness  # noqa: E402
from lab.plan import AWAY4, Options  # noqa: E402

TIMES = 10


def tell(what: str, missed: list[Outcome]) -> None:
    print("keyrail-in-a-machine:", what, "all" if not missed else f"not {missed}", flush=True)


def first(version: str, session: Path) -> Outcome:
    """A new session. Each instruction is computed: what is meant to take moments may take longer than a client waits."""
    for _ in range(5):
        outcome = openssl.connect(version, session, source=AWAY4)
        if outcome.ok:
            return outcome
        print("keyrail-in-a-machine: again", outcome.error, flush=True)
    raise SystemExit("no first connection")


def main() -> None:
    readiness.DEADLINE = 300
    lifecycle.up(Options(), fresh=False)
    binding = readiness.keyrail_json("status")["services"][0]["binding"]["now"]  # type: ignore[index, call-overload]
    print("keyrail-in-a-machine: binding", binding, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        by_curl, by_openssl, moved = [], [], []
        for version in VERSIONS:
            by_curl += curl.connect(version, TIMES + 1)[1:]
            session = Path(scratch) / version
            home = first(version, session)
            by_openssl += [openssl.connect(version, session, source=AWAY4) for _ in range(TIMES)]
            readiness.keyrail("blade", "drain", home.blade.removeprefix("blade"))
            moved.append(openssl.connect(version, session, source=AWAY4))
            readiness.keyrail("blade", "resume", home.blade.removeprefix("blade"))
    tell("curl", [each for each in by_curl if not each.resumed])
    tell("openssl", [each for each in by_openssl if not each.resumed])
    tell("moved", [each for each in moved if not each.resumed])
    lifecycle.down()


if __name__ == "__main__":
    main()
