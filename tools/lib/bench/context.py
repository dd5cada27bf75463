# SPDX-License-Identifier: Apache-2.0
"""What every section is given: how much to measure, and where the built programs are."""

from dataclasses import dataclass
from pathlib import Path

from common.paths import build_dir
from common.say import say


@dataclass(frozen=True)
class Context:
    quick: bool = False  # does it run, not: how fast is it

    @property
    def runs(self) -> int:
        """Medians are of so many."""
        return 1 if self.quick else 5

    @property
    def seconds(self) -> float:
        """How long one measurement lasts."""
        return 0.3 if self.quick else 2

    def program(self, target: str) -> Path:
        """The file of a Meson target, as a section's TARGETS names it."""
        return build_dir() / target

    def progress(self, text: str) -> None:
        say(text)
