# SPDX-License-Identifier: Apache-2.0
"""One thread of a process stands still while the others go on: ptrace(2), as a debugger does it."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def stopped(thread: int) -> Iterator[Callable[[], None]]:
    """What it gives is called now and then: when the process is ended, its thread is not gone before we have heard of it."""
    _ptrace(PTRACE_SEIZE, thread)
    _ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, _WALL)

    def hear() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(thread, _WALL | os.WNOHANG)

    try:
        yield hear
    finally:
        with contextlib.suppress(OSError):  # its process may have been ended meanwhile
            _ptrace(PTRACE_DETACH, thread)
