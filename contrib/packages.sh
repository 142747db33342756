# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
# What Debian calls the things hafiz needs, and how to install those that are missing. Sourced by
# contrib/quickstart, tests/run and tests/bench/run, so that the list exists once.

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 libcurl4-openssl-dev
    libssl-dev libevent-dev libmsgpack-dev libexpat1-dev libjson-c-dev libsqlite3-dev
    libseccomp-dev scdoc"
TEST_PACKAGES="clang libcmocka-dev python3 python3-venv ca-certificates git vim rsync sqlite3 tar
    util-linux procps passwd mount universal-ctags debootstrap debian-archive-keyring"
# Beside BUILD_PACKAGES, in the newer Debian that the tests make with debootstrap (tests/lib/newer-debian.sh).
NEWER_PACKAGES="libcmocka-dev python3 procps passwd mount"
BENCH_PACKAGES="s3fs"

# packages_list SUFFIX WORD...: in indented lines that fit a terminal, SUFFIX after all but the last
packages_list()
{
    local suffix=$1
    shift
    echo "$*" | fold -s -w 70 | sed -e 's/ *$//' -e "\$!s/\$/$suffix/" -e 's/^/     /'
}

# install_missing PACKAGE...: installs with apt what dpkg does not know as installed; returns 1, with
# the one command that helps on stderr, when it cannot.
install_missing()
{
    local p missing="" sudo="" log
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "   This is not Debian or a relative of it, so I go on without looking. What is" >&2
        echo "   needed is in these packages of Debian:" >&2
        packages_list "" "$@" >&2
        return 0
    fi
    for p in "$@"; do
        case "$(dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null)" in
        ii*) ;;
        *) missing="$missing $p" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null && sudo -v; then
            sudo="sudo"
        else
            echo "   Some packages are missing, and only root can install them. As root, run:" >&2
            packages_list ' \\' "apt-get update && apt-get install --no-install-recommends$missing" >&2
            echo "   and then start me again." >&2
            return 1
        fi
    fi
    echo "   Installing with apt, which may take a minute or two:"
    packages_list "" $missing
    log=$(mktemp) || return 1
    # The lists of a fresh machine are empty or old; update once, and only when there is need.
    if $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq update >"$log" 2>&1 &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
            $missing >>"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    tail -n 20 "$log" >&2
    rm -f "$log"
    echo "   apt could not install them; above is what it said last." >&2
    return 1
}
