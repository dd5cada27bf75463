# SPDX-License-Identifier: Apache-2.0
"""Certificates of the lab: a web CA with one server certificate for all blades, and the chassis' own."""

from pathlib import Path

from common.shell import run
from lab.plan import (CHASSIS_PKI, PKI, SERVER_NAME, VIP4, VIP6, WEB_CA, WEB_CERTIFICATE, WEB_COMBINED, WEB_KEY,
                      Options, blades)

KEYS = {"rsa2048": ["-newkey", "rsa:2048"],
        "p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}
DAYS = ["-days", "30"]


def make_web(options: Options) -> None:
    """The same certificate on every blade: a server's session id context is made from it."""
    PKI.mkdir(parents=True, exist_ok=True)
    PKI.chmod(0o700)
    ca_key = PKI / "web-ca.key"
    run(["openssl", "req", "-x509", *KEYS["p256"], "-nodes", "-keyout", ca_key, "-out", WEB_CA, *DAYS,
         "-subj", "/CN=Keyrail lab web CA", "-addext", "basicConstraints=critical,CA:TRUE",
         "-addext", "keyUsage=critical,keyCertSign"])
    run(["openssl", "req", "-x509", *KEYS[options.cert], "-nodes", "-keyout", WEB_KEY, "-out", WEB_CERTIFICATE,
         *DAYS, "-CA", WEB_CA, "-CAkey", ca_key, "-subj", f"/CN={SERVER_NAME}",
         "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth",
         "-addext", f"subjectAltName=DNS:{SERVER_NAME},IP:{VIP4},IP:{VIP6}"])
    WEB_COMBINED.touch(0o600)
    WEB_COMBINED.write_text(WEB_CERTIFICATE.read_text() + WEB_KEY.read_text())


def make_chassis(options: Options, keyrail: Path) -> None:
    """As an operator does it."""
    run([keyrail, "chassis", "init", "--dir", CHASSIS_PKI, "--name", "lab"])
    for blade in blades(options):
        run([keyrail, "blade", "certify", str(blade.id), "--dir", CHASSIS_PKI])
