"""Memory for bytes: of this process alone, and taken from the machine as far as it is filled."""

from __future__ import annotations

import mmap
from contextlib import suppress

_HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)


def private_memory(size_bytes: int, *, in_large_pages: bool = False) -> mmap.mmap:
    """Return memory that forked children do not share, filled with zeros; OSError if there is none.

    In large pages, where the kernel has them, much of it is filled in fewer steps; each that is
    touched takes 2 MiB or so.
    """
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if in_large_pages and _HUGE_PAGES is not None:
        with suppress(OSError):  # Not every kernel has them.
            memory.madvise(_HUGE_PAGES)
    return memory
