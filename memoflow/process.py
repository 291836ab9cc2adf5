"""Processes: the identity of one, by which others of the same machine learn of its end.

A number alone says nothing: it comes again, and containers have numbers of their own. Linux tells
more: the boot, the namespace of the numbers, and when a process began (proc(5)).
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache

_ENDED = "ZX"  # states: a process that only its parent still counts, and one that is about to go


def this_process() -> str:
    """Return the identity of this process; "" where nothing can be told."""
    return _identity(os.getpid())


def has_ended(identity: str) -> bool:
    """Tell whether a process has ended for certain; False for one of elsewhere."""
    numbers, _, process = identity.rpartition(" ")
    number, _, began = process.partition("@")
    if not began or numbers != _numbers(os.getpid()):
        return False
    found = _began(number)
    return _is_free(number) if found is None else found != began


@cache
def _identity(number: int) -> str:
    # By number: a forked child inherits what is cached.
    began, numbers = _began(str(number)), _numbers(number)
    return f"{numbers} {number}@{began}" if began and numbers else ""


@cache
def boot_id() -> str:
    """Return the id of this machine's last start, the same in all its containers; "" without."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


@cache
def _numbers(own: int) -> str:
    """Return the boot and the namespace that process numbers belong to, by that of this process.

    "" where /proc is that of another namespace, and has other processes under these numbers.
    """
    with suppress(OSError):
        if boot_id() and os.readlink("/proc/self") == str(own):
            return f"{boot_id()} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _began(number: str) -> str | None:
    """Return the clock ticks from boot to the start of a process; "" for one that has ended.

    None for one that /proc does not show: it may hide those of other users.
    """
    try:
        with open(f"/proc/{number}/stat") as file:
            # The name, in parentheses, may hold spaces and parentheses.
            state, *fields = file.read().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "" if state in _ENDED else fields[18]


def _is_free(number: str) -> bool:
    """Tell whether no process of any user has a number."""
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        pass  # It is another user's, or no number.
    return False
