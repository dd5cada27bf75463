# SPDX-License-Identifier: Apache-2.0
"""tools/pcap records what it says, and what is checked in is what it records."""

import shutil
from pathlib import Path

import pytest

from common.shell import run
from differential.oracle import by_tshark
from fuzzing import seeds
from pcap import cli
from pcap.recordings import RECORDINGS


def test_a_recording_shows_the_hello_and_leaves_nothing(tmp_path: Path) -> None:
    before = run(["ip", "netns", "list"]).stdout
    assert cli.main(["--only", "post-quantum", "--out", str(tmp_path)]) == 0
    (hellos,) = by_tshark(tmp_path / "post-quantum.pcap").values()
    assert [hello.sni for hello in hellos] == ["www.keyrail.test"] and len(hellos[0].psk_identities) == 1
    assert run(["ip", "netns", "list"]).stdout == before


def test_captures_are_small_and_explained() -> None:
    files = {file.stem: file for file in cli.CAPTURES.glob("*.pcap")}
    assert set(files) == {entry.name for entry in RECORDINGS}
    assert all(file.stat().st_size < 60_000 for file in files.values())
    rows = (cli.CAPTURES / "README.md").read_text()
    assert all(f"| `{entry.name}` | {entry.about} |" in rows for entry in RECORDINGS)


def test_the_clients_of_today_offer_a_post_quantum_share() -> None:
    for name in ("curl-debian-13", "chromium"):
        shares = run(["tshark", "-n", "-r", cli.CAPTURES / f"{name}.pcap", "-Y", "tls.handshake.type == 1", "-T", "fields",
                      "-e", "tls.handshake.extensions_key_share_group", "-e", "tcp.len"]).stdout.split("\n")[:-1]
        assert len(shares) >= 3, name
        for groups, last_segment in (line.split("\t") for line in shares):
            assert "4588" in groups.split(","), (name, groups)  # X25519MLKEM768, 0x11ec
            assert int(last_segment) < 1000, name  # the rest of one that began in a full segment


def test_seeds_are_those_of_the_captures_and_those_written_by_hand_stay(tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    checked_in = seeds.SEEDS
    monkeypatch.setattr(seeds, "SEEDS", tmp_path)
    for target in ("headers", "client_hello", "replay"):
        shutil.copytree(checked_in / target, tmp_path / target)
        (tmp_path / target / "chromium-99").write_bytes(b"of a capture that had more connections")
    seeds.make()
    for target in ("headers", "client_hello", "replay"):
        made, kept = ({file.name: file.read_bytes() for file in folder.iterdir()}
                      for folder in (tmp_path / target, checked_in / target))
        assert made == kept, target
