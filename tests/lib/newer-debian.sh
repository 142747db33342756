#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
#
# A Debian newer than the one hafiz is made for, to build and test with its compiler and libraries, above all
# with a libfuse that knows passthrough (3.17 and later). Its files are a directory that debootstrap makes
# once; nothing runs in it but what is started here, nothing stays mounted. Wants root.
#
#   newer-debian.sh make TREE PACKAGE...   makes TREE, unless it is there with these packages
#   newer-debian.sh run TREE PATH... -- COMMAND...
#       runs COMMAND with TREE as root directory and the PATHs of this machine at their places (ro:PATH: not
#       to be written), in namespaces of its own: mounts and processes are gone when it ends. The working
#       directory is below one of the PATHs. As the user who called sudo with NEWER_AS_CALLER=1 in the
#       environment, else as root.
set -u
release=trixie
fail()
{
    echo "newer-debian: $1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "this needs root"

# --- make ------------------------------------------------------------------------------------------
# The mirror this machine takes its own Debian from: it may be the only one it reaches.
mirror()
{
    local origin uri
    if command -v apt-get >/dev/null && . /etc/os-release && [ "${ID:-}" = debian ]; then
        while IFS='|' read -r origin uri; do
            case "$origin|$uri" in
            "$VERSION_CODENAME|http"*) echo "$uri"; return ;;
            "$VERSION_CODENAME|mirror+file:"*) # a list of mirrors, as on machines of some clouds
                sed -n 's/[[:space:]].*//; /^http/{p;q}' "/${uri#mirror+file:}"
                return ;;
            esac
        done < <(apt-get indextargets --format '$(RELEASE)|$(REPO_URI)' 'Created-By: Packages' \
            'Component: main')
    fi
    echo http://deb.debian.org/debian/
}

# proxy_of SCHEME: what apt of this machine would use
proxy_of()
{
    local proxy=""
    eval "$(apt-config shell proxy "Acquire::$1::Proxy")"
    [ "$proxy" = DIRECT ] || echo "$proxy"
}

# in_new COMMAND...: chroot while the tree is being made
in_new()
{
    env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$new" "$@" </dev/null
}

# The new tree reaches its mirror the way this machine does, and writes no more than it must.
prepare_apt()
{
    apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries)' | grep -v 'Proxy-Auto-Detect' \
        >"$new/etc/apt/apt.conf.d/80machine"
    echo 'APT::Install-Recommends "0";' >"$new/etc/apt/apt.conf.d/81small"
    printf '%s\n' force-unsafe-io path-exclude=/usr/share/{doc,man,locale,info}/'*' \
        >"$new/etc/dpkg/dpkg.cfg.d/81small"
    [ ! -f /etc/resolv.conf ] || cat /etc/resolv.conf >"$new/etc/resolv.conf"
    [ ! -f /etc/hosts ] || cat /etc/hosts >"$new/etc/hosts"
    trust
}
# Certificates that this machine trusts: a proxy may have one of its own.
trust()
{
    mkdir -p "$new/etc/ssl/certs"
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] ||
        cat /etc/ssl/certs/ca-certificates.crt >"$new/etc/ssl/certs/ca-certificates.crt"
}

fill()
{
    local from scheme proxy
    from=$(mirror) && [ -n "$from" ] || fail "no mirror of Debian found"
    for scheme in http https; do
        proxy=$(proxy_of $scheme)
        [ -z "$proxy" ] || export "${scheme}_proxy=$proxy"
    done
    echo "making a Debian $release in $tree, from $from"
    debootstrap --variant=minbase --include=ca-certificates "$release" "$new" "$from" >"$log" 2>&1 || return 1
    prepare_apt
    { in_new apt-get -q update && in_new apt-get -q -y install "$@"; } >>"$log" 2>&1 || return 1
    trust
    ln -sfn ../proc/self/mounts "$new/etc/mtab" # fusermount3 -u asks it
    rm -rf "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/apt/lists/*
}

make_tree()
{
    local wanted="$release $*"
    log=$tree.log
    mkdir -p "$(dirname "$tree")" || exit 1
    exec 9>"$tree.lock" && flock 9 || fail "$tree.lock cannot be locked"
    [ "$(cat "$tree/.packages" 2>/dev/null)" != "$wanted" ] || return 0
    command -v debootstrap >/dev/null || fail "no debootstrap here"
    umask 022
    rm -rf --one-file-system "$tree".new.* || exit 1
    new=$(mktemp -d "$tree.new.XXXXXX") && chmod 755 "$new" || exit 1
    trap 'rm -rf --one-file-system "$new"' EXIT
    fill "$@" || { tail -n 40 "$log" >&2; fail "the tree could not be made (log: $log)"; }
    echo "$wanted" >"$new/.packages"
    rm -rf --one-file-system "$tree" && mv -T "$new" "$tree" || fail "$tree cannot be replaced"
}

# --- run -------------------------------------------------------------------------------------------
# bind PATH...: shows places of this machine in the tree
bind()
{
    local path options
    for path in "$@"; do
        options=bind
        [ "$path" = "${path#ro:}" ] || options=bind,ro
        path=${path#ro:}
        mkdir -p "$tree$path" && mount -o $options "$path" "$tree$path" || fail "$path cannot be shown"
    done
}

run_in_tree()
{
    local paths=() as=() start=$PWD
    while [ "$1" != -- ]; do
        paths+=("$1")
        shift
    done
    shift
    mount --bind "$tree" "$tree" && mount -t proc proc "$tree/proc" &&
        mount --rbind /dev "$tree/dev" && mount --rbind /sys "$tree/sys" &&
        mount -t tmpfs -o mode=755 tmpfs "$tree/run" && mkdir -m 1777 "$tree/run/lock" ||
        fail "the tree cannot be furnished"
    bind "${paths[@]}"
    cd "$tree" && pivot_root . . && umount -l . && cd "$start" ||
        fail "the tree cannot become the root directory"
    if [ -n "${NEWER_AS_CALLER:-}" ] && [ -n "${SUDO_UID:-}" ]; then
        as=(setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --clear-groups --)
    fi
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
    # Not exec: as process 1 this shell collects the orphans of what it starts.
    "${as[@]}" "$@"
    exit $?
}

[ $# -ge 3 ] || fail "usage: newer-debian.sh make TREE PACKAGE... | run TREE PATH... -- COMMAND..."
verb=$1 tree=$2
shift 2
# Mounts (private, says unshare) and processes of their own also while it is made: debootstrap mounts too.
alone=(unshare --mount --pid --fork --kill-child --mount-proc -- bash "$0")
case "$verb" in
make) exec "${alone[@]}" make-alone "$tree" "$@" ;;
make-alone) make_tree "$@" ;;
run) [ -f "$tree/.packages" ] || fail "no tree in $tree"
     exec "${alone[@]}" run-alone "$tree" "$@" ;;
run-alone) run_in_tree "$@" ;;
*) fail "what is '$verb'?" ;;
esac
