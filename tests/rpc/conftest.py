# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""A backend for clients of the scripted S3; files of this directory that talk about another store have a
`backend` of their own."""
import pytest


@pytest.fixture
def backend(box, fake):
    b = box.backend()
    b.fake = fake
    return b
