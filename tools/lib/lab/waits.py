# SPDX-License-Identifier: Apache-2.0
"""What clients waited for their sessions, as the dispatcher measures it (`keyrail stats`), between two readings."""

from collections import Counter
from typing import Any

from lab import readiness


class Waits:
    """Of one TLS version: all so far; after since(), what came later."""

    def __init__(self, stats: dict[str, Any], version: str) -> None:
        of_version = [each for each in stats["holds"] if each["tls_version"] == version]
        self.waited: Counter[int] = Counter()  # longest of the bucket in us -> holds
        self.saving: Counter[int] = Counter()  # what a full handshake would have taken them longer
        for one in of_version:
            self.waited.update({int(us): count for us, count in one["waited"].items()})
            self.saving.update({int(us): count for us, count in one["saving"].items()})
        self.longer = sum(one["longer_than_saving"] for one in of_version)
        self.skipped = stats["reasons"]["steer_long_wait"]
        self.stages = stats["moves"]["stages"]

    @staticmethod
    def now(version: str) -> "Waits":
        return Waits(readiness.keyrail_json("stats"), version)  # type: ignore[arg-type]

    def since(self, before: "Waits") -> "Waits":
        self.waited.subtract(before.waited)
        self.saving.subtract(before.saving)
        self.longer -= before.longer
        self.skipped -= before.skipped
        return self


def quantile(counts: Counter[int], share: float) -> float | None:
    """None: there is nothing."""
    rank, seen = share * counts.total(), 0
    for us in sorted(us for us, count in counts.items() if count > 0):
        seen += counts[us]
        if seen > rank or seen == counts.total():
            return float(us)
    return None
