"""Freed memory is used again in the next step."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from scaleprotoseg.training.cpu_memory import keep_freed_memory

def step():
    return sum([torch.ones(3 << 20) for _ in range(4)])  # 12 MiB each

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if {keep}:
    keep_freed_memory()
torch.set_num_threads(1)
for _ in range(20):
    step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_step_finds_the_pages_of_the_last_one():
    # Without an explicit value, glibc adapts its threshold to what happens to be freed first.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", STEPS.format(keep=keep)], env=environment))
        for keep in (False, True)
    )
    assert kept < given_back / 10
