# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
# What Debian calls the things hafiz needs, and how to install those that are missing. Sourced by
# contrib/quickstart and tests/run, so that the list exists once.

BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libfuse3-dev fuse3 libcurl4-openssl-dev
    libssl-dev libevent-dev libmsgpack-dev libexpat1-dev libjson-c-dev libsqlite3-dev
    libseccomp-dev"
TEST_PACKAGES="clang libcmocka-dev python3 python3-venv ca-certificates git vim rsync sqlite3 tar
    util-linux procps passwd mount universal-ctags"

# install_missing PACKAGE...: installs with apt what dpkg does not know as installed; returns 1, with
# the one command that helps on stderr, when it cannot.
install_missing()
{
    local p missing="" sudo=""
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        echo "This is not Debian or a relative of it; make sure that you have what these packages" >&2
        echo "hold, I go on without looking: $*" | tr -s ' \n' ' ' >&2
        echo >&2
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
        if command -v sudo >/dev/null; then
            sudo="sudo"
        else
            echo "Some packages are missing and I am not root. Please run, as root:" >&2
            echo "    apt-get install --no-install-recommends$missing" >&2
            return 1
        fi
    fi
    echo "installing with apt:$missing"
    # The lists of a fresh machine are empty or old; update once, and only when there is need.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
            $missing >/dev/null && return 0
    echo "apt could not install:$missing" >&2
    return 1
}
