# SPDX-License-Identifier: Apache-2.0
"""A compact table on stdout, row by row as results come."""

from collections.abc import Sequence


class Table:
    def __init__(self, widths: Sequence[int]) -> None:
        self.widths = widths

    def row(self, *cells: object) -> None:
        text = "  ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, self.widths))
        print(f"  {text}".rstrip(), flush=True)

    def rule(self) -> None:
        self.row(*("-" * width for width in self.widths))


def heading(text: str) -> None:
    print(f"\n{text}", flush=True)
