# SPDX-License-Identifier: Apache-2.0
"""Work that only needs a processor (compiling for the sanitizers, clang-tidy) goes on beside the parts that do not depend on
time. A process of its own does it, at the kernel's idle priority: it yields to everything else. Tests that wait for a minute
let it go on meanwhile, though their part is one that depends on time (going_on)."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from testing.report import Report

Work = Callable[[], object]  # a Report, if it is the whole of a part


class Meanwhile:
    """Pieces of work, one after the other in the order given. Use as a context: at its end nothing goes on."""

    def __init__(self, pieces: dict[str, Work], *, idle: bool = True) -> None:
        """Not `idle`: nice only. For what mostly waits for the network, which must not be stopped for long."""
        self._results: dict[str, Report | None] = {}
        self._names = set(pieces)
        self._words = tempfile.TemporaryFile("w+")
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(pieces, sender, self._words.fileno(), idle), daemon=True)
        self._process.start()
        sender.close()

    def __enter__(self) -> "Meanwhile":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._receiver.close()
        self._words.close()

    def end(self) -> None:
        """The whole session, compilers too, until nobody is left to start another one."""
        self._process.kill()
        while session := list(_session(self._process.pid or 0)):
            for pid in session:
                _send(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.join()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """For a part that depends on time: at idle priority, too, the work takes caches and memory bandwidth."""
        leader = self._process.pid or 0
        _stop(leader)
        os.environ[LEADER] = str(leader)
        try:
            yield
        finally:
            del os.environ[LEADER]
            _go_on(leader)

    def result(self, name: str, until: float = 0) -> Report | None:
        """Waits for it, at normal priority and with progress shown from now on, to `until` of time.monotonic() (0: for ever).
        None: there is none, or it came to no result; whoever asks does the work, and meets what stopped it."""
        shown = os.fstat(self._words.fileno()).st_size
        while name in self._names and name not in self._results and (not until or time.monotonic() < until):
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


def _work(pieces: dict[str, Work], sender: Connection, words: int, idle: bool) -> None:
    os.setsid()
    os.nice(19 if idle else 10)  # 19 is no load to the lab's blades
    if idle:
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


LEADER = "KR_MEANWHILE"  # in the environment of a part for which it stands still: its session
ENDS_EARLIER = 5  # seconds before a test has waited long enough: what it looks at then is not disturbed


@contextlib.contextmanager
def going_on(seconds: float) -> Iterator[None]:
    """For a test that does nothing but wait for so long: what stands still for its part goes on, but for the end."""
    leader = int(os.environ.get(LEADER, "0"))
    if not leader or seconds <= ENDS_EARLIER:
        yield
        return
    end = threading.Timer(seconds - ENDS_EARLIER, _stop, [leader])
    end.start()
    _go_on(leader)
    try:
        yield
    finally:
        end.cancel()
        end.join()
        _stop(leader)


def _stop(leader: int) -> None:
    for _ in range(2):  # and what the first round met while it was started
        for pid in _session(leader):
            _send(pid, signal.SIGSTOP)


def _go_on(leader: int) -> None:
    for pid in _session(leader):
        _send(pid, signal.SIGCONT)


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
