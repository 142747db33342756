# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A mount on the scripted S3, for everything in this directory."""
import pytest


@pytest.fixture
def fm(box, fake):
    b = box.backend()
    box.watch.expect("retr", "scripted", "store", "s3", "EIO")
    return box.mount("s3://b", "--rw", "--socket", b.socket, "--attr-ttl", "1", *fake.mount_args,
                     env=fake.mount_env)
