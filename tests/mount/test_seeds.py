# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The command lines people already have in their fingers: hafiz-mount's first manual, s3fs' blog post and
rusty-s3fs, each as it was written but for the names of directories."""
import os

import pytest

from helpers import errno_of
from s3server import ACCESS_KEY, SECRET_KEY
from util import mount_at, wait_until


def keys(store):
    return ["--endpoint", store.endpoint, "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]


def test_hafiz_mount_read_write(box, s3_store):
    """hafiz-mount s3://my-bucket /mnt/hafiz --rw --endpoint … --access-key … --secret-key …"""
    s3_store.put("old.log", b"old")
    m = box.mount(s3_store.source, "--rw", *keys(s3_store), daemon=True)
    box.sh('echo "hello" > %s/greet.txt' % m.at)
    box.sh("cp /etc/hosts %s/hosts" % m.at)
    box.sh("rm %s/old.log" % m.at)
    assert s3_store.get("greet.txt") == b"hello\n"
    with open("/etc/hosts", "rb") as f:
        assert s3_store.get("hosts") == f.read()
    assert s3_store.keys() == ["greet.txt", "hosts"]


def test_hafiz_mount_read_only_by_default(box, s3_store):
    s3_store.put("dir/file", bytes(range(256)) * 100)
    m = box.mount(s3_store.source, *keys(s3_store), daemon=True)
    assert box.sh("ls %s/dir" % m.at).stdout == "file\n"
    assert box.sh("stat -c %%s %s/dir/file" % m.at).stdout == "25600\n"
    assert box.sh("cmp %s/dir/file <(cat %s/dir/file)" % (m.at, m.at)).stdout == ""
    assert box.sh("head -c 300 %s/dir/file | wc -c; tail -c 7 %s/dir/file | wc -c" %
                  (m.at, m.at)).stdout.split() == ["300", "7"]
    assert box.sh("dd if=%s/dir/file bs=1000 skip=3 count=1 status=none | md5sum" % m.at).stdout == \
        box.sh("dd if=<(cat %s/dir/file) bs=1000 count=4 iflag=fullblock status=none | tail -c 1000 | "
               "md5sum" % m.at).stdout
    assert box.sh("touch %s/new" % m.at, check=False).returncode != 0
    assert errno_of(open, m / "new", "w") == 30


def test_hafiz_mount_from_the_environment(box, s3_store):
    """HAFIZ_ENDPOINT, HAFIZ_ACCESS_KEY, HAFIZ_SECRET_KEY"""
    s3_store.put("f", b"x")
    m = box.mount(s3_store.source, env={"HAFIZ_ENDPOINT": s3_store.endpoint,
                                        "HAFIZ_ACCESS_KEY": ACCESS_KEY, "HAFIZ_SECRET_KEY": SECRET_KEY,
                                        "HAFIZ_REGION": "us-east-1"})
    assert m.ls() == ["f"]


def test_aws_environment(box, s3_store):
    s3_store.put("f", b"x")
    m = box.mount(s3_store.source, "--endpoint", s3_store.endpoint,
                  env={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                       "AWS_REGION": "us-east-1"})
    assert m.ls() == ["f"]


def passwd_file(box, text, mode=0o600, name="passwd-s3fs"):
    path = box.path(name)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


@pytest.mark.parametrize("line", ["%(ak)s:%(sk)s", "%(bucket)s:%(ak)s:%(sk)s"])
def test_s3fs_blog(box, s3_store, line):
    """s3fs bucketname -o use_cache=/tmp -o allow_other /mnt/s3, with passwd_file=, url=,
    use_path_request_style, endpoint= as people with another store than Amazon's write it"""
    s3_store.put("f", b"from before")
    text = "# keys\n" + line % {"ak": ACCESS_KEY, "sk": SECRET_KEY, "bucket": s3_store.bucket} + "\n"
    passwd = passwd_file(box, text)
    cache = box.mkdir("shared-tmp", mode=0o1777)
    at = box.mkdir("s3")
    m = box.mount(None, at=at, daemon=True, argv=[
        box.programs.mount, s3_store.bucket, "-o", "use_cache=" + cache, "-o", "allow_other", at, "-o",
        "passwd_file=" + passwd, "-o", "url=" + s3_store.endpoint, "-o", "use_path_request_style", "-o",
        "endpoint=us-east-1"])
    assert m.read("f") == b"from before"
    m.write("g", b"written")  # s3fs' form is read-write
    assert s3_store.get("g") == b"written"
    assert "allow_other" in mount_at(at).super_options
    below = os.listdir(cache)
    assert len(below) == 1, "one directory of our own in the shared one"
    assert os.stat(os.path.join(cache, below[0])).st_mode & 0o777 == 0o700


def test_mount_l_shows_it(box, s3_store):
    m = box.mount(s3_store.source, *keys(s3_store), daemon=True)
    line = [x for x in box.sh("mount -l").stdout.splitlines() if m.at in x]
    assert len(line) == 1 and line[0].startswith(s3_store.source + " on ") and "fuse.hafiz" in line[0]


def test_s3fs_password_file_in_the_home(box, s3_store):
    """s3fs looks at ~/.passwd-s3fs when nothing else is given."""
    with open(os.path.join(box.home(None), ".passwd-s3fs"), "w", encoding="ascii") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write("%s:%s\n" % (ACCESS_KEY, SECRET_KEY))
    s3_store.put("f", b"x")
    m = box.mount(s3_store.bucket, "-o", "use_cache=" + box.mkdir("c"), "-o", "url=" + s3_store.endpoint)
    assert m.ls() == ["f"]


def test_rusty_s3fs(box, s3_store):
    """rusty-s3fs --mount-point M --bucket-name B --data-dir D --auto_unmount --allow-root --direct-io"""
    s3_store.put("model.bin", b"m" * 300000)
    at = box.mkdir("rusty")
    data = box.mkdir("rusty-data")
    m = box.mount(None, at=at, argv=[
        box.programs.mount, "--mount-point", at, "--bucket-name", s3_store.bucket, "--data-dir", data,
        "--auto_unmount", "--allow-root", "--direct-io"],
        env={"HAFIZ_ENDPOINT": s3_store.endpoint, **s3_store.mount_env})
    assert m.read("model.bin") == b"m" * 300000
    assert os.listdir(data)


def test_use_cache_with_a_running_backend_is_a_notice(box, file_store):
    b = box.backend()
    m = box.mount(file_store.source, "-o", "use_cache=" + box.mkdir("c"), "--socket", b.socket)
    lines = [x for x in m.said().splitlines() if "use_cache" in x or "data-dir" in x or "cache" in x]
    assert len(lines) == 1, m.said()
    assert os.listdir(box.path("c")) == []


def test_profile(box, s3_store):
    aws = os.path.join(box.home(None), ".aws")
    os.makedirs(aws)
    with open(os.path.join(aws, "credentials"), "w", encoding="ascii") as f:
        f.write("[default]\naws_access_key_id = x\naws_secret_access_key = y\n[work]\n"
                "aws_access_key_id = %s\naws_secret_access_key = %s\n" % (ACCESS_KEY, SECRET_KEY))
    with open(os.path.join(aws, "config"), "w", encoding="ascii") as f:
        f.write("[profile work]\nregion = us-east-1\nendpoint_url = %s\n" % s3_store.endpoint)
    s3_store.put("f", b"x")
    m = box.mount(s3_store.source, "--profile", "work")
    assert m.ls() == ["f"]


def test_secret_key_file_and_standard_input(box, s3_store):
    s3_store.put("f", b"x")
    args = ["--endpoint", s3_store.endpoint, "--access-key", ACCESS_KEY, "--secret-key-file"]
    m = box.mount(s3_store.source, *args, passwd_file(box, SECRET_KEY + "\n", name="secret"))
    assert m.ls() == ["f"]
    m.unmount()
    m.wait_end()
    m = box.mount(s3_store.source, *args, "-", stdin=SECRET_KEY.encode() + b"\n")
    assert m.ls() == ["f"]


def test_anonymous(box, fake):
    fake.put("b", "f", b"public")
    m = box.mount("s3://b", "--anonymous", *fake.mount_args)
    assert m.read("f") == b"public"
    assert all("authorization" not in r.headers for r in fake.log)


def test_virtual_host_style(box, fake):
    """The bucket in the host name: libcurl takes every name below localhost for this machine."""
    fake.make_bucket("bucket")
    fake.put("bucket", "d/f", b"x")
    m = box.mount("s3://bucket", "--virtual-host", "--endpoint", "http://localhost:%d" % fake.port,
                  env=fake.mount_env)
    assert m.read("d/f") == b"x"
    assert {r.headers["host"] for r in fake.log} == {"bucket.localhost:%d" % fake.port}


def test_bare_bucket_and_prefix(box, s3_store):
    s3_store.put("p/f", b"x")
    m = box.mount(s3_store.bucket + ":/p", *s3_store.mount_args, env=s3_store.mount_env)
    assert m.ls() == ["f"]
    wait_until("mount table", lambda: mount_at(m.at).source == s3_store.bucket + ":/p")
