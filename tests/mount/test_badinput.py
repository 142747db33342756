# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Bad input gets one clear line, the right exit code, within 15 seconds, and mounts nothing. (What a server
does wrong is in fault/.)"""
import os
import socket
import time

import pytest

import proto
from s3server import ACCESS_KEY, SECRET_KEY
from util import free_port


def args(store, key=ACCESS_KEY, secret=SECRET_KEY):
    return ["--endpoint", store.endpoint, "--access-key", key, "--secret-key", secret]


def test_wrong_secret(box, s3_store):
    code, line = box.refused(s3_store.source, *args(s3_store, secret="wrong"))
    assert code == 32 and s3_store.bucket in line
    assert "key" in line or "signature" in line.lower() or "denied" in line.lower()


def test_wrong_access_key(box, s3_store):
    code, line = box.refused(s3_store.source, *args(s3_store, key="nobody"))
    assert code == 32 and ("key" in line.lower() or "denied" in line.lower())


def test_no_key_at_all(box, s3_store):
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint)
    assert code in (1, 32) and ("key" in line or "credential" in line)


def test_wrong_bucket(box, s3_store):
    code, line = box.refused("s3://no-such-bucket-here", *args(s3_store))
    assert code == 32 and "no-such-bucket-here" in line and ("exist" in line or "no such" in line.lower())


def test_no_such_directory(box):
    code, line = box.refused("file:///no/such/directory")
    assert code == 32 and line.endswith("the directory /no/such/directory cannot be used: "
                                        "No such file or directory")


def test_a_volume_without_its_bucket(box, s3_store):
    """It is that volume's bucket that is missing: the word is not taken for a bucket's name instead."""
    b = box.backend(config="[s3proxyd]\n" + s3_store.section("v") + "[d]\nbucket = file:///no/such/dir\n")
    s3_store.s3.delete_bucket(Bucket=s3_store.bucket)
    code, line = box.refused("v", "--socket", b.socket)
    assert code == 32 and s3_store.bucket in line and "no volume" not in line
    code, line = box.refused("d", "--socket", b.socket)
    assert code == 32 and "/no/such/dir " in line and "no volume" not in line


def test_a_file_as_bucket(box):
    path = box.path("plain")
    with open(path, "w", encoding="ascii"):
        pass
    code, line = box.refused("file://" + path)
    assert code == 32 and path in line and "directory" in line.lower()


def test_nobody_at_the_endpoint(box):
    url = "http://127.0.0.1:%d" % free_port()
    start = time.monotonic()
    code, line = box.refused("s3://b", "--endpoint", url, env={"HAFIZ_ACCESS_KEY": "a",
                                                               "HAFIZ_SECRET_KEY": "b"})
    assert code == 32 and url.rpartition(":")[2] in line and "connect" in line
    assert time.monotonic() - start < 16


def test_endpoint_name_does_not_resolve(box):
    code, line = box.refused("s3://b", "--endpoint", "http://no-such-host.invalid", timeout=20,
                             env={"HAFIZ_ACCESS_KEY": "a", "HAFIZ_SECRET_KEY": "b"})
    assert code == 32 and "no-such-host.invalid" in line


def test_endpoint_is_silent(box):
    """Connects, and says nothing for ever."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(16)
        url = "http://127.0.0.1:%d" % s.getsockname()[1]
        code, line = box.refused("s3://b", "--endpoint", url, timeout=20,
                                 env={"HAFIZ_ACCESS_KEY": "a", "HAFIZ_SECRET_KEY": "b"})
    assert code == 32 and ("127.0.0.1" in line)


@pytest.mark.parametrize("url", ["ftp://host", "http://", "not a url", "http://host:99999",
                                 "http://user:pw@host", "http://h\nx", "https://"])
def test_endpoint_that_is_no_url(box, url):
    code, line = box.refused("s3://b", "--endpoint", url, env={"HAFIZ_ACCESS_KEY": "a",
                                                               "HAFIZ_SECRET_KEY": "b"})
    assert code in (1, 32) and "endpoint" in line.lower()


def passwd(box, text, mode):
    path = box.path("passwd")
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o700])
def test_password_file_open_to_others(box, s3_store, mode):
    path = passwd(box, "%s:%s\n" % (ACCESS_KEY, SECRET_KEY), mode)
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint, "--passwd-file", path)
    assert path in line and SECRET_KEY not in line and "chmod 600" in line


def test_password_file_missing(box, s3_store):
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint, "--passwd-file",
                             "/no/such/file")
    assert "/no/such/file" in line


def test_password_file_unreadable(box, s3_store, users):
    path = passwd(box, "a:b\n", 0o600)
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint, "--passwd-file", path,
                             user=users[0])
    assert path in line


@pytest.mark.parametrize("text", ["", "# only a comment\n", "nocolon\n", "a:b:c:d\n", ":\n", "a b:c\n",
                                  "k:\n"])
def test_password_file_without_a_key(box, s3_store, text):
    path = passwd(box, text, 0o600)
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint, "--passwd-file", path)
    assert path in line


def test_unknown_profile(box, s3_store):
    code, line = box.refused(s3_store.source, "--endpoint", s3_store.endpoint, "--profile", "nosuch")
    assert "nosuch" in line


def test_empty_mount_point(box, file_store):
    code, line = box.refused(file_store.source, at="")
    assert code == 1 and "mount point" in line.lower() or "mountpoint" in line.lower()


def test_mount_point_missing(box, file_store):
    at = box.path("nowhere")
    code, line = box.refused(file_store.source, at=at)
    assert at in line


def test_mount_point_is_a_file(box, file_store):
    at = box.path("afile")
    with open(at, "w", encoding="ascii"):
        pass
    code, line = box.refused(file_store.source, at=at)
    assert at in line and "directory" in line.lower()


def test_mount_point_in_use(box, file_store):
    m = box.mount(file_store.source)
    from box import Mount
    second = Mount(box, file_store.source, at=m.at, name="second")
    second._spawn()
    assert second.proc.wait(20) != 0
    lines = second.said().strip().splitlines()
    assert len(lines) == 1 and m.at in lines[0] and ("mounted" in lines[0] or "use" in lines[0])
    assert m.ls() == []


def test_no_arguments(box):
    r = box.sh(box.programs.mount, check=False)
    assert r.returncode == 1 and "--help" in r.stderr and "MOUNTPOINT" in r.stderr


def test_one_argument(box, file_store):
    r = box.sh("%s %s" % (box.programs.mount, file_store.source), check=False)
    assert r.returncode == 1 and len(r.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize("option", [["--nosuchoption"], ["-o", "nosuchoption"], ["--attr-ttl", "soon"],
                                    ["--attr-ttl", "-1"], ["--uid", "no such user"], ["--umask", "9"],
                                    ["--attr-ttl"], ["-o", "attr_ttl"], ["-Q"], ["--rw=maybe"],
                                    ["-o", "timeo=100000"]])
def test_bad_options(box, file_store, option):
    code, line = box.refused(file_store.source, *option)
    assert code == 1 and option[-1].lstrip("-").split("=")[0].replace("_", "-") in line.replace("_", "-")


@pytest.mark.parametrize("source", ["", "s3://", "s3:///prefix", "gs://", "ftp://bucket", "file://relative",
                                    "file:dir", "s3://b/a//b", "s3://b/../c", "s3://b\n", "s3://UPPER CASE",
                                    "b:/p:/q\x01", "s3://" + "x" * 5000])
def test_sources_that_do_not_parse(box, source):
    code, line = box.refused(source, env={"HAFIZ_ACCESS_KEY": "a", "HAFIZ_SECRET_KEY": "b",
                                          "HAFIZ_ENDPOINT": "http://127.0.0.1:1"})
    assert code == 1, line


# --- backends that are none --------------------------------------------------------------------------
def lying(box, behave):
    path = box.path("liar")
    server = proto.Server(path, behave)
    box.cleanups.append(server.close)
    return path


def test_no_backend_at_the_socket(box, file_store):
    code, line = box.refused(file_store.source, "--socket", box.path("nothing"))
    assert code == 32 and box.path("nothing") in line


def test_socket_is_a_file(box, file_store):
    with open(box.path("file"), "w", encoding="ascii"):
        pass
    code, line = box.refused(file_store.source, "--socket", box.path("file"))
    assert box.path("file") in line


def test_socket_path_too_long(box, file_store):
    code, line = box.refused(file_store.source, "--socket", "/" + "x" * 200)
    assert "backend" in line or "socket" in line


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 64, b"\xff" * 4096,
                                    b"220 smtp ready\r\n", b""],
                         ids=["http", "zeros", "ones", "smtp", "hangup"])
def test_socket_that_is_not_a_backend(box, file_store, answer):
    def behave(c):
        c.sock.recv(4096)
        if answer:
            c.sock.sendall(answer)
    path = lying(box, lambda c: (behave(c), c.sock.shutdown(2)))
    code, line = box.refused(file_store.source, "--socket", path)
    assert path in line and "backend" in line or "s3proxyd" in line


def test_silent_socket(box, file_store):
    path = lying(box, lambda c: time.sleep(60))
    start = time.monotonic()
    code, line = box.refused(file_store.source, "--socket", path)
    assert path in line and time.monotonic() - start < 10


def other_version(c):
    kind, ident, method, raw, _, _ = c.receive()
    spec = proto.MESSAGES["HELLO"].reply
    c.send(proto.frame(proto.pack_head(proto.REPLY, ident, method, {
        spec["version"][0]: 7, spec["program"][0]: "s3proxyd 9.9"})))
    time.sleep(5)


def refusing_version(c):
    kind, ident, method, raw, _, _ = c.receive()
    c.send(proto.frame(proto.pack_head(proto.ERROR, ident, method, {1: 71, 2: "protocol 7 only"})))
    time.sleep(5)


@pytest.mark.parametrize("behave", [other_version, refusing_version])
def test_backend_of_another_version(box, file_store, behave):
    path = lying(box, behave)
    code, line = box.refused(file_store.source, "--socket", path)
    assert "version" in line.lower() or "protocol" in line.lower()


def test_backend_that_lies_in_its_attach_reply(box, file_store):
    """Root inode 0, no attributes, an odd token: refused, not mounted."""
    def behave(c):
        while True:
            kind, ident, method, raw, _, _ = c.receive()
            name = proto.BY_NUMBER[method].name
            if name == "HELLO":
                c.send(proto.reply(ident, "HELLO", version=1, program="liar"))
            else:
                c.send(proto.reply(ident, name))
    code, line = box.refused(file_store.source, "--socket", lying(box, behave))
    assert line


def test_foreign_socket_owner_is_not_trusted_by_default(box, file_store, users):
    """In the place where the private backend's socket belongs, another user's socket is not used."""
    user = users[0]
    run_dir = box.path("r-" + user)
    box.home(user)
    os.makedirs(os.path.join(run_dir, "hafiz"))
    os.chmod(os.path.join(run_dir, "hafiz"), 0o777)
    asked = []
    server = proto.Server(os.path.join(run_dir, "hafiz", "s3proxyd.sock"), asked.append)
    box.cleanups.append(server.close)
    box.sh("chmod 755 %s" % file_store.directory)
    code, line = box.refused(file_store.source, user=user)
    assert not asked and "hafiz" in line


# --- the backend's own command line ------------------------------------------------------------------
@pytest.mark.parametrize("config,word", [
    ("[s3proxyd]\nnosuchoption = 1\n", "nosuchoption"), ("[s3proxyd\n", "1"), ("nonsense\n", "1"),
    ("[s3proxyd]\ncache_size = lots\n", "cache_size"), ("[v]\nusers = root\n", "v"),
    ("[v]\nbucket = b\nusers = no-such-user-here\n", "no-such-user-here"),
    ("[bad name/]\nbucket = b\n", "bad name"),
    ("[v]\nbucket = b\n[v]\nbucket = c\n", "v")])
def test_bad_configuration(box, config, word):
    from backend import Backend
    b = Backend(box, config=config, expect_exit=True)
    box.watch.expect(".")
    b.start(wait=False)
    assert b.proc.wait(15) != 0
    lines = b.said().strip().splitlines()
    assert len(lines) == 1 and b.config_path in lines[0] and word in lines[0], b.said()


def test_configuration_with_keys_open_to_others(box, file_store):
    from backend import Backend
    b = Backend(box, config="[v]\nbucket = b\naccess_key = a\nsecret_key = s\n", expect_exit=True)
    os.chmod(b.config_path, 0o644)
    box.watch.expect(".")
    b.start(wait=False)
    assert b.proc.wait(15) != 0 and b.config_path in b.said()


def test_second_backend_on_the_same_directories(box):
    from backend import Backend
    b = box.backend()
    second = Backend(box, name="q", expect_exit=True)
    second.cache_dir, second.state_dir = b.cache_dir, b.state_dir
    box.watch.expect(".")
    second.start(wait=False)
    assert second.proc.wait(15) != 0
    assert b.state_dir in second.said() or b.cache_dir in second.said()


def test_wrong_region_is_healed_with_a_warning(box, fake):
    fake.put("b", "f", b"x")
    fake.on().region("eu-north-1")
    m = box.mount("s3://b", "--region", "us-west-2", *fake.mount_args, env=fake.mount_env)
    assert m.read("f") == b"x"
    assert "eu-north-1" in box.watch.text()
    assert fake.count(op="get") == 1, "learned once, not at every request"
