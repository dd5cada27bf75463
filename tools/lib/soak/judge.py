# SPDX-License-Identifier: Apache-2.0
"""Which failures are Keyrail's? Those at a moment when clients that went straight to the same blade had none."""

from dataclasses import dataclass

SLACK = 1.5  # seconds between the same event seen by two clients


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


def excused(failure: Outcome, native: list[Outcome]) -> bool:
    """A connection that its server broke breaks natively, too: one that was established there, or, for a connection that
    never was, one that was broken as early. That a server which stops takes nothing new excuses nobody: there are other
    blades."""
    def alike(other: Outcome) -> bool:
        return other.established or (other.connected and not failure.established)

    return any(other.error and alike(other) and failure.blade in ("", other.blade)
               and failure.begin - SLACK <= other.end <= failure.end + SLACK for other in native)


def failures(outcomes: list[Outcome], native: list[Outcome]) -> tuple[list[Outcome], int]:
    """Keyrail's own, and how many were natural."""
    failed = [outcome for outcome in outcomes if outcome.error]
    ours = [outcome for outcome in failed if not excused(outcome, native)]
    return ours, len(failed) - len(ours)
