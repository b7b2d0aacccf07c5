"""What is freed is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from scaleprotoseg.training.memory import keep_freed_memory

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
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", STEPS.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (False, True)
    )
    assert kept < given_back / 10
