# SPDX-License-Identifier: Apache-2.0
"""Progress for people: always on stderr, so that stdout holds results only."""

import sys
import time


def say(text: str) -> None:
    print(f"keyrail: {text}", file=sys.stderr, flush=True)


class Progress:
    """One line that moves on a terminal; a line every ten seconds elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.begin = time.monotonic()
        self._last = self.begin
        self._terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def update(self, text: str) -> None:
        now = time.monotonic()
        if self._terminal:
            print(f"\r\x1b[Kkeyrail: {self.what}: {text}", end="", file=sys.stderr, flush=True)
        elif now - self._last >= 10:
            self._last = now
            say(f"{self.what}: {text} ({self.seconds:.0f} s)")

    def done(self, text: str = "") -> None:
        """Ends the line; says `text` if there is any."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if text:
            say(f"{self.what}: {text} ({self.seconds:.1f} s)")
