from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoflow.errors import BadKeyError
from memoflow.names import Digest, Key

PARTS = st.lists(st.text(min_size=1, max_size=12), min_size=1)


@given(PARTS)
def test_any_text_is_a_part_and_comes_back(parts):
    key = Key.of(*parts)
    assert Key.parse(str(key)) == key


@given(PARTS, PARTS)
def test_different_keys_have_different_names(one, other):
    assert (str(Key.of(*one)) == str(Key.of(*other))) == (one == other)


@given(PARTS)
def test_no_part_can_leave_its_folder_or_hide(parts):
    for name in str(Key.of(*parts)).split("/"):
        assert name not in ("", ".", "..")
        assert not name.startswith(".")
        assert "\0" not in name


@pytest.mark.parametrize("text", ["", "a//b", "a/../b", "a/%41", "a/b c", "/a", "a/"])
def test_what_no_key_writes_is_no_key(text):
    with pytest.raises(BadKeyError):
        Key.parse(text)


def test_an_overlong_part_is_refused():
    with pytest.raises(BadKeyError, match="longer than"):
        Key.of("memo", "x" * 241)


@pytest.mark.parametrize("text", ["", "sha256:", "md5:" + "0" * 32, "sha256:" + "G" * 64, "0" * 64])
def test_what_is_no_digest(text):
    with pytest.raises(ValueError, match="no digest"):
        Digest.parse(text)


def test_a_digest_says_its_algorithm():
    digest = Digest.of(b"")
    assert digest.algorithm == "sha256"
    assert digest.hex.startswith("e3b0c442")
