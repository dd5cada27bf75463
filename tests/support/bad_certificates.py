# SPDX-License-Identifier: Apache-2.0
"""Certificates that no client accepts, for the lab's server name and key."""

import subprocess
from pathlib import Path

from lab.plan import PKI, SERVER_NAME, WEB_CA, WEB_KEY

_CA = """[ca]
default_ca = d
[d]
database = {at}/index.txt
new_certs_dir = {at}
rand_serial = yes
default_md = sha256
policy = p
x509_extensions = x
[p]
commonName = supplied
[x]
subjectAltName = DNS:{name}
"""


def expired(at: Path) -> str:
    """Of the lab's CA, for its name; it ended in 2021. PEM."""
    (at / "index.txt").write_text("")
    (at / "ca.cnf").write_text(_CA.format(at=at, name=SERVER_NAME))
    subprocess.run(["openssl", "req", "-new", "-key", WEB_KEY, "-subj", f"/CN={SERVER_NAME}", "-out", at / "csr.pem"],
                   check=True, capture_output=True)
    subprocess.run(["openssl", "ca", "-config", at / "ca.cnf", "-batch", "-notext", "-cert", WEB_CA,
                    "-keyfile", PKI / "web-ca.key", "-in", at / "csr.pem", "-out", at / "expired.pem",
                    "-startdate", "20200101000000Z", "-enddate", "20210101000000Z"], check=True, capture_output=True)
    return (at / "expired.pem").read_text()


def self_signed(at: Path) -> str:
    """For another name, by its own key, which is the lab's server key. PEM."""
    subprocess.run(["openssl", "req", "-x509", "-key", WEB_KEY, "-days", "1", "-subj", "/CN=other.test", "-out", at / "own.pem"],
                   check=True, capture_output=True)
    return (at / "own.pem").read_text()
