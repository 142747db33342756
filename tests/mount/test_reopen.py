# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Handles that live through a restart of the backend are opened again as they were, not as they were
asked for."""
import os

import pytest

pytestmark = pytest.mark.timeout(200)


def test_opened_with_o_trunc_is_not_truncated_again(box, store):
    b = box.backend()
    m = box.mount_store(store, "--socket", b.socket)
    store.put("f", b"old")
    fd = os.open(m / "f", os.O_RDWR | os.O_TRUNC)
    try:
        os.write(fd, b"saved before the restart")
        os.fsync(fd)
        assert store.get("f") == b"saved before the restart"
        b.restart()
        assert os.pread(fd, 100, 0) == b"saved before the restart"
        os.pwrite(fd, b"SAVED", 0)
    finally:
        os.close(fd)
    assert m.read("f") == b"SAVED before the restart"
    assert store.get("f") == b"SAVED before the restart"
