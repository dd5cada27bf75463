# SPDX-License-Identifier: Apache-2.0
"""The TLS server of a blade: nginx, HAProxy or Apache, each unmodified and with an ordinary configuration."""

import os
import re
import shutil
import signal
from pathlib import Path

from common.debian import within
from lab.plan import (BINARIES, HOOKS, RUN, SERVER_NAME, WEB_CERTIFICATE, WEB_COMBINED, WEB_KEY, Blade, Options, directory,
                      log_directory)
from lab.processes import Process

TEMPLATES = Path(__file__).parent / "templates"
FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "apache": "apache.conf"}
# Finish what you have, take nothing new.
STOP_GRACEFULLY = {"nginx": signal.SIGQUIT, "apache": signal.SIGWINCH, "haproxy": signal.SIGUSR1}
# Read your configuration again: new workers take what is new, the old ones finish. HAProxy: a new process with -sf.
RELOAD = {"nginx": signal.SIGHUP, "apache": signal.SIGUSR1}
BIG_FILE = RUN / "50MB.bin"
BIG_FILE_SIZE = 50_000_000
USER = "www-data"
TICKET_KEY_SIZE = 80  # name 16, HMAC key 32, AES key 32 (nginx, ssl_session_ticket_key)


def fill(template: Path, values: dict[str, object]) -> str:
    """Replaces @NAME@; the names differ from every server's own way of writing variables."""
    text = template.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def make_big_file() -> None:
    """Random, so that a lost, doubled or swapped segment shows in its checksum."""
    BIG_FILE.write_bytes(os.urandom(BIG_FILE_SIZE))


def prepare(blade: Blade, options: Options) -> None:
    """Directories, content and configuration."""
    home = directory(blade.host)
    for path in (blade.www / "upload", home / "tmp", log_directory(blade.host)):
        path.mkdir(parents=True, exist_ok=True)
    for path in (blade.www / "upload", home / "tmp"):
        shutil.chown(path, USER, USER)
    (blade.www / "index.txt").write_text(f"{blade.host}\n")
    os.link(BIG_FILE, blade.www / BIG_FILE.name)
    ticket_keys = home / "ticket.key"
    ticket_keys.write_bytes(blade.ticket_key_name + os.urandom(TICKET_KEY_SIZE - len(blade.ticket_key_name)))
    file = FILES[options.server_of(blade)]
    (home / file).write_text(fill(TEMPLATES / file, {
        "DIR": home, "LOG": log_directory(blade.host), "WWW": blade.www, "BLADE": blade.host,
        "TICKETS": f"ssl_session_ticket_key {ticket_keys};" if options.no_hooks else "",
        "SERVER_NAME": SERVER_NAME, "CERTIFICATE": WEB_CERTIFICATE, "KEY": WEB_KEY, "COMBINED": WEB_COMBINED}))


def process(blade: Blade, options: Options, hooked: bool) -> Process:
    server = options.server_of(blade)
    config = str(directory(blade.host) / FILES[server])
    nginx = shutil.which("nginx") or "nginx"  # by its path, so that it can start itself anew
    command = {"nginx": [nginx, "-c", config, "-e", "stderr"],
               "haproxy": ["haproxy", "-db", "-f", config],
               "apache": ["apache2", "-DFOREGROUND", "-f", config]}[server]
    if hooked:  # by env, after nsenter: only the server itself is preloaded
        command = ["env", f"LD_PRELOAD={BINARIES / HOOKS}", f"KEYRAIL_STORE={blade.store}", *command]
    return Process(blade.host, server, [*within(options.release_of(blade), RUN), *command])


def haproxy_with_backend(text: str, blade: str, path: str, port: int) -> str:
    """The lab's configuration with the patience that this needs; what is asked for at `path` comes from this port."""
    text = re.sub(r"timeout (client|server) 30s", r"timeout \1 300s", text)
    text = re.sub(r"( +http-request return .*?)( if \{ ssl_fc_is_resumed \})?$",
                  lambda found: f"{found[1]}{found[2] or ' if'} !{{ path {path} }}", text, flags=re.MULTILINE)
    return (f"{text}    use_backend behind if {{ path {path} }}\n\nbackend behind\n    timeout tunnel 300s\n"
            f"    http-response set-header X-Blade {blade}\n    server behind 127.0.0.1:{port}\n")
