# SPDX-License-Identifier: Apache-2.0
"""Keyrail's own processes in the lab: their configuration files, and how each is started."""

import json
import os
import shutil
import tomllib
from pathlib import Path

from common.build import built_file
from common.debian import BUILD, RELEASES, has_program, own_release, root_of, within
from common.paths import ROOT, build_dir
from common.say import say
from common.shell import ToolError, run
from lab.plan import (AWAY4_PREFIX, AWAY6_PREFIX, BACK4, BACK6, BINARIES, CHASSIS_PKI, CLIENT4, CLIENT6, CONFIG, CONTROL_SOCKET,
                      DATAPLANE_SOCKET, DISPATCH, FLOWS, FRONT4, FRONT6, HERE, HOOKS, METRICS, PAGE_PORT, PAGE_URL, PORT, PROFILE, RUN,
                      VIP4, VIP6, Blade, Options, blades, directory)
from lab.processes import Process

PROGRAMS = ("keyrail-dp", "keyraild", "keyrail-agent", "keyrail")
NO_LATE_BINDING = 3  # exit status of keyrail-agent --check on a kernel without bpf_sk_assign_tcp_reqsk
MODEL_PROFILE = ROOT / "hw/profiles/lab.toml"
# What moves sessions gathers on one core: there it is woken without an interrupt to another.
MOVE_CORE = max(os.sched_getaffinity(0)) if len(os.sched_getaffinity(0)) > 1 else None
GATHERED: dict[str, object] = {} if MOVE_CORE is None else {"core": MOVE_CORE}
HOLD_BUDGET = "200ms"  # ten times the default: two cores run the whole chassis, and its clients


def programs(build: Path) -> list[str]:
    """What the lab runs, as ninja calls it."""
    return [str(built_file(build, name).relative_to(build)) for name in (*PROGRAMS, HOOKS)]


def link_binaries(build: Path) -> None:
    """One directory to put on PATH, whatever the build directory looks like inside. The hook library is a copy, which servers
    in another release's root see, too."""
    BINARIES.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        (BINARIES / name).symlink_to(built_file(build, name))
    shutil.copy(built_file(build, HOOKS), BINARIES / HOOKS)


def check_release(release: str) -> None:
    """Can blades be of it?"""
    if release not in RELEASES:
        raise ToolError(f"--releases: {release!r} is none of {', '.join(RELEASES)}")
    if not has_program(release, "nginx"):
        raise ToolError(f"--releases: there is no root of Debian {release}: 'tools/test --on {release} --only build' makes it")


def agent_of(release: str) -> tuple[list[str], Path]:
    """The agent of that release's build, and what to put before it. Where its root has none the agent is this machine's: it is
    the server's OpenSSL that makes and reads sessions."""
    there = BUILD / built_file(build_dir(), "keyrail-agent").relative_to(build_dir())
    if release != own_release() and Path(f"{root_of(release)}{there}").exists():
        return within(release, RUN), there
    return [], BINARIES / "keyrail-agent"


def check_kernel(build: Path, options: Options) -> None:
    """Late binding needs a kernel function that came with Linux 6.9: better said before anything is touched."""
    done = run([built_file(build, "keyrail-agent"), "--check"], check=False)
    if done.returncode != NO_LATE_BINDING or options.plain or options.bind == "early":
        return
    why = ("this kernel cannot give a server a connection that the dispatcher answered: it has no "
           "bpf_sk_assign_tcp_reqsk (Linux 6.9 and later have it; Debian 12 offers such a kernel in "
           "bookworm-backports)")
    if options.bind == "auto":
        return say(f"{why}; so the connections are bound early")
    raise ToolError(f"{why}.\n  'tools/lab up --bind auto' works here: early binding.\n"
                    f"  keyrail-agent --check says: {(done.stdout + done.stderr).strip()}", NO_LATE_BINDING)


def toml(value: object) -> str:
    """A TOML value: for strings, numbers, booleans and lists of them JSON is TOML."""
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _table(head: str, values: dict[str, object]) -> str:
    return f"{head}\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def control_config(options: Options) -> str:
    """keyraild.toml."""
    pool = [blade.id for blade in blades(options)]
    parts = [
        _table("[chassis]", {
            "name": "lab", "run_dir": directory(DISPATCH), "state_dir": directory(DISPATCH) / "state",
            "listen": f"{BACK4}:7400", "ca": CHASSIS_PKI / "ca.pem", "certificate": CHASSIS_PKI / "control.pem",
            "key": CHASSIS_PKI / "control.key", "dataplane": DATAPLANE_SOCKET, "metrics": METRICS, **GATHERED}),
        *(_table("[[blade]]", {"id": blade.id, "name": blade.host, "address": blade.address4})
          for blade in blades(options)),
        _table("[[pool]]", {"name": "web", "blades": pool}),
        _table("[[service]]", {
            "name": "www", "addresses": [VIP4, VIP6], "port": PORT, "pool": "web",
            **({"steering": "tuple"} if options.plain else
               {"steering": "session", "binding": options.bind, "hold_budget": HOLD_BUDGET, "early_data": True})}),
        *(_table("[[ticket_key]]", {"name": blade.ticket_key_name.hex(), "blade": blade.id})
          for blade in blades(options) if options.no_hooks)]
    return "# Made by tools/lab.\n" + "\n".join(parts)


def agent_config(blade: Blade, options: Options) -> str:
    """agent.toml."""
    return "# Made by tools/lab.\n" + _table("[blade]", {
        "id": blade.id, "control": f"{BACK4}:7400", "listen": f"{blade.address4}:7401", "interface": "back0",
        "ca": CHASSIS_PKI / "ca.pem", "certificate": CHASSIS_PKI / f"blade-{blade.id}.pem",
        "key": CHASSIS_PKI / f"blade-{blade.id}.key", "store": blade.store, "store_size_mb": options.store_mb,
        "bpffs": blade.bpffs, "server_group": "www-data", "accept_program": not options.plain and blade.id > options.no_accept, **GATHERED})


def profile() -> str:
    """The dispatcher's profile: the lab's model, with the lab's addresses and the routes to where the client
    may move."""
    try:
        model = tomllib.loads(MODEL_PROFILE.read_text())
    except (OSError, ValueError) as error:
        raise ToolError(f"{MODEL_PROFILE} cannot be used: {error}") from error
    own = {"front": {"addresses": [f"{FRONT4}/24", f"{FRONT6}/64"],
                     "routes": [f"{AWAY4_PREFIX} via {CLIENT4}", f"{AWAY6_PREFIX} via {CLIENT6}"]},
           "back": {"addresses": [f"{BACK4}/24", f"{BACK6}/64"], "routes": []}}
    model["memory"]["flow_directory"] = str(FLOWS)
    if MOVE_CORE is not None:
        model["worker"]["cores"] = f"0@{MOVE_CORE},1@{MOVE_CORE}"
    ports = [_table("[[port]]", {**port, **own[port["role"]]}) for port in model.pop("port")]
    tables = [_table(f"[{name}]", values) for name, values in model.items()]
    return "# Made by tools/lab from hw/profiles/lab.toml.\n" + "\n".join(tables + ports)


def huge_megabytes() -> int:
    """How much memory in huge pages the profile asks for; 0 when it does without."""
    memory = tomllib.loads(profile()).get("memory", {})
    return int(memory.get("megabytes", 512)) if memory.get("huge_pages", True) else 0


def prepare(options: Options) -> None:
    """Writes every configuration file and makes the stores' and programs' places."""
    directory(DISPATCH).mkdir(parents=True, exist_ok=True)
    (directory(DISPATCH) / "state").mkdir(0o700, exist_ok=True)
    CONFIG.write_text(control_config(options))
    PROFILE.write_text(profile())
    FLOWS.mkdir(parents=True, exist_ok=True)
    for blade in blades(options):
        blade.store.parent.mkdir(parents=True, exist_ok=True)
        blade.bpffs.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "bpf", "bpf", blade.bpffs])
        (directory(blade.host) / "agent.toml").write_text(agent_config(blade, options))


def dataplane_process() -> Process:
    return Process(DISPATCH, "keyrail-dp", [str(BINARIES / "keyrail-dp"), "--profile", str(PROFILE),
                                            "--run-dir", str(directory(DISPATCH))])


def control_process() -> Process:
    return Process(DISPATCH, "keyraild", [str(BINARIES / "keyraild"), "--config", str(CONFIG)])


def page_relay() -> Process:
    return Process(HERE, "page-relay", ["/usr/bin/python3", "-B", str(ROOT / "tools/lib/lab/relay.py"), str(CONTROL_SOCKET),
                                        str(PAGE_PORT), str(PAGE_URL)])


def agent_process(blade: Blade, options: Options) -> Process:
    before, agent = agent_of(options.release_of(blade))
    return Process(blade.host, "keyrail-agent", [*before, str(agent), "--config", str(directory(blade.host) / "agent.toml")])
