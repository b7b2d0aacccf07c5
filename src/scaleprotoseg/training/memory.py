"""Memory that a training on CPUs uses again."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of malloc.h."""

LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""The most that glibc takes, in bytes."""


def keep_freed_memory() -> None:
    """Lets the process keep what it frees.

    Otherwise glibc gives tensors of a few megabytes back to the system after every step, and the system has to clear
    as many new pages in the next. Does nothing where the C library is another one.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
