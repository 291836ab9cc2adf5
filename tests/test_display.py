"""Whatever anybody called something, no line about it can do anything to a terminal."""

from __future__ import annotations

import logging

import pytest

from memoflow.display import printable, shown
from memoflow.errors import BackendError, LeaseLostError, MemoflowError
from memoflow.flow.memo.single_flight import _say_for_whom
from memoflow.flow.task.process import tell
from memoflow.log import log

HOSTILE = {
    "colour": "\x1b[31m",
    "clipboard": "\x1b]52;c;aGk=\x07",
    "eight bits": "\x9b31m",
    "backspaces": "rm -rf /\b\b\b",
    "carriage return": "all is well\r",
    "right to left": "\u202etxt.exe",
    "isolates": "\u2066a\u2069",
    "zero width": "a\u200bb",
    "half a character": "\ud800",
    "line separator": "\u2028[memoize] hit",
    "private": "\ue000",
    "tags": "\U000e0041",
}


def is_harmless(text: str) -> bool:
    return all(each.isprintable() or each in "\n\t" for each in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_can_do_something_is_spelled_out(name: str) -> None:
    text = HOSTILE[name]
    assert is_harmless(printable(text))
    assert is_harmless(shown(text))
    assert printable(text) != text


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("größe=1", "学習/1", "naïve café", "a b", "🙂"):
        assert printable(text) == shown(text) == text


def test_a_line_is_one_line_and_a_message_may_have_several() -> None:
    assert printable("a\nb") == "a\\nb"
    assert shown("a\n\tb") == "a\n\tb"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", [MemoflowError, BackendError, LeaseLostError])
def test_no_message_of_an_error_does_more(kind: type[MemoflowError], name: str) -> None:
    error = kind(f"{HOSTILE[name]} took over")
    assert is_harmless(f"{error}")
    assert "took over" in str(error)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_warning_does_more(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "memoflow"):
        log.warning("%s is damaged: %s", HOSTILE[name], ValueError(HOSTILE[name]))
    (message,) = caplog.messages
    assert is_harmless(message)
    assert "is damaged" in message


@pytest.mark.parametrize("name", HOSTILE)
def test_no_line_of_a_task_does_more(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _say_for_whom(f"{HOSTILE[name]} on {HOSTILE[name]}")
    tell(f"[@model] {HOSTILE[name]}")
    waiting, other = capsys.readouterr().out.splitlines()
    assert waiting.startswith("[memoize] waiting for ")
    assert is_harmless(waiting + other)
