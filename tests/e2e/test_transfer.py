# SPDX-License-Identifier: Apache-2.0
"""Bulk data through the VIP arrives whole. The lab switches TX checksum and segmentation offload off at the client
and at the blades: frames that cross AF_XDP on veth must be finished."""

import hashlib
from pathlib import Path

import pytest

from clients.outcome import bracketed, run_client
from lab.plan import VIP4, VIP6, WEB_CA, Blade
from lab.servers import BIG_FILE
from support.chassis import Chassis

both_families = pytest.mark.parametrize("vip", [VIP4, VIP6])


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@both_families
def test_download_of_50_mb_is_whole(chassis: Chassis, tmp_path: Path, vip: str) -> None:
    got = tmp_path / "got"
    status, text = run_client(["curl", "-sS", "--max-time", "60", "--cacert", WEB_CA, "-o", got,
                               f"https://{bracketed(vip)}/{BIG_FILE.name}"], timeout=90)
    assert status == 0, text
    assert sha256(got) == sha256(BIG_FILE)


@both_families
def test_upload_of_50_mb_is_whole(chassis: Chassis, vip: str) -> None:
    name = f"upload-{'6' if ':' in vip else '4'}.bin"
    status, text = run_client(
        ["curl", "-sS", "--max-time", "60", "--cacert", WEB_CA, "--write-out", "%{http_code} %header{x-blade}", "-T",
         BIG_FILE, f"https://{bracketed(vip)}/upload/{name}"], timeout=90)
    assert status == 0, text
    code, host = text.split()
    arrived = Blade(int(host.removeprefix("blade"))).www / "upload" / name
    try:
        assert code in ("201", "204")
        assert sha256(arrived) == sha256(BIG_FILE)
    finally:
        arrived.unlink(missing_ok=True)
