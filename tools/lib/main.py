# SPDX-License-Identifier: Apache-2.0
"""Entry of the commands in tools/: `main.py lab up --blades 4`."""

import importlib
import signal
import sys
from types import FrameType

from common.shell import ToolError

TOOLS = {"lab": "lab.cli", "demo": "demo.cli", "test": "testing.cli", "pcap": "pcap.cli", "fuzz": "fuzzing.cli",
         "build": "building.cli", "capture": "pcap.traffic", "bench": "bench.cli", "soak": "soak.cli", "dut": "bench.dut",
         "package": "package.cli"}


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP clean up exactly as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    tool = importlib.import_module(TOOLS[sys.argv[1]])
    try:
        return int(tool.main(sys.argv[2:]))
    except ToolError as error:
        print(f"keyrail: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("keyrail: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        print(f"keyrail: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
