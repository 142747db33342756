# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The benchmark is not run here, but it must not rot: its line delays and loses nothing, it counts what
passes, its reader notices wrong data, and a few rows with a few bytes give figures."""
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "bench"))

MIB = 1 << 20


def program(name):
    return os.path.join(os.environ["HAFIZ_BUILD"], "tests/bench", name)


class Echo:
    """A server that sends back what it gets, and ends when the client does."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    @staticmethod
    def _serve(conn):
        with conn, contextlib.suppress(OSError):
            while True:
                data = conn.recv(1 << 16)
                if not data:
                    return
                conn.sendall(data)

    def close(self):
        self.listener.close()


@contextlib.contextmanager
def line(tmp_path, target, rtt_ms, rate_mb=0):
    """The proxy in front of a port."""
    from world import Proxy
    proxy = Proxy(program("delay-proxy"), target, rtt_ms, rate_mb, str(tmp_path / "line.json"))
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.close()


def exchange(conn, data):
    """Sends all and reads as much, both at once."""
    sender = threading.Thread(target=conn.sendall, args=(data,))
    sender.start()
    got = bytearray()
    while len(got) < len(data):
        part = conn.recv(1 << 20)
        assert part, "the connection ended after %d of %d bytes" % (len(got), len(data))
        got += part
    sender.join()
    return bytes(got)


def test_line_delays_by_a_round_trip(tmp_path, echo):
    with line(tmp_path, echo.port, 40) as proxy, \
            socket.create_connection(("127.0.0.1", proxy.port)) as conn:
        begin = time.monotonic()
        assert exchange(conn, b"first") == b"first"
        assert time.monotonic() - begin > 0.075, "opening a connection costs a round trip of its own"
        for _ in range(3):
            begin = time.monotonic()
            assert exchange(conn, b"more") == b"more"
            assert time.monotonic() - begin >= 0.04


def test_line_has_a_rate_per_connection(tmp_path, echo):
    data = os.urandom(4 * MIB)
    with line(tmp_path, echo.port, 2, 20) as proxy, \
            socket.create_connection(("127.0.0.1", proxy.port)) as conn:
        begin = time.monotonic()
        assert exchange(conn, data) == data
        assert time.monotonic() - begin >= len(data) / 20e6


@pytest.mark.parametrize("rate", [0, 200])
def test_line_loses_and_mixes_nothing(tmp_path, echo, rate):
    """Many connections at once, pieces of all sizes, more than the line holds."""
    failures = []

    def talk(seed):
        rng = random.Random(seed)
        with socket.create_connection(("127.0.0.1", proxy.port)) as conn:
            for _ in range(12):
                data = rng.randbytes(rng.choice([1, 4095, 4096, 70000, rng.randrange(3 * MIB)]))
                if exchange(conn, data) != data:
                    failures.append(seed)
    with line(tmp_path, echo.port, 2, rate) as proxy:
        threads = [threading.Thread(target=talk, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        figures = proxy.figures()
    assert not failures
    assert figures["opened"] == 8 and figures["peak_open"] == 8
    assert figures["bytes_up"] == figures["bytes_down"] > 8 * 12


def test_line_passes_on_the_end(tmp_path):
    """The server's end of stream comes out behind its last byte, and a server that is not there is an
    end too."""
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            line(tmp_path, listener.getsockname()[1], 10) as proxy, \
            socket.create_connection(("127.0.0.1", proxy.port)) as conn:
        server, _ = listener.accept()
        server.sendall(b"x" * 100000)
        server.close()
        got = 0
        while part := conn.recv(1 << 16):
            got += len(part)
        assert got == 100000
        listener.close()
        with socket.create_connection(("127.0.0.1", proxy.port)) as nobody:
            with contextlib.suppress(ConnectionResetError):
                assert nobody.recv(1) == b""


REQUESTS = [
    (b"GET /b/key HTTP/1.1\r\nHost: h\r\n\r\n", "get"),
    (b"GET /b/key HTTP/1.1\r\nhost: h\r\nrange: bytes=0-1\r\n\r\n", "range"),
    (b"GET /b?list-type=2&prefix=x HTTP/1.1\r\n\r\n", "list"),
    (b"GET /b/?delimiter=%2F&prefix= HTTP/1.1\r\n\r\n", "list"),
    (b"GET /b?location= HTTP/1.1\r\n\r\n", "other"),
    (b"HEAD /b/key HTTP/1.1\r\n\r\n", "head"),
    (b"PUT /b/key HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n!!" * 5000, "put"),
    (b"POST /b/key?uploads HTTP/1.1\r\ncontent-length: 0\r\n\r\n", "post"),
    (b"DELETE /b/key HTTP/1.1\r\n\r\n", "delete"),
]


def test_line_counts_requests_by_kind(tmp_path, echo):
    """Also those sent in one go, those that come byte by byte, and behind a body that looks like one."""
    stream = b"".join(r for r, _ in REQUESTS)
    with line(tmp_path, echo.port, 2) as proxy, \
            socket.create_connection(("127.0.0.1", proxy.port)) as conn:
        proxy.figures()
        assert exchange(conn, stream) == stream
        for byte in REQUESTS[1][0]:
            conn.sendall(bytes([byte]))
        assert exchange(conn, REQUESTS[0][0])
        counted = proxy.figures()["requests"]
        want = {kind: 1 for kind in ("head", "put", "post", "delete", "other")}
        assert counted == {**want, "get": 2, "range": 2, "list": 2}
        assert exchange(conn, b"\x16\x03 no request") is not None
        assert sum(proxy.figures()["requests"].values()) == 0


def reader(mode, objects, *args):
    text = "".join("%d %d %s\n" % o for o in objects)
    return subprocess.run([program("bench-read"), mode, *args], input=text, capture_output=True, text=True,
                          check=False, timeout=60)


def test_reader_notices_wrong_data(tmp_path):
    size = 3 * MIB + 5
    objects = [(7, size, tmp_path / "a"), (8, 100, tmp_path / "b")]
    assert reader("make", objects).returncode == 0
    good = reader("seq", objects, "--threads", "2", "--block", "70000")
    assert good.returncode == 0 and json.loads(good.stdout)["bytes"] == size + 100
    assert reader("rand", objects, "--block", "4K", "--ops", "500").returncode == 0
    assert reader("seq", [(9, size, tmp_path / "a")]).returncode == 1
    assert reader("seq", [(7, size + 1, tmp_path / "a")]).returncode == 1
    with open(tmp_path / "a", "r+b") as f:
        f.seek(2 * MIB + 4000)
        f.write(b"\0")
    bad = reader("seq", objects)
    assert bad.returncode == 1 and "wrong data at" in bad.stderr
    assert reader("first", objects, "--block", "4K").returncode == 0


@pytest.mark.root
def test_benchmark_gives_figures(tmp_path, need_root):
    """Some rows with little data; what it reads is checked by the reader itself."""
    import bench
    import limits
    from world import Sizes
    rows = ["first", "seq", "model2", "rand64", "small8", "ls"]
    world = bench.World(os.environ["HAFIZ_BUILD"], Sizes.tiny(), 2, 90, str(tmp_path / "cache"), drop=False)
    with world:
        results = bench.benchmark(world, rows, ["hafiz"], 1)
    assert sorted(results) == sorted(rows)
    for row, got in results.items():
        figures = got["hafiz"]
        assert isinstance(figures, list), "%s: %s" % (row, figures)
        assert figures[0]["seconds"] > 0 and figures[0]["cpu"] > 0 and figures[0]["pss"] > MIB
    assert results["seq"]["hafiz"][0]["fetched"] >= 4 * MIB
    assert results["seq"]["libcurl"][0]["fetched"] >= 4 * MIB
    assert results["model2"]["local"][0]["seconds"] > 0
    assert isinstance(results["model2"]["bare FUSE"], list) or not os.path.exists(limits.EXAMPLE)
    assert sum(results["model2"]["hafiz"][0]["requests"].get(k, 0) for k in ("get", "range")) == 0
    text = bench.Report([r for s in bench.rows_module.sessions() for r in s.rows], results, 2).text()
    assert "requests for objects: 0" in text and max(map(len, text.splitlines())) <= 110
