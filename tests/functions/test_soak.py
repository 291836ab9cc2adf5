"""Soak: the figures that docs promise of memoized functions, in many rounds."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from memoflow.store import Store
from tests.functions.conftest import Load
from tests.functions.test_mapping import Project, project  # noqa: F401  (a fixture)
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.stress
ROUNDS = 20


def test_eight_processes_run_each_key_once(project: Project) -> None:  # noqa: F811
    for number in range(1, ROUNDS + 1):
        started = [project.start(number, 1, "threads", takes_s=0.05) for _ in range(8)]
        for each in started:
            said, _ = each.communicate(timeout=PATIENCE_S)
            assert each.returncode == 0, said
    assert project.runs() == dict.fromkeys(range(ROUNDS), 1)


ONCE = """
    import asyncio, time
    @memo
    def slow(x):
        note(x)
        time.sleep(0.02)
        return [x]
    @memo
    async def fetch(x):
        note(x)
        await asyncio.sleep(0.02)
        return [x]
"""


def test_sixty_four_threads_run_each_key_once(load: Load) -> None:
    module = load(ONCE)
    with ThreadPoolExecutor(64) as threads:
        for number in range(ROUNDS):
            assert list(threads.map(module.slow, [number] * 64)) == [[number]] * 64
    assert module.ran == list(range(ROUNDS))


def test_a_hundred_tasks_run_each_key_once(load: Load) -> None:
    module = load(ONCE)

    async def hundred(number: int) -> list[list[int]]:
        return await asyncio.gather(*(module.fetch(number) for _ in range(100)))

    for number in range(ROUNDS):
        assert asyncio.run(hundred(number)) == [[number]] * 100
    assert module.ran == list(range(ROUNDS))


def test_no_flipped_bit_of_two_hundred_is_served(load: Load, store: Store, tmp_path: Path) -> None:
    module = load("""
        import numpy as np
        @memo
        def make(kind, seed):
            if kind == "small":
                return {"seed": seed}
            if kind == "text":
                return str(seed) * 50_000
            return np.arange(200_000) + seed
    """)
    chance = random.Random(7)
    kinds = ("small", "text", "array")
    for number in range(200):
        kind = kinds[number % 3]
        expected = module.make(kind, number)
        folder = tmp_path / "store"
        files = [
            path
            for part in ("refs", "blobs")
            for path in (folder / part).rglob("*")
            if path.is_file()
        ]
        path = max(files, key=lambda each: each.stat().st_mtime_ns)
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.chmod(0o644)
        path.write_bytes(data)
        module.make._small._recent.clear()
        assert np.array_equal(module.make(kind, number), expected)
