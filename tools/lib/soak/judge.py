# SPDX-License-Identifier: Apache-2.0
"""Which failures are Keyrail's? Those at a moment when clients that went straight to the same blade had none, and when the
operator had not ended its server."""

from dataclasses import dataclass

SLACK = 1.5  # seconds between the same event seen by two clients
READ_ON = 20.0  # seconds until a slow reader has read what its server had sent before it closed


@dataclass(frozen=True)
class Outcome:
    """One connection, as the load tells it."""

    kind: str
    address: str
    version: str
    begin: float
    end: float
    port: int  # the client's; 0: not known
    connected: bool  # the TCP handshake was completed
    blade: str
    answers: int
    error: str

    @property
    def established(self) -> bool:
        return self.answers > 0


@dataclass(frozen=True)
class ServerEnd:
    """When the operator ended a blade's server, and not gracefully: it closes what it has. That a client beside the blade
    has a connection just then is chance."""

    blade: str
    begin: float
    end: float  # it is started again

    def broke(self, failure: Outcome) -> bool:
        """One that the blade had answered before, if only in part: an answer's first line names its blade. That it was
        closed is told behind all that is on its way. One that has no answer yet may be with this blade, too, as long as it
        closes what it has; a hello that takes longer than its service's hello_timeout (100 ms) is with a blade before it is
        whole."""
        if not failure.connected or not failure.begin < self.begin <= failure.end:
            return False
        if failure.blade:
            told = READ_ON if failure.error.startswith("Closed") else SLACK
            return failure.blade == self.blade and failure.end <= self.end + told
        return failure.error.startswith("Closed") and failure.end <= self.end + (SLACK if failure.kind == "half hello" else 0)


def excused(failure: Outcome, native: list[Outcome]) -> bool:
    """A connection that its server broke breaks natively, too: one that was established there, or, for a connection that
    never was, one that was broken as early. That a server which stops takes nothing new excuses nobody: there are other
    blades."""
    def alike(other: Outcome) -> bool:
        return other.established or (other.connected and not failure.established)

    return any(other.error and alike(other) and failure.blade in ("", other.blade)
               and failure.begin - SLACK <= other.end <= failure.end + SLACK for other in native)


def failures(outcomes: list[Outcome], native: list[Outcome], ends: list[ServerEnd]) -> tuple[list[Outcome], int]:
    """Keyrail's own, and how many were natural."""
    failed = [outcome for outcome in outcomes if outcome.error]
    ours = [outcome for outcome in failed
            if not excused(outcome, native) and not any(end.broke(outcome) for end in ends)]
    return ours, len(failed) - len(ours)
