# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The last question of every fault test: is the mount as good as new once the server is?"""
import time


def alive(m, fake):
    fake.calm()
    fake.put("b", "probe", b"fine")
    time.sleep(1.1)
    assert m.read("probe") == b"fine"
    m.write("probe2", b"ok")
    assert fake.get("b", "probe2") == b"ok"
