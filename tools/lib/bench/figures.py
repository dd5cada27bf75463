# SPDX-License-Identifier: Apache-2.0
"""What a section promises to measure (Figure) and what came out (Result)."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    id: str
    unit: str
    about: str
    target: float | None = None
    more_is_better: bool = False

    def meets(self, value: float) -> bool | None:
        if self.target is None:
            return None
        return value >= self.target if self.more_is_better else value <= self.target


@dataclass(frozen=True)
class Result:
    """`baseline` is what was measured in its place in the same minutes, `ratio` is to it. No value: the reason."""

    id: str
    value: float | None = None
    min: float | None = None
    max: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    reason: str = ""

    @staticmethod
    def of(identity: str, samples: Sequence[float], baselines: Sequence[float] = ()) -> "Result":
        """The median; with baselines, one to each sample, also the median of the ratios."""
        ratios = [sample / baseline for sample, baseline in zip(samples, baselines, strict=False) if baseline]
        return Result(identity, statistics.median(samples), min(samples), max(samples),
                      statistics.median(baselines) if baselines else None,
                      statistics.median(ratios) if ratios else None)

    @staticmethod
    def missing(identity: str, reason: str) -> "Result":
        return Result(identity, reason=reason)
