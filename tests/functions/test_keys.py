"""Keys: values that differ are other calls, values that are equal the same, in any process."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from tests.functions.conftest import Load
from tests.waiting import PATIENCE_S

Pair = collections.namedtuple("Pair", "x y")
UTC = datetime.timezone.utc


def differing() -> list[Any]:
    """Return values of which no two are the same."""
    day = datetime.datetime(2026, 1, 2, 3, 4, 5)
    return [
        None, True, False, 0, 1, -1, 2**70, 0.0, -0.0, 1.0, float("inf"), float("nan"), 1j, 0j,
        "", "a", "A", "1", "é", "e\u0301", "\ud800", b"", b"a", bytearray(b"a"), "None",
        (), (1,), (1, 2), (2, 1), [], [1], [1, 2], [2, 1], [[1], 2], [1, [2]], [1, (2,)],
        set(), {1}, {"1"}, frozenset({1}), {1: 2}, {2: 1}, {"1": 2}, {1: 2, 3: 4}, {3: 4, 1: 2},
        {1: {2: 3}}, {1: [2, 3]}, Pair(1, 2), collections.OrderedDict([(1, 2)]),
        collections.defaultdict(int, {1: 2}), collections.deque([1]), collections.Counter("aa"),
        range(3), range(0, 3, 2), slice(1, 2), Ellipsis, NotImplemented, int, str, list[int],
        day, day.replace(tzinfo=UTC), day.date(), day.time(), datetime.timedelta(1),
        decimal.Decimal("1"), decimal.Decimal("1.0"), fractions.Fraction(1, 3),
        uuid.UUID(int=1), pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b"),
        re.compile("a"), re.compile("a", re.I), len, print, json.dumps, os.path.join,
        np.int8(1), np.int64(1), np.float32(1), np.float64(1), np.bool_(True), np.str_("a"),
        np.zeros(3), np.zeros(3, "f4"), np.zeros((3, 1)), np.zeros((1, 3)), np.ones(3),
        np.arange(3), np.arange(3)[::-1], np.array([1, "a"], object), np.array(["a"]),
        np.array([b"a"]), np.array([1 + 2j]), np.array(1), np.array([]), np.array([[]]),
        np.array([(1, 2.0)], [("a", int), ("b", float)]),
        np.array([(1, 2.0)], [("a", int), ("c", float)]),
        np.ma.masked_array([1, 2], [True, False]), np.ma.masked_array([1, 2], [False, False]),
        np.datetime64("2026-01-02"), np.timedelta64(1, "D"), np.dtype("f4"), np.dtype("f8"),
    ]  # fmt: skip


SHOWN = """
    @memo
    def shown(value):
        note(1)
        return repr(value)
"""


def test_no_two_of_a_hundred_values_are_one_call(load: Load) -> None:
    module, values = load(SHOWN), differing()
    assert len(values) >= 100
    found = [module.shown(value) for value in values]
    assert len(module.ran) == len(values)
    assert found == [repr(value) for value in values]


def test_equal_values_made_anew_are_the_same_call(load: Load) -> None:
    module = load(SHOWN)
    for _ in range(2):
        for value in differing():
            module.shown(value)
    assert len(module.ran) == len(differing())


def test_what_an_object_shares_or_owns_does_not_matter(load: Load) -> None:
    module = load(SHOWN)
    base = np.arange(10)
    for value in (base[2:5], base[2:5].copy(), np.asfortranarray(base[2:5])):
        module.shown(value)
    part = "a" * 3
    for words in ([part, part], ["aaa", "".join("aaa")]):
        module.shown(words)
    assert len(module.ran) == 2


KEYS = """
    import dataclasses, enum
    from memoflow import memoize
    from tests.functions.test_keys import differing
    @dataclasses.dataclass
    class Row:
        a: int
        b: set
    class Colour(enum.Enum):
        RED = 1
    @memoize(store="store")
    def key(value):
        return value
    values = [*differing(), Row(1, {"x", "y", "z"}), Colour.RED, {"x", "y", "z"}, Row]
    print("\\n".join(key.key(value) for value in values))
"""


def test_keys_are_the_same_in_each_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(KEYS))
    told = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        env["METAFLOW_MEMOFLOW_CACHE_DIR"] = str(tmp_path / "cache")
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
    assert told[0] == told[1]
    assert len(set(told[0])) == len(told[0]) >= 104
