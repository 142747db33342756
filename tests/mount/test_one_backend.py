# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A user has one private backend, whichever way the mounts were started: mount(8) and cron give no
XDG_RUNTIME_DIR, a login session does."""
import json


def test_with_and_without_a_runtime_directory_is_the_same_backend(box, file_store):
    without = box.mount_store(file_store, daemon=True, env={"XDG_RUNTIME_DIR": None})
    inside = box.mount_store(file_store, daemon=True)
    without.write("f", b"x")
    assert inside.read("f") == b"x"
    assert len(json.loads(box.ctl("status", "--json").stdout)["mounts"]) == 2
