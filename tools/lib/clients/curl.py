# SPDX-License-Identifier: Apache-2.0
"""curl: one process that connects again and again, each time from a new port."""

from clients.outcome import Outcome, bracketed, run_client
from common.debian import within
from lab.plan import PKI, PORT, SERVER_NAME, VIP4, WEB_CA

REPORT = ("%{exitcode} %{local_port} %{http_code} %header{x-blade} %header{x-tls-resumed} "
          "%header{x-tls-version} %{errormsg}\\n")


def connect(version: str, times: int, vip: str = VIP4, source: str = "", release: str = "") -> list[Outcome]:
    """As many connections, one after the other; the first one has no session to offer. `release`: the curl of that Debian
    release, whose OpenSSL has other defaults."""
    command = [*(within(release, PKI) if release else []), "curl", "--silent", "--http1.1", "--header", "Connection: close", "--max-time", "10",
               f"--tlsv{version}", "--tls-max", version, "--cacert", str(WEB_CA),
               "--resolve", f"{SERVER_NAME}:{PORT}:{bracketed(vip)}", "--output", "/dev/null",
               "--write-out", REPORT, f"https://{SERVER_NAME}/?[1-{times}]"]
    if source:
        command += ["--interface", source]
    _, text = run_client(command, timeout=30 + times)
    return [_outcome(line) for line in text.splitlines()]


def _outcome(line: str) -> Outcome:
    words = line.split()
    if len(words) != 6 or words[0] != "0" or words[2] != "200":
        return Outcome(False, error=f"curl: exit status, port, HTTP status: {line}")
    return Outcome(True, words[4] == "r", words[3], words[5].removeprefix("TLSv"), int(words[1]))
