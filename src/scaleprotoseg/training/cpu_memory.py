"""Reuse of memory in training on CPUs."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` in glibc's malloc.h."""

LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""Largest threshold that glibc accepts, in bytes."""


def keep_freed_memory() -> None:
    """Make the process keep the memory that it frees, for later allocations.

    By default, glibc returns tensors of a few megabytes to the system after every step, and the system has to clear as
    many new pages in the next step. Does nothing with other C libraries.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
