# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completion of shells, from the tree of commands as the program itself prints it.

    documents.py KEYRAIL man|bash|zsh|fish VERSION > FILE"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

Command = dict[str, Any]

EXITS = {0: "done", 1: "refused, or failed", 2: "the command line is not understood", 3: "keyraild cannot be reached",
         4: "no permission", 5: "a conflict: a change is under way, or another revision is in force", 6: "there is no such thing",
         7: "partly done", 8: "not in time"}


def leaves(command: Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command with the words that lead to it, groups included."""
    yield words, command
    for one in command["commands"]:
        yield from leaves(one, (*words, one["name"]))


def named(option: dict[str, Any]) -> str:
    value = f" {option['takes']}" if option["takes"] else ""
    return ", ".join(option["names"]) + value


# --- manual page

def escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")


def manual(tree: Command, version: str) -> str:
    lines = [f'.TH KEYRAIL 8 "" "keyrail {version}" "Keyrail"', ".SH NAME", escaped("keyrail - " + tree["text"].split(": ", 1)[-1]),
             ".SH SYNOPSIS", ".B keyrail", "[OPTION]... COMMAND...", ".SH OPTIONS"]
    for option in tree["options"]:
        lines += [".TP", f".B {escaped(named(option))}", escaped(option["text"])]
    lines += [".SH COMMANDS"]
    for words, command in leaves(tree):
        if not words or command["commands"]:
            continue
        arguments = [option for option in command["options"] if option["argument"]]
        places = "".join(f" {option['takes'] or option['argument'].upper()}" for option in arguments)
        lines += [".SS " + escaped(" ".join(words) + places), escaped(command["text"] + ".")]
        for option in command["options"]:
            if "--help" not in option["names"]:
                name = option["takes"] or option["argument"] if option["argument"] else named(option)
                lines += [".TP", f".B {escaped(name)}", escaped(option["text"])]
    lines += [".SH EXIT STATUS"]
    for status, text in EXITS.items():
        lines += [".TP", f".B {status}", escaped(text)]
    return "\n".join(lines) + "\n"


# --- completion

def options_of(command: Command) -> list[str]:
    return [name for option in command["options"] for name in option["names"] if name.startswith("--")]


def takes_blade(command: Command) -> bool:
    return any(option["argument"] == "blade" for option in command["options"])


def bash(tree: Command, _: str) -> str:
    cases = []
    for words, command in leaves(tree):
        choices = [one["name"] for one in command["commands"]] + options_of(command) + (options_of(tree) if words else [])
        ask = " $(_keyrail_blades)" if takes_blade(command) else ""
        cases.append(f'        "{" ".join(words)}") choices="{" ".join(choices)}{ask}" ;;')
    known = " | ".join(f'"{" ".join(words)}"' for words, _ in leaves(tree) if words)
    return f"""# bash completion of keyrail; made from its commands
_keyrail_blades() {{
    keyrail --json --timeout 1s blade list 2>/dev/null | sed -n 's/^ *"name": "\\([A-Za-z0-9_.-]*\\)",*$/\\1/p'
}}
# What leads to a command; arguments do not.
_keyrail_adds() {{
    case $1 in
        {known}) words=$1 ;;
    esac
}}
_keyrail() {{
    local words="" word choices="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case $word in --socket | --timeout) ((i++)) ;; -*) ;; *) _keyrail_adds "${{words:+$words }}$word" ;; esac
    done
    case $words in
{chr(10).join(cases)}
    esac
    COMPREPLY=($(compgen -W "$choices" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _keyrail keyrail
"""


def zsh(tree: Command, version: str) -> str:
    # What is loaded at the first question must answer that one, too.
    return ("#compdef keyrail\nautoload -U +X bashcompinit && bashcompinit\n" + bash(tree, version)
            + "_bash_complete -o default -F _keyrail\n")


def fish(tree: Command, _: str) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = ["# fish completion of keyrail; made from its commands", "complete -c keyrail -f"]
    for words, command in leaves(tree):
        seen = [f"__fish_seen_subcommand_from {word}" for word in words]
        after = " ".join(one["name"] for one in command["commands"])
        if after:
            seen.append(f"not __fish_seen_subcommand_from {after}")
        condition = f"-n {quoted('; and '.join(seen) or 'true')}"
        for one in command["commands"]:
            lines.append(f"complete -c keyrail {condition} -a {one['name']} -d {quoted(one['text'])}")
        for option in command["options"]:
            for name in option["names"]:
                if name.startswith("--"):
                    needs = " -r" if option["takes"] else ""
                    lines.append(f"complete -c keyrail {condition} -l {name[2:]}{needs} -d {quoted(option['text'])}")
    return "\n".join(lines) + "\n"


KINDS: dict[str, Callable[[Command, str], str]] = {"man": manual, "bash": bash, "zsh": zsh, "fish": fish}


def main() -> None:
    program, kind, version = sys.argv[1:]
    done = subprocess.run([program, "--dump-commands"], capture_output=True, text=True, check=True)
    sys.stdout.write(KINDS[kind](json.loads(done.stdout), version))


if __name__ == "__main__":
    main()
