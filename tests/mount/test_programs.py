# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Real programs on real servers: an editor, git, tar, rsync, a database."""
import os

import pytest

from util import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def tree(box):
    """A source tree of a few hundred files without symlinks, made here so that it is the same everywhere."""
    top = box.mkdir("tree")
    for i in range(12):
        for j in range(20):
            path = os.path.join(top, "dir%02d" % i, "sub%d" % (j % 3))
            os.makedirs(path, exist_ok=True)
            with open(os.path.join(path, "file %03d.txt" % j), "w", encoding="utf-8") as f:
                f.write("line of file %d %d\n" % (i, j) * (1 + (i * j * 37) % 700))
    with open(os.path.join(top, "empty"), "w", encoding="utf-8"):
        pass
    with open(os.path.join(top, "script.sh"), "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\necho ran\n")
    os.chmod(os.path.join(top, "script.sh"), 0o755)
    return top


def test_vim(m, store):
    m.write("notes.txt", b"alpha\nbeta\n")
    for _ in range(2):
        m.sh("vim -u NONE -es -c '%s/alpha/gamma/e' -c 'normal Gomore' -c 'wq' notes.txt")
    assert store.get("notes.txt") == b"gamma\nbeta\nmore\nmore\n"
    m.sh("vim -u NONE -es --cmd 'set backup' -c 'normal itext' -c 'wq' new.txt")
    assert store.get("new.txt") == b"text\n"
    assert not [k for k in store.keys() if k.endswith(".swp")]


def test_cp_mv_rm(m, store, tree, box):
    m.sh("cp -r %s copy && mv copy moved && cp moved/script.sh . && ./script.sh" % tree)
    box.sh("diff -r %s %s/moved" % (tree, m.at))
    assert len([k for k in store.keys("moved/") if not k.endswith("/")]) == 242
    m.sh("rm -r moved")
    assert m.ls() == ["script.sh"] and store.keys() == ["script.sh"]


def test_git_clone_and_fsck(box, m, store, tree):
    git = "git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c gc.auto=0 "
    box.sh("cd %s && %s init -q && %s add . && %s commit -qm one && echo x >> empty && %s commit -qam two"
           % (tree, git, git, git, git), timeout=60)
    m.sh("git clone -q --no-hardlinks %s clone" % tree, timeout=200)
    out = m.sh("cd clone && git fsck --full && git status --porcelain && git log --oneline", timeout=100)
    assert len(out.stdout.strip().splitlines()) == 2, out.stdout
    m.sh("cd clone && echo y >> empty && %s commit -qam three && git fsck" % git, timeout=100)
    box.sh("cd %s && git pull -q %s/clone main && git log --oneline | wc -l" % (tree, m.at))


def test_tar_and_diff(box, m, store, tree):
    box.sh("tar -C %s -cf tree.tar ." % tree)
    m.sh("mkdir x && tar -C x -xf %s" % box.path("tree.tar"), timeout=200)
    box.sh("diff -r %s %s/x" % (tree, m.at), timeout=100)
    m.sh("tar -C x -cf again.tar . && tar -tf again.tar | wc -l", timeout=200)
    assert store.size("again.tar") > 100000


def test_rsync_twice(box, m, tree):
    first = m.sh("rsync -a --itemize-changes %s/ copy/" % tree, timeout=200)
    assert ">f+++++++++" in first.stdout
    second = m.sh("rsync -a --itemize-changes --stats %s/ copy/" % tree, timeout=100)
    assert "Number of regular files transferred: 0" in second.stdout, second.stdout
    changed = [x for x in second.stdout.splitlines() if x.startswith((">f", "cd"))]
    assert not changed, changed
    box.sh("diff -r %s %s/copy" % (tree, m.at), timeout=100)


def test_sqlite(m, store):
    m.sh("sqlite3 db.sqlite 'create table t(n integer, s text)'")
    for i in range(3):
        m.sh("sqlite3 db.sqlite \"insert into t values(%d, 'row %d')\"" % (i, i))
    m.sh("sqlite3 db.sqlite \"begin; with recursive c(x) as (select 10 union all select x+1 from c where "
         "x < 500) insert into t select x, hex(zeroblob(100)) from c; commit\"")
    assert m.sh("sqlite3 db.sqlite 'select count(*), max(n) from t; pragma integrity_check'").stdout == \
        "494|500\nok\n"
    assert store.get("db.sqlite").startswith(b"SQLite format 3\0")
    assert [k for k in store.keys()] == ["db.sqlite"]


def test_dd_conv_fsync_and_checksums(box, m, store):
    box.sh("dd if=/dev/urandom of=src bs=1M count=30 status=none")
    m.sh("dd if=%s of=dst bs=333k conv=fsync status=none && cmp %s dst" % (box.path("src"),
                                                                          box.path("src")))
    assert store.digest("dst") == box.sh("sha256sum src").stdout.split()[0]


def test_shell_redirections(m, store):
    m.sh("echo one > f; echo two >> f; sed -i s/one/uno/ f; cat < f | sort > g; : > empty")
    assert store.get("f") == b"uno\ntwo\n" and store.get("g") == b"two\nuno\n"
    wait_until("the empty file's object", lambda: store.exists("empty") and store.get("empty") == b"", 5)
