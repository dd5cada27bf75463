# SPDX-License-Identifier: Apache-2.0
"""TLS servers with several sites, each with its own idea of who may come in: for tests of who may have a session."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tls_server import Bench, Server, Store, version_flags

KINDS = ("nginx", "haproxy", "apache")
VERIFY = {"nginx": {"none": "off", "optional": "optional", "required": "on", "any": "optional_no_ca"},
          "haproxy": {"none": "none", "optional": "optional", "required": "required", "any": "optional"},
          "apache": {"none": "none", "optional": "optional", "required": "require", "any": "optional_no_ca"}}


@dataclass
class Site:
    """`verify`: what it demands of clients (`any`: a certificate that does not verify will do); `ca`: whose certificates."""

    name: str = "a.test"
    verify: str = "none"
    ca: str = ""
    certificate: str = "a.test"
    port: int = 0  # set when it runs


class Authority:
    """A CA for clients; `client(name)` are the words for openssl to be one of its clients."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.directory, self.name = bench.directory, name
        self.pem = f"{bench.directory}/{name}.pem"
        self._openssl("req", "-x509", *self._new_key(name), "-out", self.pem, "-days", "2")

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.directory)

    def _new_key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}"]

    def _ca(self, *words: str) -> None:
        home = self.directory / f"{self.name}-ca"
        if not home.exists():
            home.mkdir()
            (home / "index").touch()
            (home / "config").write_text(
                f"[ca]\ndefault_ca=c\n[c]\ndatabase={home}/index\nnew_certs_dir={home}\nrand_serial=yes\ndefault_md=sha256\n"
                "default_days=2\ndefault_crl_days=2\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n")
        self._openssl("ca", "-batch", "-config", str(home / "config"), "-cert", self.pem, "-keyfile", f"{self.name}.key", *words)

    def client(self, name: str, until: float | None = None) -> tuple[str, ...]:
        """`until`: unix time at which its certificate expires."""
        self._openssl("req", *self._new_key(name), "-out", f"{name}.csr")
        end = ("-enddate", time.strftime("%Y%m%d%H%M%SZ", time.gmtime(until))) if until else ()
        self._ca("-in", f"{name}.csr", "-out", f"{name}.crt", "-notext", *end)
        return ("-cert", f"{self.directory}/{name}.crt", "-key", f"{self.directory}/{name}.key")

    def crl(self, *revoked: str) -> None:
        """Writes NAME.crl, with these clients on it."""
        for name in revoked:
            self._ca("-revoke", f"{name}.crt")
        self._ca("-gencrl", "-out", f"{self.name}.crl")


def _nginx(sites: list[Site], extra: str) -> str:
    text = ("daemon off; worker_processes 1; pid @HOME@/pid; error_log stderr;\nevents { worker_connections 256; }\n"
            "http { access_log off; client_body_temp_path @HOME@/1; proxy_temp_path @HOME@/2; fastcgi_temp_path @HOME@/3;"
            " uwsgi_temp_path @HOME@/4; scgi_temp_path @HOME@/5;\n")
    for site in sites:
        ca = f"ssl_client_certificate @DIR@/{site.ca}.pem;" if site.ca else ""
        text += (f"server {{ listen 127.0.0.1:{site.port} ssl; server_name {site.name}; ssl_protocols TLSv1.2 TLSv1.3; {extra}"
                 f" ssl_certificate @DIR@/{site.certificate}.pem; ssl_certificate_key @DIR@/{site.certificate}.pem;"
                 f" ssl_verify_client {VERIFY['nginx'][site.verify]}; {ca}"
                 f' return 200 "site={site.name} verify=$ssl_client_verify dn=$ssl_client_s_dn\\n"; }}\n')
    return text + "}\n"


def _haproxy(bench: Bench, sites: list[Site], extra: str) -> str:
    text = ("global\n  nbthread 2\n  user www-data\n  group www-data\n  chroot /var/lib/haproxy\n"
            "defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n")
    answer = ('  http-request return status 200 content-type text/plain lf-string'
              ' "site=%[ssl_fc_sni] verify=%[ssl_c_used],%[ssl_c_verify] dn=%[ssl_c_s_dn]\\n"\n')
    for port in dict.fromkeys(site.port for site in sites):
        here = [site for site in sites if site.port == port]
        listing = bench.directory / f"crt-list-{port}"
        lines = []
        for site in here:
            ca = f"ca-file {bench.directory}/{site.ca}.pem" if site.ca else ""
            lax = "crt-ignore-err all ca-ignore-err all" if site.verify == "any" else ""
            lines.append((f"verify {VERIFY['haproxy'][site.verify]} {ca}", lax, site))
        if len(here) == 1:
            bind = f"crt {bench.directory}/{here[0].certificate}.pem {lines[0][0]} {lines[0][1]}"
        else:
            listing.write_text("".join(f"{bench.directory}/{site.certificate}.pem [{words}] {site.name}\n"
                                       for words, _, site in lines))
            bind = f"crt-list {listing}"
        text += f"frontend f{port}\n  bind 127.0.0.1:{port} ssl {bind} {extra}\n{answer}"
    return text


def _apache(sites: list[Site], extra: str) -> str:
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                      for name in ("mpm_event", "ssl", "authz_core", "socache_shmcb", "headers"))
    text = (modules + "ServerRoot @HOME@\nServerName a.test\nPidFile @HOME@/pid\nErrorLog @HOME@/error.log\n"
            "User www-data\nGroup www-data\nDocumentRoot @HOME@\nMutex file:@HOME@\nSSLSessionCache none\n"
            + "".join(f"Listen 127.0.0.1:{port}\n" for port in dict.fromkeys(site.port for site in sites)))
    for site in sites:
        ca = f"SSLCACertificateFile @DIR@/{site.ca}.pem\n" if site.ca else ""
        text += (f"<VirtualHost *:{site.port}>\nServerName {site.name}:443\nSSLEngine on\nSSLCertificateFile @DIR@/{site.certificate}.pem\n"
                 f"SSLVerifyClient {VERIFY['apache'][site.verify]}\n{ca}SSLOptions +StdEnvVars\n{extra}"
                 f'Header always set X-Site "site={site.name} verify=%{{SSL_CLIENT_VERIFY}}s dn=%{{SSL_CLIENT_S_DN}}s"\n</VirtualHost>\n')
    return text


def start(bench: Bench, kind: str, store: Store | None, sites: list[Site], extra: str = "", one_port: bool = False) -> Server:
    """One server with all these sites, each at a port of its own (`site.port`), or told apart by SNI."""
    first = bench.ports(1 if one_port else len(sites))
    for i, site in enumerate(sites):
        site.port = first if one_port else first + i
    config = {"nginx": lambda: _nginx(sites, extra), "haproxy": lambda: _haproxy(bench, sites, extra),
              "apache": lambda: _apache(sites, extra)}[kind]()
    command = {"nginx": lambda file: ["nginx", "-c", str(file), "-e", "stderr"],
               "haproxy": lambda file: ["haproxy", "-W", "-db", "-f", str(file)],
               "apache": lambda file: ["apache2", "-DFOREGROUND", "-f", str(file)]}[kind]
    return bench.start(kind, config, command, store, port=first)


def visit(site: Site, version: str, session: Path, *client: str, offer: bool = True, save: bool = False,
          path: str = "/") -> SimpleNamespace:
    """One connection with a request: `reused`, `answer` (what the site says of the client; empty: it did not get that
    far) and `output`. Offers the session in the file when there is one."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", *version_flags(version), "-ign_eof",
             "-servername", site.name]
    words += ["-sess_in", str(session)] if offer and session.exists() else []
    words += ["-sess_out", str(session)] if save else []
    done = subprocess.run([*words, *client], input=f"GET {path} HTTP/1.0\r\nHost: {site.name}\r\n\r\n", capture_output=True,
                          text=True, timeout=20, check=False)
    output = done.stdout + done.stderr
    answer = next((line[line.index("site="):].strip() for line in output.splitlines() if "site=" in line), "")
    return SimpleNamespace(reused="\nReused, TLSv1" in output, answer=answer, output=output)
