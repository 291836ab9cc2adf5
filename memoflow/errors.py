"""Errors: one family tree; each class tells users, operators or bugs apart."""

from __future__ import annotations

from memoflow.display import shown

_LONGEST_PATH = 80


class MemoflowError(Exception):
    """Anything memoflow raises on purpose; no name in its message can do anything to a terminal."""

    def __str__(self) -> str:
        return shown(super().__str__())


class UsageError(MemoflowError):
    """You asked for something that cannot be: fix the call."""


class WrongTypeError(UsageError, TypeError):
    """An argument of a type or name that the call never takes: also a TypeError."""


def usage_error(value: object, *types: type) -> type[UsageError]:
    """Return WrongTypeError for a value of none of these types, else UsageError."""
    return UsageError if isinstance(value, types) else WrongTypeError


class BadKeyError(UsageError):
    """A key that cannot name anything."""


class NotFoundError(MemoflowError):
    """The named reference, file or blob is not in the store: never saved, or evicted since."""


class NoFingerprintError(UsageError):
    """A value or function has no stable digest; `path` leads to it, such as `inputs.model.hook`."""

    def __init__(self, path: str, reason: str) -> None:
        named = path if len(path) <= _LONGEST_PATH else f"{path[: _LONGEST_PATH - 3]}..."
        super().__init__(f"{named} has no stable fingerprint: {reason}")
        self.path = path
        self.reason = reason


class IntegrityError(MemoflowError):
    """Stored bytes do not match their name: never retried, never served."""


class UnsignedError(IntegrityError):
    """A ref without a signature by one of our keys: never used, and not removed."""


class BackendError(MemoflowError):
    """The place where bytes are kept failed."""


class BackendDeniedError(BackendError):
    """The backend refuses: retrying will not help."""


class BackendUnavailableError(BackendError):
    """The backend failed for now: retrying may help."""


class NoRoomError(BackendUnavailableError):
    """The disk or quota of the store is full: free some space, or raise the quota."""


class BackendUnreachableError(BackendUnavailableError):
    """The server gave no answer in time; callers go on without the store where they can."""


def is_away(error: BaseException) -> bool:
    """Tell whether a store failed so that each further question would wait as long."""
    return isinstance(error, BackendUnavailableError) and not isinstance(error, NoRoomError)


class LeaseLostError(MemoflowError):
    """Another process took this key over."""


class FormatError(MemoflowError):
    """The store was written by a newer memoflow."""


def condition(error: IntegrityError | NotFoundError) -> str:
    """Return in words why something cannot be loaded: it is not signed, gone or damaged."""
    if isinstance(error, UnsignedError):
        return "is not signed with a key of ours"
    return "is gone" if isinstance(error, NotFoundError) else "is damaged"
