# SPDX-License-Identifier: Apache-2.0
"""What each client does on the stage while it is captured."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from common.debian import within
from common.shell import ToolError
from lab.namespaces import wait_until
from pcap import hello
from pcap.stage import ADDRESSES, NAME, PORT, SECONDS, Stage

Act = Callable[[Stage], None]
REQUEST = f"GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n"
URL = f"https://{NAME}/"
DEBIAN_13 = "trixie"
SENDER = Path(__file__).with_name("send.py")


def s_client(on: Stage, *options: object, address: str = ADDRESSES[0]) -> None:
    where = f"[{address}]" if ":" in address else address
    on.client("openssl", "s_client", "-connect", f"{where}:{PORT}", "-servername", NAME, "-CAfile",
              on.home / "certificate", "-verify_return_error", "-ign_eof", *map(str, options), stdin=REQUEST)


def openssl(*options: object, address: str = ADDRESSES[0]) -> Act:
    """A full handshake, and one that offers its session."""
    def act(on: Stage) -> None:
        session = on.home / "session"
        s_client(on, *options, "-sess_out", session, address=address)
        s_client(on, *options, "-sess_in", session, address=address)
    return act


def openssl_early_data(on: Stage) -> None:
    """s_server takes early data only where it does not speak HTTP: the first client leaves when it has its ticket."""
    session, early = on.home / "session", on.home / "early"
    early.write_text(REQUEST)
    command = ["openssl", "s_client", "-connect", f"{ADDRESSES[0]}:{PORT}", "-servername", NAME, "-quiet",
               "-sess_out", str(session)]
    with subprocess.Popen(on.inside(command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as first:
        known = wait_until(lambda: session.exists() and session.stat().st_size > 0, SECONDS)
        first.terminate()
    if not known:
        raise ToolError("openssl s_server gave no ticket")
    on.client("openssl", "s_client", "-connect", f"{ADDRESSES[0]}:{PORT}", "-servername", NAME, "-sess_in", session,
              "-early_data", early, stdin="Q\n")


def gnutls(version: str) -> Act:
    def act(on: Stage) -> None:
        on.client("gnutls-cli", "--resume", "--waitresumption", "--x509cafile", on.home / "certificate",
                  "--sni-hostname", NAME, "--verify-hostname", NAME, "--alpn", "h2", "--alpn", "http/1.1",
                  "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "--port", str(PORT), ADDRESSES[0],
                  stdin=REQUEST)
    return act


def _curl(on: Stage, version: str, certificate: Path, page: Path, before: Sequence[object] = ()) -> None:
    """Connects three times; all but the first connection offer a session."""
    on.client(*before, "curl", "--silent", "--show-error", "--http1.1", "--header", "Connection: close",
              f"--tlsv{version}", "--tls-max", version, "--cacert", certificate,
              "--resolve", f"{NAME}:{PORT}:{ADDRESSES[0]}", "--output", page, f"{URL}?[1-3]")


def curl(on: Stage) -> None:
    for version in ("1.2", "1.3"):
        _curl(on, version, on.home / "certificate", on.home / "page")


def curl_of_debian_13(on: Stage) -> None:
    """This machine's own, or that in the root that `tools/test --on trixie` makes."""
    _curl(on, "1.3", on.home / "certificate", on.home / "page", within(DEBIAN_13, on.home))


def chromium(on: Stage) -> None:
    """A page with pictures: s_server closes after each file, so that every connection but the first may resume."""
    pictures = "".join(f"<img src='{number}.png'>" for number in range(3))
    (on.home / "page.html").write_text(f"<html><body>{pictures}</body></html>")
    on.client("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
              "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run",
              "--ignore-certificate-errors", f"--user-data-dir={on.home / 'profile'}",
              f"--host-resolver-rules=MAP {NAME} {ADDRESSES[0]}", "--dump-dom", f"{URL}page.html")


def chromium_is_installed() -> bool:
    return shutil.which("chromium") is not None


def sent(stream: bytes, piece: int = 1 << 16) -> Act:
    """These bytes over a real TCP connection, so many at a time; the server may think of them what it likes."""
    return partial(_send, stream, piece)


def _send(stream: bytes, piece: int, on: Stage) -> None:
    on.client("/usr/bin/python3", "-B", SENDER, ADDRESSES[0], PORT, piece, stdin=stream.hex())


def post_quantum(seed: int, identities: int = 1, padding: int = 0, group: int = hello.X25519_MLKEM768,
                 records: tuple[int, ...] = ()) -> bytes:
    random = Random(seed)
    psks = [random.randbytes(32) for _ in range(identities)]
    made = hello.post_quantum(random, NAME.encode(), psks, padding, group)
    return hello.records(hello.message(made), records)


def small(seed: int) -> bytes:
    random = Random(seed)
    made = hello.Hello(random.randbytes(32), extensions=[hello.server_name(NAME.encode()),
                                                         (hello.PSK_MODES, b"\1\1"),
                                                         hello.versions([hello.TLS13])],
                       psk_identities=[random.randbytes(32)])
    return hello.records(hello.message(made))
