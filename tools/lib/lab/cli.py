# SPDX-License-Identifier: Apache-2.0
"""tools/lab: the commands."""

import argparse
import json
import os
import shlex
import signal
from collections.abc import Sequence

from common.debian import RELEASES
from common.paths import build_dir
from common.shell import ToolError
from lab import chassis, lifecycle, namespaces, readiness, state
from lab.plan import (AWAY4, AWAY6, BINARIES, BINDINGS, CERTIFICATES, CLIENT, CONFIG, CONTROL_SOCKET, DISPATCH, MAX_BLADES,
                      MIXED, PORT, PREFIX, SERVER_NAME, SERVERS, VIP4, VIP6, WEB_CA, Options, log_directory, namespace)

ABOUT = """The chassis in network namespaces: a client, a dispatcher, a switch and blades.

  tools/lab up                                   three nginx blades behind Keyrail
  tools/lab exec client sh -c 'curl --cacert $KR_CA https://198.51.100.1/'
  tools/lab exec dispatch keyrail status         the operator's command
  tools/lab down                                 nothing is left"""
HOSTS = "client, dispatch, switch, blade1, blade2, ..."
NOT_UP = "the lab is not up; 'tools/lab up' brings it up"


def blade_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_BLADES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MAX_BLADES}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("tools/lab", description=ABOUT,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring the lab up (with other options than it has: down, then up)")
    up.add_argument("--blades", type=blade_count, default=3, metavar="N", help=f"1 to {MAX_BLADES}, default 3")
    up.add_argument("--server", choices=(*SERVERS, MIXED), default=SERVERS[0],
                    help="TLS server of the blades; mixed: nginx on blade1, HAProxy on blade2, Apache on blade3 ...")
    up.add_argument("--cert", choices=CERTIFICATES, default=CERTIFICATES[0], help="their certificate's key")
    up.add_argument("--plain", action="store_true",
                    help="no session steering and no hooks: plain layer 4, for comparison")
    up.add_argument("--bind", choices=BINDINGS, default=BINDINGS[0],
                    help="when a connection gets its blade: after its ClientHello (late), at its SYN (early), or late "
                         "where every blade can (auto, the default)")
    up.add_argument("--no-accept", type=int, default=0, metavar="N",
                    help="the first N blades have no accept program, as on a kernel before 6.9")
    up.add_argument("--no-hooks", action="store_true",
                    help="nginx without our hooks: its own tickets, each blade's with a key of its own")
    up.add_argument("--store", type=int, default=Options.store_mb, metavar="MB",
                    help=f"room for sessions on each blade, default {Options.store_mb}; 1 MB for about 2500")
    up.add_argument("--releases", default="", metavar="RELEASE[,RELEASE...]",
                    help=f"the blades' servers are those of these Debian releases in turn ({', '.join(RELEASES)}): this machine's "
                         "own, or of a root that tools/test --on made; so are their agents if they were built there")
    up.add_argument("--no-build", action="store_true", help="take what is built as it is")
    commands.add_parser("down", help="take it away; nothing is left behind")
    status = commands.add_parser("status", help="what runs; exit status 1 if the lab is not up and whole")
    status.add_argument("--json", action="store_true")
    execute = commands.add_parser("exec", help="run a command on a host, with its exit status")
    execute.add_argument("host", help=HOSTS)
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="command ...")
    commands.add_parser("env", help="names and addresses as shell assignments")
    commands.add_parser("page", help="the address of keyraild's page, for a browser on this machine")
    restart = commands.add_parser("restart", help="end and start again one process of the lab")
    restart.add_argument("host", help=HOSTS)
    restart.add_argument("process", help="as 'status' names it: keyrail-dp, keyraild, keyrail-agent, nginx, ...")
    return top


def chosen(arguments: argparse.Namespace) -> Options:
    options = Options(arguments.blades, arguments.server, arguments.cert, arguments.plain, arguments.bind,
                      arguments.no_accept, arguments.no_hooks, arguments.store, arguments.releases)
    if not 0 <= options.no_accept <= options.blades:
        raise ToolError(f"--no-accept {options.no_accept}: there are {options.blades} blades")
    for release in options.releases.split(",") if options.releases else ():
        chassis.check_release(release)
    if not 1 <= options.store_mb <= 4096:
        raise ToolError(f"--store {options.store_mb}: 1 to 4096 MB")
    if options.plain and (options.bind != "auto" or options.no_accept or options.no_hooks):
        raise ToolError("--plain has nothing to bind and no hooks: leave out --bind, --no-accept and --no-hooks")
    if options.no_hooks and options.server != "nginx":
        raise ToolError("--no-hooks is for --server nginx, whose ticket keys can be given in a file")
    return options


def environment() -> dict[str, str]:
    """What scripts need to know; `exec` gives it to the command too."""
    current = state.load()
    return {
        "KR_VIP4": VIP4, "KR_VIP6": VIP6, "KR_PORT": str(PORT), "KR_SERVER_NAME": SERVER_NAME,
        "KR_CA": str(WEB_CA), "KR_CONFIG": str(CONFIG),
        "KR_BUILD": current.build if current else str(build_dir()),
        "KR_CLIENT_NS": namespace(CLIENT), "KR_DISPATCH_NS": namespace(DISPATCH),
        "KR_BLADE_NS_PREFIX": f"{PREFIX}blade", "KR_AWAY4": AWAY4, "KR_AWAY6": AWAY6,
        "KEYRAIL_SOCKET": str(CONTROL_SOCKET)}


def execute(host: str, words: Sequence[str]) -> int:
    """Becomes the command, so that its signals and exit status are its own."""
    if namespace(host) not in namespaces.existing():
        there = [name.removeprefix(PREFIX) for name in namespaces.existing()]
        raise ToolError(f"there is no host {host!r}; there are: {', '.join(there)}" if there else NOT_UP)
    words = list(words[1:] if words[:1] == ["--"] else words)
    if not words:
        raise ToolError(f"say what to run, for example: tools/lab exec {host} ip address")
    path = f"{BINARIES}:{os.environ.get('PATH', '')}"
    os.environ.update(environment(), PATH=path, KR_HOST=host)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the command would inherit that
    command = [*namespaces.enter(host), *words]
    os.execvp(command[0], command)


def show_status(as_json: bool) -> int:
    current = state.load()
    up = bool(current and current.ready and all(process.alive for process in current.processes))
    answers = {vip: readiness.request(CLIENT, vip).blade if current and current.ready else ""
               for vip in (VIP4, VIP6)}
    if as_json:
        print(json.dumps({
            "up": up, "options": current.options.as_json() if current else None, "answers": answers,
            "processes": [{"host": process.host, "name": process.name, "pid": process.pid, "alive": process.alive,
                           "log": str(process.log)} for process in (current.processes if current else [])]}))
    elif current is None:
        print(NOT_UP)
    else:
        print(f"{current.options}\n")
        for process in current.processes:
            print(f"{process.host:10} {process.name:14} {process.pid:8} {'runs' if process.alive else 'has ended'}")
        print(f"\nlogs: {log_directory('<host>')}/<process>.log")
        for vip, blade in answers.items():
            print(f"https://{vip}: {f'answered by {blade}' if blade else 'no answer'}")
    return 0 if up and all(answers.values()) else 1


def main(words: Sequence[str]) -> int:
    arguments = parser().parse_args(words)
    match arguments.command:
        case "up":
            lifecycle.up(chosen(arguments), fresh=not arguments.no_build)
        case "down":
            lifecycle.down()
        case "status":
            return show_status(arguments.json)
        case "exec":
            return execute(arguments.host, arguments.words)
        case "restart":
            lifecycle.restart(arguments.host, arguments.process)
        case "page":
            print(lifecycle.page())
        case "env":
            for name, value in environment().items():
                print(f"{name}={shlex.quote(value)}")
    return 0
