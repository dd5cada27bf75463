# SPDX-License-Identifier: Apache-2.0
"""Moves of sessions between real processes (tests/bench/moves_bench.cc), against what a resumed handshake saves a server."""

import json
import os
import ssl
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench import holds
from bench.context import Context
from bench.figures import Figure, Result
from bench.processes import measured
from common.shell import ToolError, run as run_program

BENCH, CONTROL, AGENT = "tests/bench/moves_bench", "control/daemon/keyraild", "control/agent/keyrail-agent"
TARGETS = tuple({*holds.TARGETS, BENCH, CONTROL, AGENT})
SAVED, SAVED_TLS12 = "; baseline: moves.saving_us", "; baseline: moves.saving_tls12_us"
FIGURES = (
    Figure("moves.p50_us", "us", f"from order to acknowledgement, one move at a time{SAVED}", 150),
    Figure("moves.p99_us", "us", "the same"),
    Figure("moves.p999_us", "us", "the same"),
    Figure("moves.asleep.p50_us", "us", "moves.p50_us with stay_awake = \"0s\" in all configurations"),
    Figure("moves.busy_poll.p50_us", "us", "moves.asleep.p50_us with busy_poll = \"200us\" as well"),
    Figure("moves.share_of_saving", "ratio", f"moves.p50_us by what a resumed handshake saves{SAVED}", 0.5),
    *(Figure(f"moves.sporadic.{pause}ms.{part}_us", "us", f"request to answer, single moves {pause} ms apart{SAVED_TLS12}")
      for pause in holds.PAUSES_MS for part in ("p50", "p99")),
    Figure("moves.per_second", "1/s", "256 at a time, all on this machine's cores", more_is_better=True),
    Figure("moves.saving_us", "us", "server CPU that a resumed handshake saves: TLS 1.3, RSA-2048, OpenSSL as installed"),
    Figure("moves.saving_tls12_us", "us", "the same, TLS 1.2"),
    *holds.FIGURES,
)


def one_run(context: Context) -> dict:
    sessions, in_flight = ("500", "64") if context.quick else ("100000", "256")
    environment = {**os.environ, "KR_KEYRAILD": str(context.program(CONTROL)), "KR_AGENT": str(context.program(AGENT))}
    done = measured([context.program(BENCH), sessions, in_flight], env=environment, timeout=300)
    report = json.loads(done.stdout.splitlines()[-1])
    if failed := sum(part["failed"] for part in report.values()):
        raise ToolError(f"{failed} moves failed; moves_bench said: {json.dumps(report)}")
    return report


class Handshakes:
    """Both ends in one process, in memory; only what the server's end takes is counted."""

    def __init__(self, scratch: Path, version: ssl.TLSVersion) -> None:
        key, certificate = scratch / "key", scratch / "certificate"
        run_program(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                     "-subj", "/CN=www.keyrail.test"])
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(certificate, key)
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname, self.client.verify_mode = False, ssl.CERT_NONE
        self.client.minimum_version = self.client.maximum_version = version

    def server_us(self, session: ssl.SSLSession | None) -> tuple[float, ssl.SSLSession | None]:
        """CPU microseconds of the server's end of one handshake, and the session to resume."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.client.wrap_bio(to_client, to_server, session=session)
        server = self.server.wrap_bio(to_server, to_client, server_side=True)
        spent = 0
        done = False
        while not done:
            _step(client)
            begin = time.thread_time_ns()
            done = _step(server)
            spent += time.thread_time_ns() - begin
        _step(client)
        try:
            client.read()  # TLS 1.3: the tickets
        except ssl.SSLWantReadError:
            pass
        if client.session_reused != (session is not None):
            raise ToolError("OpenSSL did not resume as it was meant to")
        return spent / 1000, client.session


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def saving_us(version: ssl.TLSVersion, count: int) -> float:
    """Full handshakes less resumed ones, each of the mean of so many."""
    with tempfile.TemporaryDirectory(prefix="keyrail-bench-") as scratch:
        handshakes = Handshakes(Path(scratch), version)
        full = resumed = 0.0
        for _ in range(count):
            cost, session = handshakes.server_us(None)
            full += cost
            resumed += handshakes.server_us(session)[0]
        return (full - resumed) / count


def run(context: Context) -> Iterator[Result]:
    samples: dict[str, list[float]] = defaultdict(list)
    for turn in range(context.runs):
        context.progress(f"moves: run {turn + 1} of {context.runs}")
        report = one_run(context)
        for name in ("p50_us", "p99_us", "p999_us"):
            samples[name].append(report["one_at_a_time"][name])
        samples["asleep.p50_us"].append(report["one_at_a_time_asleep"]["p50_us"])
        samples["busy_poll.p50_us"].append(report["one_at_a_time_busy_poll"]["p50_us"])
        for pause in holds.PAUSES_MS:
            for part in ("p50", "p99"):
                samples[f"sporadic.{pause}ms.{part}_us"].append(report[f"sporadic_{pause}ms"][f"{part}_us"])
        samples["per_second"].append(report["sustained"]["moves_per_s"])
        for name, version in (("saving_us", ssl.TLSVersion.TLSv1_3), ("saving_tls12_us", ssl.TLSVersion.TLSv1_2)):
            samples[name].append(saving_us(version, 20 if context.quick else 300))
    for pause in holds.PAUSES_MS:
        for part in ("p50", "p99"):
            name = f"sporadic.{pause}ms.{part}_us"
            yield Result.of(f"moves.{name}", samples.pop(name), samples["saving_tls12_us"])
    share = [move / saved for move, saved in zip(samples["p50_us"], samples["saving_us"], strict=True)]
    yield Result.of("moves.p50_us", samples.pop("p50_us"), samples["saving_us"])
    yield Result.of("moves.share_of_saving", share)
    for name, found in samples.items():
        yield Result.of(f"moves.{name}", found)
    yield from holds.run(context)
