# SPDX-License-Identifier: Apache-2.0
"""Running other programs: output kept, failures told with the command and its last lines."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ToolError(Exception):
    """What went wrong, where, and what to do; ends the tool with this exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def tail(text: str, lines: int = 12) -> str:
    """The last lines, indented, to go under an error message."""
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])


def run(command: Sequence[str | Path], *, check: bool = True, timeout: float | None = 120,
        env: Mapping[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs to the end and returns both outputs; with `check`, a failure is a ToolError."""
    argv = [str(part) for part in command]
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace",
                              timeout=timeout, env=env, check=False)
    except FileNotFoundError as error:
        raise ToolError(f"{argv[0]} is not installed; tools/packages.txt names what is needed") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"no end after {timeout} s: {shlex.join(argv)}") from error
    if check and done.returncode != 0:
        raise ToolError(f"exit status {done.returncode} from: {shlex.join(argv)}\n"
                        f"{tail(done.stdout + done.stderr)}")
    return done
