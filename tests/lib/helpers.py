# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Small things that several test files say."""
import random

import pytest


def errno_of(call, *args, **kw):
    """The errno that the call must fail with."""
    with pytest.raises(OSError) as e:
        call(*args, **kw)
    return e.value.errno


def noise(n, seed=1):
    """Bytes no compression and no zero detection helps with; the same for the same seed."""
    return random.Random(seed).randbytes(n)

