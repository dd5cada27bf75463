# SPDX-License-Identifier: Apache-2.0
"""One thread of a process stands still, or goes round in a loop, while the others go on: ptrace(2), as a debugger does it."""

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PTRACE_PEEKUSER, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 3, 17, 0x4206, 0x4207
_RIP = 16 * 8  # in struct user of x86-64
_WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int, address: int | None = None, word: int | None = None) -> None:
    if _libc.ptrace(request, thread, address, word) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _instruction(thread: int) -> int:
    """Where it is. The C library's peek: the word comes by a pointer from the system call itself."""
    word = ctypes.c_long()
    if _libc.syscall(ctypes.c_long(101), ctypes.c_long(PTRACE_PEEKUSER), ctypes.c_long(thread), ctypes.c_long(_RIP), ctypes.byref(word)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return word.value


def _is_code_of(program: str, thread: int, address: int) -> bool:
    for line in Path(f"/proc/{thread}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        begin, end = (int(number, 16) for number in fields[0].split("-"))
        if begin <= address < end:
            return "x" in fields[1] and len(fields) == 6 and Path(fields[5]).name == Path(program).name
    return False


def go_round(thread: int, program: str) -> None:
    """From now on it goes round in one instruction (jmp to itself), in the program's own code and in the middle of what it did.
    Other threads must not come by there. It has to be at work: one that sleeps is never seen in its own code."""
    deadline = time.monotonic() + 20
    while True:
        _ptrace(PTRACE_SEIZE, thread)
        _ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, _WALL)
        at = _instruction(thread)
        found = _is_code_of(program, thread, at)
        if found:
            with open(f"/proc/{thread}/mem", "r+b", buffering=0) as memory:
                memory.seek(at)
                memory.write(b"\xeb\xfe")
        _ptrace(PTRACE_DETACH, thread)
        if found:
            return
        assert time.monotonic() < deadline, "it was never in its own code"
        time.sleep(0.003)


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
