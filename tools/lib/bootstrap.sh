# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the commands in tools/: installs what is missing, then the Python part takes over.
# Only here because a fresh Debian 12 may not even have Python. Everything it says goes to stderr.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Debian's own tools first: other Pythons and Mesons on PATH do not see Debian's libraries.
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
policy=/usr/sbin/policy-rc.d
apt_log=""

say() { echo "keyrail: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] ||
        fail "$1 makes network namespaces and may install packages, so it must run as root: try 'sudo $1'"
}

missing_packages() {
    local wanted installed
    wanted=$(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$root/tools/packages.txt" | sort -u)
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u)
    comm -23 <(echo "$wanted") <(echo "$installed")
}

# Daemons that a package brings must not start by being installed, nor at the next boot: the lab runs its own.
# A policy that is already there is somebody's decision: it stays as it is.
hold_services() {
    [ -e "$policy" ] && return
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    trap release_services EXIT
}

release_services() {
    wait  # for apt-get when we are interrupted: to stop it halfway would leave half-installed packages
    rm -f "$policy"
    [ -z "$apt_log" ] || rm -f "$apt_log"
}

do_not_start_at_boot() {
    local service
    for service in nginx haproxy redis-server prometheus; do
        if grep -qx "$service\(-light\)\?" <<<"$1" && systemctl disable --quiet "$service" 2>/dev/null; then
            say "$service was installed for the lab or the tests; it is neither started nor enabled at boot"
        fi
    done
}

# Runs apt-get quietly; a line now and then shows that it goes on; its last lines are shown when it fails.
quiet_apt() {
    local what=$1 begin=$SECONDS pid
    shift
    DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" \
        >"$apt_log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $(((SECONDS - begin) % 15)) -eq 14 ]; then
            say "$what: $((SECONDS - begin)) s, $(grep -c '^Setting up' "$apt_log" || true) packages set up"
        fi
    done
    wait "$pid" && return
    tail -n 20 "$apt_log" >&2
    return 1
}

ensure_packages() {
    local missing
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    say "installing $(wc -l <<<"$missing") missing packages: $(tr '\n' ' ' <<<"$missing")"
    apt_log=$(mktemp)
    trap release_services EXIT
    hold_services
    quiet_apt "reading package lists" update ||
        say "the package lists could not be renewed; trying with those that are there"
    # shellcheck disable=SC2086  # one word per package
    quiet_apt "installing" install --no-install-recommends $missing ||
        fail "apt-get could not install the packages above; run 'apt-get install' by hand to see why"
    release_services
    trap - EXIT
    do_not_start_at_boot "$missing"
}

python_part() { exec /usr/bin/python3 -B "$root/tools/lib/main.py" "$@"; }

# Becomes the program of this Meson target, which is built if it is missing (KR_BUILD=DIR: elsewhere).
run_built() {
    local program=${KR_BUILD:-$root/build}/$1
    if [ ! -x "$program" ]; then
        if [ "$(id -u)" -eq 0 ]; then
            ensure_packages
        elif [ -n "$(missing_packages)" ]; then
            fail "packages are missing to build it: run it once as root, who may install them"
        fi
        (python_part build "$1" >&2)
    fi
    shift
    exec "$program" "$@"
}
