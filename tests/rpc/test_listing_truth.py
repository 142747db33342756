# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What is listed is what is there: on servers with an order of their own, and on all stores for random trees
that are looked at in every way and changed from outside in between."""
import random
from urllib.parse import unquote

import pytest

from listing import DIR, connect, ino, refresh
from proto import Client
from s3server import ACCESS_KEY, SECRET_KEY, FileStore
from scripted_s3_ops import Reply, quote


def reordered(fake, key_of):
    """Listings in another order, consistently: tokens and start-after follow it."""
    def answer(req):
        q = req.query
        prefix, delimiter = q.get("prefix", ""), q.get("delimiter", "")
        with fake.lock:
            objects = dict(fake.ops.buckets["b"])
        found = {}
        for key, obj in objects.items():
            if not key.startswith(prefix):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            found.setdefault(key[:cut + 1] if cut >= 0 else key, (obj, cut >= 0))
        rows = sorted(found, key=key_of)
        # The fake's tokens are keys, as they stand in the answer: quoted.
        after = unquote(q.get("continuation-token", "")[2:]) or q.get("start-after", "")
        rows = [r for r in rows if not after or key_of(r) > key_of(after)]
        page = rows[:int(q.get("max-keys", 1000))]
        body = [fake.ops._row(k, found[k][0], quote, found[k][1]) for k in page]
        reply = fake.ops._list_body(req, body, page[-1] if page else "", len(rows) > len(page), quote)
        return Reply(200, reply)
    fake.on("GET", op="list").call(answer)


@pytest.mark.parametrize("order", ["as directories are walked", "none"])
def test_servers_that_sort_otherwise(backend, fake, order):
    rnd = random.Random(7)
    keys = set()
    for i in range(2600):
        n = "n%03d" % rnd.randrange(400)
        keys.add("d/" + n + rnd.choice(["", "/x", "-x", "-x/1", ".txt", "!", "0", "/y/z"]))
    for key in keys:
        fake.put("b", key, b"x")
    if order == "none":
        reordered(fake, lambda k: hash((k, 5)))
    else:
        reordered(fake, lambda k: k.replace("/", "\0"))
    c = connect(backend)
    d = ino(c, "d")
    want = {k[2:].partition("/")[0] for k in keys}
    assert set(c.readdir(d)) == want
    refresh(backend, c, "d")
    assert set(c.readdir(d)) == want
    c.close()


def tree_of(keys):
    """directory path → names → is it a directory; the directory wins over an object of its name."""
    dirs = {"": {}}
    for key in keys:
        parts = key.split("/")
        for i, part in enumerate(parts):
            at = "/".join(parts[:i])
            dirs.setdefault(at, {})
            if part:
                dirs[at][part] = dirs[at].get(part, False) or i < len(parts) - 1
    return dirs


def random_key(rnd):
    depth = rnd.choice([1, 2, 2, 2, 3, 4])
    parts = [rnd.choice(["a", "a-b", "b", "a.d", "c c", "é", "d%02d" % rnd.randrange(12)])
             for _ in range(depth)]
    return "/".join(parts) + rnd.choice(["", "", "-x", "0", "%03d" % rnd.randrange(300)])


def change_outside(rnd, store, keys, plain):
    for _ in range(rnd.randrange(1, 40)):
        key = random_key(rnd)
        if plain and clashes(key, keys):
            continue
        store.put(key, b"x")
        keys.add(key)
    files = sorted(k for k in keys if not k.endswith("/"))
    for key in rnd.sample(files, min(len(files) // 4, rnd.randrange(1, 30))):
        store.delete(key)
        keys.discard(key)


def clashes(key, keys):
    """A directory tree cannot have a file and a directory of one name."""
    parts = key.split("/")
    above = {"/".join(parts[:i]) for i in range(1, len(parts))}
    return bool(above & keys) or any(k.startswith(key + "/") for k in keys)


@pytest.mark.parametrize("seed", range(4))
def test_names_around_the_end_of_a_page(backend, fake, seed):
    """Objects, prefixes and what sorts between them, in a directory of several pages, asked one by one: what
    the first page says about a name that it does not show must be true."""
    rnd = random.Random(seed)
    keys = set()
    for i in range(700):
        n = "d/n%04d" % i
        for tail in rnd.sample(["", "/x", "-x", "-x/1", ".txt", "!", "0", " ", "/"], rnd.randrange(1, 5)):
            keys.add(n + tail)
    for key in keys:
        fake.put("b", key, b"x")
    c = connect(backend)
    d = ino(c, "d")
    want = {}
    for key in keys:
        name, slash, _ = key[2:].partition("/")
        want[name] = want.get(name, False) or bool(slash)
    asked = ["n%04d%s" % (rnd.randrange(700), rnd.choice(["", "-x", ".txt", "!", "0", " ", "-", "~"]))
             for _ in range(150)]
    page = sorted(keys, key=lambda k: k.encode())
    names = sorted({k if "/" not in k[2:] else k[:k.index("/", 2) + 1] for k in page},
                   key=lambda k: k.encode())
    near = [n[2:].rstrip("/") for n in names[990:1010]]
    asked += near + [n + t for n in near for t in ("-x", "!", "0", "-", " ")]
    rnd.shuffle(asked)
    for name in asked:
        a = c.lookup(name, d)
        assert not a.error and bool(a.attr) == (name in want), (seed, name)
        if a.attr:
            assert (a.attr["mode"] & 0o170000 == DIR) == want[name], (seed, name)
    assert set(c.readdir(d)) == set(want)
    c.close()


def attach(backend, store):
    c = Client(backend.socket)
    c.hello()
    common = dict(rw=1, dir_mode=0o755, file_mode=0o644, attr_ttl_ms=600000, source="x")
    if isinstance(store, FileStore):
        c.attach(kind=2, bucket=store.directory, **common)
    else:
        c.attach(kind=1, bucket=store.bucket, endpoint=store.server.endpoint, cred=1,
                 access_key=ACCESS_KEY, secret_key=SECRET_KEY, **common)
    return c


@pytest.mark.parametrize("seed", range(3))
def test_random_trees_are_seen_as_they_are(box, store, seed):
    """Lookups, listings and walks in any order, with changes from outside in between."""
    rnd = random.Random(seed)
    keys, backend = set(), box.backend()
    c = attach(backend, store)
    for _ in range(6):
        change_outside(rnd, store, keys, True)
        refresh(backend, c, "")
        keys = set(store.keys())
        dirs = tree_of(keys)
        visits = [d for d in sorted(dirs) if d]
        if rnd.random() < 0.5:
            rnd.shuffle(visits)
        for path in [""] + visits:
            at = ino(c, path) if path else c.root
            some = rnd.sample(sorted(dirs[path]), min(3, len(dirs[path]))) if rnd.random() < .5 else []
            for name in some + ["absent", "a-"]:
                a = c.lookup(name, at)
                assert bool(a.attr) == (name in dirs[path]), (seed, path, name)
                if a.attr:
                    assert (a.attr["mode"] & 0o170000 == DIR) == dirs[path][name], (seed, path, name)
            if rnd.random() < 0.8:
                seen = {n: a["mode"] & 0o170000 == DIR for n, a in c.readdir(at, plus=1).items()}
                assert seen == dirs[path], (seed, path)
    c.close()
