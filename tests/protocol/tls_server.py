# SPDX-License-Identifier: Apache-2.0
"""Unmodified TLS servers with the hook library, and `openssl s_client` against them, on loopback."""

import functools
import hashlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME_KEY = "9f3a61c07be2d4587c15b09e36a8f142"  # no test vector: libraries have those in their memory
BUILD = Path(os.environ.get("KR_BUILD", ""))
HOOKS = os.environ.get("KR_HOOKS", "")
STORE_TOOL = os.environ.get("KR_STORE_TOOL", "")


def eventually(condition: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """The first true result; an AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return result


def store_tool(*words: object) -> str:
    done = subprocess.run([STORE_TOOL, *map(str, words)], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"store_tool {words}: {done.stderr}"
    return done.stdout


class Store:
    """A session store on tmpfs, with a name key unless told otherwise."""

    def __init__(self, directory: Path, name: str, blade: int | None = 1, lifetime_s: int = 7200,
                 group: str | None = None) -> None:
        self.path = directory / name
        self._group = [group] if group else []
        self.create(4)
        if blade is not None:
            self.control(f"blade={blade}", f"lifetime_s={lifetime_s}")

    def create(self, size_mb: int) -> None:
        """As an agent that starts; also when there is one already, perhaps of another size."""
        store_tool("create", self.path, size_mb, *self._group)

    def control(self, *words: object) -> None:
        """What an agent tells the servers: see store_tool."""
        store_tool("control", self.path, f"key=09{NAME_KEY}", f"pull_socket={self.pull_socket()}", *words)

    def pull_socket(self) -> str:
        """The number of the agent's socket, which is named by it."""
        return hashlib.md5(str(self.path).encode()).hexdigest()

    def costs(self) -> list[dict[str, str]]:
        return [dict(word.split("=") for word in line.split()) for line in store_tool("costs", self.path).splitlines()]

    def sessions(self) -> list[dict[str, str]]:
        found = []
        for line in store_tool("list", self.path).splitlines():
            name, version, *fields = line.split()
            found.append({"name": name, "version": version, **dict(field.split("=") for field in fields)})
        return found

    def stats(self) -> dict[str, int]:
        return {key: int(value) for key, value in (word.split("=") for word in store_tool("stats", self.path).split())}

    def move_all_to(self, other: "Store", *words: str) -> None:
        """`spent`: as out of the repository."""
        for session in self.sessions():
            store_tool("move", self.path, other.path, session["name"], *words)


@functools.cache
def _certificate(name: str) -> tuple[str, str]:
    """Key and certificate."""
    with tempfile.TemporaryDirectory(prefix="keyrail-hooks-", dir="/dev/shm") as scratch:
        key, certificate = Path(scratch) / "key", Path(scratch) / "crt"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", certificate, "-subj", f"/CN={name}", "-days", "2"],
                       check=True, capture_output=True)
        return key.read_text(), certificate.read_text()


class Server:
    """One running server; `port` is where it listens."""

    def __init__(self, directory: Path, name: str, port: int, command: list[str], store: Path | None,
                 hooks: bool = True) -> None:
        self.port = port
        self.log = directory / f"{name}.stderr"
        environment = dict(os.environ)
        if hooks:
            environment["LD_PRELOAD"] = HOOKS
        if store:
            environment["KEYRAIL_STORE"] = str(store)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            eventually(self._answers, f"{name} listens; it says: {self.log.read_text()}")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"ended at once: {self.log.read_text()}"
        return str(self.port) in subprocess.run(["ss", "-Hltn", f"sport = :{self.port}"], capture_output=True,
                                                text=True, check=True).stdout

    def workers(self) -> list[int]:
        listing = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listing.split()]

    def reload(self, number: signal.Signals = signal.SIGHUP) -> None:
        before = set(self.workers())
        self.process.send_signal(number)
        eventually(lambda: self.workers() and not before & set(self.workers()), "new workers")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Bench:
    """A directory, certificates and servers for one test; all gone afterwards."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="keyrail-hooks-", dir="/dev/shm")
        self.directory = Path(self._directory.name)
        self.directory.chmod(0o755)  # servers drop privileges
        self.servers: list[Server] = []
        self._port = 10000 + os.getpid() % 400 * 50  # of this program alone: several run side by side
        for name in ("a.test", "b.test"):
            self.certificate(name)

    def certificate(self, name: str) -> None:
        """Its files differ from test to test only in their folder."""
        pem = self.directory / f"{name}.pem"
        for path, content in zip((Path(f"{pem}.key"), Path(f"{pem}.crt")), _certificate(name), strict=True):
            path.write_text(content)
        pem.write_text(Path(f"{pem}.crt").read_text() + Path(f"{pem}.key").read_text())
        pem.chmod(0o644)

    def store(self, name: str, blade: int | None = 1, lifetime_s: int = 7200, group: str | None = None) -> Store:
        return Store(self.directory, name, blade, lifetime_s, group)

    def close(self) -> None:
        for server in self.servers:
            server.stop()
        self._directory.cleanup()

    def ports(self, count: int = 1) -> int:
        """The first of so many ports that nobody has."""
        self._port += count
        return self._port - count + 1

    def start(self, kind: str, config: str, command: Callable[[Path], list[str]], store: Store | Path | None,
              hooks: bool = True, port: int = 0) -> Server:
        port = port or self.ports()
        home = self.directory / f"{kind}-{port}"
        home.mkdir()
        home.chmod(0o777)
        file = home / "config"
        file.write_text(config.replace("@PORT@", str(port)).replace("@HOME@", str(home)).replace(
            "@DIR@", str(self.directory)))
        path = store.path if isinstance(store, Store) else store
        server = Server(self.directory, home.name, port, command(file), path, hooks)
        self.servers.append(server)
        return server

    def nginx(self, store: Store | Path | None, ssl: str = "", hooks: bool = True,
              name: str = "a.test", answers: bool = True) -> Server:
        """Two workers; answers say whether the session was reused (unless `ssl` says what else is answered)."""
        answer = ' return 200 "reused=$ssl_session_reused early=$ssl_early_data verify=$ssl_client_verify dn=$ssl_client_s_dn\\n";'
        config = ("daemon off; worker_processes 2; pid @HOME@/pid; error_log stderr;\n"
                  "events { worker_connections 256; }\n"
                  "http { access_log off; client_body_temp_path @HOME@/1; proxy_temp_path @HOME@/2;"
                  " fastcgi_temp_path @HOME@/3; uwsgi_temp_path @HOME@/4; scgi_temp_path @HOME@/5;\n"
                  f"server {{ listen 127.0.0.1:@PORT@ ssl; ssl_certificate @DIR@/{name}.pem;"
                  f" ssl_certificate_key @DIR@/{name}.pem; ssl_protocols TLSv1.2 TLSv1.3; {ssl}"
                  f"{answer if answers else ''} }}\n}}\n")
        return self.start("nginx", config, lambda file: ["nginx", "-c", str(file), "-e", "stderr"], store, hooks)

    def haproxy(self, store: Store, bind: str = "") -> Server:
        config = ("global\n  nbthread 2\n  user www-data\n  group www-data\n  chroot /var/lib/haproxy\n"
                  "defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n"
                  f"frontend f\n  bind 127.0.0.1:@PORT@ ssl crt @DIR@/a.test.pem {bind}\n"
                  "  http-request return status 200 content-type text/plain string ok\n")
        return self.start("haproxy", config, lambda file: ["haproxy", "-W", "-db", "-f", str(file)], store)

    def apache(self, store: Store) -> Server:
        modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                          for name in ("mpm_event", "ssl", "authz_core", "socache_shmcb"))
        config = (modules + "ServerRoot @HOME@\nServerName a.test\nPidFile @HOME@/pid\nErrorLog @HOME@/error.log\n"
                  "User www-data\nGroup www-data\nDocumentRoot @HOME@\nListen 127.0.0.1:@PORT@\n"
                  "SSLSessionCache shmcb:@HOME@/cache(512000)\nMutex file:@HOME@\n"
                  "<VirtualHost *:@PORT@>\nServerName a.test:443\nSSLEngine on\nSSLCertificateFile @DIR@/a.test.pem\n"
                  "</VirtualHost>\n")
        return self.start("apache", config, lambda file: ["apache2", "-DFOREGROUND", "-f", str(file)], store)


VERSIONS = ["1.2", "1.2 by id", "1.3"]  # TLS 1.2 clients keep sessions by tickets, where both sides know them, or by ids


def version_flags(version: str) -> list[str]:
    """Of s_client."""
    number, _, by_id = version.partition(" ")
    return [f"-tls{number.replace('.', '_')}", *(["-no_ticket"] if by_id else [])]


class Answer:
    def __init__(self, output: str) -> None:
        self.output = output
        found = re.search(r"^(New|Reused), TLSv1", output, re.MULTILINE)
        assert found, f"no handshake: {output}"
        self.reused = found[1] == "Reused"
        self.early = "Early data was accepted" in output


def connect(server: Server, version: str, session: Path, *extra: str, offer: bool = True, save: bool = True) -> Answer:
    """One connection with a request; offers the session in the file when there is one, and keeps the new one."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", *version_flags(version),
             "-ign_eof", "-servername", "a.test"]
    if offer and session.exists():
        words += ["-sess_in", str(session)]
    if save:
        words += ["-sess_out", str(session)]
    done = subprocess.run([*words, *extra], input="GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", capture_output=True,
                          text=True, timeout=20, check=False)
    return Answer(done.stdout + done.stderr)
