"""Series: keys that end in a number, and the relation of each save to the last."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

from memoflow.errors import IntegrityError, NotFoundError, UsageError
from memoflow.names import Key
from memoflow.store.deletion_log import GcSnapshot
from memoflow.store.refs.refs import Refs
from memoflow.store.refs.remembered import Remembered, numbered
from memoflow.store.saves.saving import LEAST_USE, LEAST_USE_OF_DROPPED, Previous, as_previous

_TOKEN = re.compile(r"[0-9a-f]{1,32}")
_LISTED_SECONDS = 10.0  # how long a list of what is elsewhere serves


class Next:
    """A save on its way to a series: the save before it, and its key."""

    def __init__(
        self,
        refs: Refs,
        series: Key,
        *,
        token: str | None,
        number: int | None,
        after: int,
        place: Callable[[int], int] | None,
    ) -> None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise UsageError(f"{token!r} cannot end a key; give a token of hex digits")
        if number is not None and token is None:
            raise UsageError(f"number {number} of {series} is anybody's; give a token with it")
        # From before anything is looked for.
        self.outlook = refs.deletions.snapshot()
        self._refs = refs
        self._series = series
        self._token = token
        self._number = number
        self._after = after
        self._place = place
        self._began = time.monotonic()
        self._listed: list[Key] | None = None
        # Larger once a save of the series was dropped: by a rule, then more will be.
        self.least_use = LEAST_USE

    def previous(self, remembered: Remembered) -> Previous | None:
        """Return the last save that is whole; None if there is none."""
        listed = numbered(self._refs.listed(self._series), self._series)
        if listed and len(listed) < _number(listed[0]):
            self.least_use = LEAST_USE_OF_DROPPED
        if self._refs.backend.takes_round_trips:
            # One listing for this and for the number.
            self._listed = listed
            return _first_of(self._refs, listed, self.outlook)
        ref = remembered.last(self._series)
        if ref is None:
            return None
        try:
            return as_previous(self._refs, self._refs.read_same(ref), self.outlook)
        except (NotFoundError, IntegrityError):
            return None

    def key(self, taken: Key | None) -> Key | None:
        """Return the key to try, given the one that was taken; None to leave it at that."""
        if self._number is not None:
            return None if taken else self._series / f"{self._number:08d}-{self._token}"
        listed = self._listed
        # Listed anew when all is packed: others may have saved and forgotten since it began.
        if listed is None or taken or time.monotonic() - self._began > _LISTED_SECONDS:
            listed = numbered(self._refs.listed(self._series), self._series)
        found = [*listed, taken] if taken else listed
        number = max([self._after, *map(_number, found)]) + 1
        if self._place is not None and taken is None:
            number = self._place(number)
        return self._series / (f"{number:08d}" + (f"-{self._token}" if self._token else ""))


def _first_of(refs: Refs, keys: list[Key], outlook: GcSnapshot) -> Previous | None:
    for key in keys:
        stored = refs.read_or_warn(key)
        if stored is not None:
            with suppress(NotFoundError, IntegrityError):
                return as_previous(refs, stored, outlook)
    return None


def _number(key: Key) -> int:
    return int(key.parts[-1].partition("-")[0])
