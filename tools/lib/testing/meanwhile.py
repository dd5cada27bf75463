# SPDX-License-Identifier: Apache-2.0
"""Work that only needs a processor (compiling for the sanitizers, clang-tidy) goes on beside the parts that do not depend on
time. A process of its own does it, at the kernel's idle priority: it yields to everything else."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from testing.report import Report

Work = Callable[[], object]  # a Report, if it is the whole of a part


class Meanwhile:
    """Pieces of work, one after the other in the order given. Use as a context: at its end nothing goes on."""

    def __init__(self, pieces: dict[str, Work]) -> None:
        self._results: dict[str, Report | None] = {}
        self._names = set(pieces)
        self._words = tempfile.TemporaryFile("w+")
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(pieces, sender, self._words.fileno()), daemon=True)
        self._process.start()
        sender.close()

    def __enter__(self) -> "Meanwhile":
        return self

    def __exit__(self, *_: object) -> None:
        """The whole session, compilers too, until nobody is left to start another one."""
        self._process.kill()
        while session := list(_session(self._process.pid or 0)):
            for pid in session:
                _send(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.join()
        self._receiver.close()
        self._words.close()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """For a part that depends on time: at idle priority, too, the work takes caches and memory bandwidth."""
        for _ in range(2):  # and what the first round met while it was started
            for pid in _session(self._process.pid or 0):
                _send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in _session(self._process.pid or 0):
                _send(pid, signal.SIGCONT)

    def result(self, name: str) -> Report | None:
        """Waits for it, at normal priority and with progress shown from now on. None: there is none, or it came to no result;
        whoever asks does the work, and meets what stopped it."""
        shown = os.fstat(self._words.fileno()).st_size
        while name in self._names and name not in self._results:
            _to_normal_priority(self._process.pid or 0)
            if self._receiver.poll(1):
                self._receive()
            shown = self._show(shown)
        return self._results.get(name)

    def _receive(self) -> None:
        try:
            done, report = self._receiver.recv()
            self._results[done] = report
        except EOFError:  # it was killed
            self._names.clear()

    def _show(self, begin: int) -> int:
        words = _read(self._words.fileno(), begin)
        sys.stderr.write(words)
        sys.stderr.flush()
        return begin + len(words.encode())


def _work(pieces: dict[str, Work], sender: Connection, words: int) -> None:
    os.setsid()
    os.nice(19)  # and so is no load to the lab's blades
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.dup2(words, 1)
    os.dup2(words, 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for name, work in pieces.items():
        try:
            report = work()
        except Exception as error:  # noqa: BLE001 - it is met again by whoever asks
            print(f"{name}: {error}", file=sys.stderr)
            report = None
        sender.send((name, report if isinstance(report, Report) else None))


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _read(file: int, begin: int) -> str:
    return os.pread(file, max(0, os.fstat(file).st_size - begin), begin).decode(errors="replace")


def _session(leader: int) -> Iterator[int]:
    """The processes of this session that live."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == leader and fields[0] not in "ZX":
                yield int(entry.name)


def _to_normal_priority(leader: int) -> None:
    """Each thread of each process; those that start later inherit it."""
    for pid in _session(leader):
        threads: list[Path] = []
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            threads = list(Path(f"/proc/{pid}/task").iterdir())
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)
