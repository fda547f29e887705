"""What the allocator does with memory that a network has let go of."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MOST, _PAD_BYTES = 2**31 - 1, 1 << 28


def keep_freed_memory() -> bool:
    """Has this process keep freed memory for its next use, for the rest of its life; says whether it does.

    A network's layers need and free tens of megabytes each, image after image. glibc gives every such piece back to the
    kernel and gets it anew, page by page and zeroed: on a CPU that is half of the time that a batch takes. The price is
    that the process stays as large as it once was, so it is for jobs that compute, not for services that wait.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False  # a C library without it, such as musl
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _MOST), (_M_TOP_PAD, _PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in wanted)
