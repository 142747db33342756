# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""hafizctl, --help, --version and what they promise."""
import json
import os

from util import run


def test_status_in_words_and_json(box, store):
    b = box.backend()
    m = box.mount_store(store, "--socket", b.socket)
    m.write("f", b"x" * 1000000)
    assert m.read("f") == b"x" * 1000000
    words = box.ctl("--socket", b.socket, "status").stdout
    for what in (m.at, store.source, "cache"):
        assert what in words, words
    doc = json.loads(box.ctl("--socket", b.socket, "status", "--json").stdout)
    text = json.dumps(doc)
    assert m.at in text and store.source in text and str(b.pid) in text
    assert "mounts" in doc and len(doc["mounts"]) == 1
    assert "cache" in text and "pool" in text or "connections" in text


def test_status_finds_the_private_backend(box, file_store):
    m = box.mount(file_store.source, daemon=True)
    assert m.at in box.ctl("status").stdout


def test_status_without_a_backend(box):
    r = box.ctl("status", check=False)
    assert r.returncode != 0 and len(r.stderr.strip().splitlines()) == 1


def test_status_of_a_socket_that_is_none(box):
    r = box.ctl("--socket", box.path("none"), "status", check=False)
    assert r.returncode != 0 and box.path("none") in r.stderr


def test_ctl_usage(box):
    for bad in ([], ["nosuch"], ["status", "--nosuch"], ["refresh"]):
        r = box.ctl(*bad, check=False)
        assert r.returncode == 1 and r.stderr, bad


def test_refresh_of_something_that_is_no_mount(box):
    b = box.backend()
    r = box.ctl("--socket", b.socket, "refresh", "/etc", check=False)
    assert r.returncode != 0 and "/etc" in r.stderr


def test_status_is_not_for_other_users(box, file_store, users):
    """Another user sees no mount that is not his."""
    b = box.backend(config="[s3proxyd]\n" + file_store.section("v", users=users[0]))
    m = box.mount("v", "--socket", b.socket, user=users[0], daemon=True)
    r = box.ctl("--socket", b.socket, "status", user=users[1], check=False)
    assert m.at not in r.stdout


def test_version_and_help(box):
    for program in (box.programs.mount, box.programs.backend, box.programs.ctl):
        r = run([program, "--version"], env=box.env())
        assert "0.1.0" in r.stdout
        assert "usage" in run([program, "--help"], env=box.env()).stdout.lower()


def test_help_names_every_option_of_the_manual(box):
    text = run([box.programs.mount, "--help"], env=box.env()).stdout
    for option in ("rw endpoint region access-key secret-key session-token profile passwd-file anonymous "
                   "path-style virtual-host attr-ttl allow-other allow-root auto-unmount direct-io uid gid "
                   "umask file-mode dir-mode socket help version").split():
        assert "--" + option in text, option


def test_cache_is_bounded_and_survives(box, s3_store):
    """cache_size is kept while more than that is read; what is cached is not fetched again."""
    b = box.backend(args=["--cache-size", "32M"])
    for i in range(8):
        s3_store.put("o%d" % i, os.urandom(8 << 20))
    m = box.mount_store(s3_store, "--socket", b.socket)
    for i in range(8):
        assert m.read("o%d" % i) == s3_store.get("o%d" % i)
    used = int(run(["du", "-s", "--block-size=1", b.cache_dir]).stdout.split()[0])
    assert used < 40 << 20, "%d bytes in a cache of 32 MiB" % used


def test_cached_blocks_are_not_fetched_again(box, fake):
    fake.put("b", "o", os.urandom(3 << 20))
    b = box.backend()
    m = box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    assert m.read("o") == fake.get("b", "o")
    fetched = fake.count(op="get")
    m.unmount()
    m.wait_end()
    m = box.mount("s3://b", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    assert m.read("o") == fake.get("b", "o")
    assert fake.count(op="get") == fetched
    b.restart()
    assert m.read("o") == fake.get("b", "o")
    assert fake.count(op="get") == fetched, "the cache survives its backend"


def test_what_was_written_is_not_downloaded(box, fake):
    b = box.backend()
    m = box.mount("s3://b", "--rw", "--socket", b.socket, *fake.mount_args, env=fake.mount_env)
    m.write("f", b"w" * (2 << 20))
    assert m.read("f") == b"w" * (2 << 20)
    assert fake.count(op="get") == 0


def test_a_private_backend_uses_the_users_own_directories(box, file_store):
    box.mount(file_store.source, daemon=True)
    home = box.home(None)
    assert os.path.isdir(os.path.join(home, ".cache/hafiz")) and \
        os.path.isdir(os.path.join(home, ".local/state/hafiz"))
    assert os.path.isdir(box.path("r-me", "hafiz"))
