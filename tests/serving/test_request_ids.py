"""This module tests that no two requests get one id."""

from __future__ import annotations

import random
import subprocess
import sys

from bentobatch.serving.exchange import request_id_of

FORK = """
import os
from bentobatch.serving.exchange import request_id_of
request_id_of(None)
for _ in range(3):
    if not os.fork():
        os.write(1, request_id_of(None).encode() + b"\\n")
        os._exit(0)
    os.wait()
print(request_id_of(None))
"""


def test_an_api_that_seeds_randomness_does_not_repeat_ids():
    """Ids do not come from the numbers that a model may want to have again: another 32 hexadecimal digits each time."""
    found = set()
    for _ in range(100):
        random.seed(1)
        found.add(request_id_of(None))
    assert len(found) == 100
    assert {len(each) for each in found} == {32}
    assert all(int(each, 16) >= 0 for each in found)


def test_forked_workers_have_ids_of_their_own():
    """Workers begin as copies of one process, and may not count on from the same state."""
    told = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True).stdout.split()
    assert len(told) == 4
    assert len(set(told)) == 4
