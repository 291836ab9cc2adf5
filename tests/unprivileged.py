"""Unprivileged: run a function as somebody who may not do everything, even under root."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

NOBODY = 65534


def as_nobody(act: Callable[[], None]) -> None:
    """Run in a child without privileges; fail if it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@dataclass(frozen=True)
class User:
    """Somebody with a group of their own, who is also in others."""

    uid: int
    groups: tuple[int, ...]
    umask: int

    def do(self, act: Callable[[], None]) -> None:
        """Run in a child as this user; fail if it raised. Only root can be anybody."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups(self.groups)
                os.setgid(self.uid)
                os.setuid(self.uid)
                os.umask(self.umask)
                act()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
