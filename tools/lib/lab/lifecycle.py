# SPDX-License-Identifier: Apache-2.0
"""The lab as a whole: `up` makes it step by step, `down` takes everything away, however far `up` came."""

import shutil
from collections.abc import Callable
from pathlib import Path

from common import build, hugepages
from common.paths import build_dir
from common.say import say
from common.shell import ToolError, run
from lab import certificates, chassis, namespaces, network, readiness, servers
from lab.plan import (BINARIES, CLIENT, CONTROL_SOCKET, DATAPLANE_SOCKET, DISPATCH, NETNS, PAGE_URL, RUN, SERVERS, SHM, VIP4, Options,
                      blades)
from lab.processes import Process, start, stop
from lab.state import State, load, locked


# Processes that are ready when they listen here.
SOCKETS = {(DISPATCH, "keyrail-dp"): DATAPLANE_SOCKET, (DISPATCH, "keyraild"): CONTROL_SOCKET}


def healthy(state: State) -> bool:
    return (state.ready and all(process.alive for process in state.processes)
            and bool(readiness.request(CLIENT, VIP4).blade))


def built(options: Options, fresh: bool = True) -> Path:
    """The build directory, up to date if `fresh`; a ToolError if what is built cannot run on this kernel."""
    directory = build_dir()
    if fresh:
        build.configure(directory)
        build.compile_all(directory, chassis.programs(directory))  # not the tests: the lab is up sooner
    chassis.check_kernel(directory, options)
    return directory


def up(options: Options, fresh: bool = True) -> None:
    """Brings the lab up with these options; a lab that is up with them already stays as it is."""
    directory = built(options, fresh)
    with locked():
        state = load()
        if state and state.options == options and state.build == str(directory) and healthy(state):
            say(f"the lab is up already: {options}")
            return
        if state or namespaces.existing():
            why = "it is not whole any more" if state and state.options == options else f"it was: {state.options}" \
                if state else "something of it was left behind"
            say(f"taking the old lab down first ({why})")
            take_down()
        state = State(options, str(directory), made_netns_directory=not NETNS.exists())
        try:
            make(state)
        except BaseException:
            say("the lab does not come up; taking down what was made")
            take_down()
            raise
        say(f"the lab is up: {options}")


def down() -> None:
    with locked():
        there = bool(load() or namespaces.existing())
        take_down()
        say("the lab is down" if there else "the lab was not up")


def make(state: State) -> None:
    """Every step is on record before it can be half done."""
    options = state.options
    state.save()
    say(f"bringing the lab up: {options}")
    state.hugepages_added = hugepages.add(chassis.huge_megabytes())
    state.save()
    network.build(options)
    chassis.link_binaries(Path(state.build))
    certificates.make_web(options)
    certificates.make_chassis(options, BINARIES / "keyrail")
    chassis.prepare(options)
    servers.make_big_file()
    start_everything(state)
    readiness.wait(options, state.processes)
    state.ready = True
    state.save()


def start_everything(state: State) -> None:
    """The dispatcher first, then control, then the blades: agent before server, for its session store."""
    options = state.options
    _start(state, chassis.dataplane_process())
    _start(state, chassis.control_process())
    hooked = not options.plain and not options.no_hooks
    for blade in blades(options):
        servers.prepare(blade, options)
        _start(state, chassis.agent_process(blade, options))
    for blade in blades(options):
        if hooked:
            _wait_for_store(state.process(blade.host, "keyrail-agent"), blade.store)
        _start(state, servers.process(blade, options, hooked))


def _start(state: State, process: Process) -> None:
    start(process)
    state.processes.append(process)
    state.save()
    _wait_until_it_listens(process)


def _wait_until_it_listens(process: Process) -> None:
    if process.name in SERVERS:
        readiness.wait_for_server(process)
    if path := SOCKETS.get((process.host, process.name)):
        readiness.wait_for_socket(process, path)


def _wait_for_store(agent: Process, store: Path) -> None:
    if not namespaces.wait_until(lambda: store.exists() or not agent.alive, 20):
        raise ToolError(f"the agent on {agent.host} made no session store {store}. Its last words:\n"
                        f"{agent.last_lines()}")
    if not agent.alive:
        raise readiness.ended(agent)


def page() -> str:
    """The address of keyraild's page for a browser on this machine: its socket by way of loopback, as long as the lab is up."""
    with locked():
        state = load()
        if state is None or not state.ready:
            raise ToolError("the lab is not up; 'tools/lab up' brings it up")
        relay = chassis.page_relay()
        if not any(process.name == relay.name and process.alive for process in state.processes):
            state.processes = [process for process in state.processes if process.name != relay.name]
            PAGE_URL.parent.mkdir(parents=True, exist_ok=True)
            PAGE_URL.unlink(missing_ok=True)
            _start(state, relay)
            if not namespaces.wait_until(lambda: PAGE_URL.exists() or not relay.alive, 20) or not relay.alive:
                raise readiness.ended(relay)
        return PAGE_URL.read_text().strip()


def restart(host: str, name: str) -> None:
    """Ends one of the lab's processes, if it still runs, and starts it again as it was."""
    with locked():
        state = load()
        if state is None:
            raise ToolError("the lab is not up")
        process = state.process(host, name)
        stop([process])
        start(process)
        state.save()
        _wait_until_it_listens(process)


def succeed(host: str, name: str, option: str) -> None:
    """Starts the process once more and tells it, by this option, the pid of the one whose place it takes."""
    with locked():
        state = load()
        if state is None:
            raise ToolError("the lab is not up")
        process = state.process(host, name)
        words = process.command
        process.command = [*words, option, str(process.pid)]
        start(process)
        process.command = words  # when it is started again there is nobody before it
        state.save()
        _wait_until_it_listens(process)


def take_down() -> None:
    """Everything the lab ever makes; whatever is not there is no error. Nothing stops it halfway."""
    state = load()
    troubles: list[str] = []

    def attempt(what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except (OSError, ToolError) as error:
            troubles.append(f"{what}: {error}")

    if state:
        attempt("processes", lambda: stop(list(reversed(state.processes))))
    attempt("namespaces", lambda: namespaces.remove_all(bool(state and state.made_netns_directory)))
    for mount in lab_mounts():
        attempt(f"mount {mount}", lambda mount=mount: run(["umount", mount]))  # type: ignore[misc]
    if state:
        attempt("huge pages", lambda: hugepages.give_back(state.hugepages_added))
    for directory in (SHM, RUN):
        attempt(str(directory), lambda directory=directory: _remove(directory))  # type: ignore[misc]
    if troubles:
        raise ToolError("not everything could be taken down:\n  " + "\n  ".join(troubles))


def lab_mounts() -> list[str]:
    """Mounts under the lab's directory, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.startswith(f"{RUN}/")), reverse=True)


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)
