# SPDX-License-Identifier: Apache-2.0
"""tools/pcap records what it says, and what is checked in is what it records."""

from pathlib import Path

from common.shell import run
from differential.oracle import by_tshark
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
