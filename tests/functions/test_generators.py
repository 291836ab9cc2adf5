"""Asynchronous generators are kept and replayed as others are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.functions.conftest import Load

COUNT = """
    import asyncio, threading
    @memo
    async def count(n, held=None):
        note(n)
        for i in range(n):
            await asyncio.sleep(0)
            sent = yield [i]
            if sent is not None:
                note(sent)
    @memo
    async def fails(n):
        note(n)
        yield n
        raise ValueError(n)
    @memo
    async def catches():
        note("catches")
        try:
            yield 1
        except KeyError:
            yield 2
    @memo
    async def locks():
        note("locks")
        yield threading.Lock()
    @memo
    async def closes():
        try:
            yield 1
        finally:
            note("closed")
"""


def items(generator: AsyncGenerator[Any, None]) -> list[Any]:
    async def all_() -> list[Any]:
        return [each async for each in generator]

    return asyncio.run(all_())


def test_it_is_replayed_item_by_item(load: Load) -> None:
    module = load(COUNT)
    assert [items(module.count(3)) for _ in range(3)] == [[[0], [1], [2]]] * 3
    assert items(module.count(0)) == items(module.count(0)) == []
    assert module.ran == [3, 0]
    assert (module.count.hits, module.count.misses) == (3, 2)
    assert items(module.count.call(3)) == [[0], [1], [2]]
    assert module.ran == [3, 0, 3]
    module.count.forget(3)
    assert not module.count.is_stored(3)


def test_an_item_is_kept_as_it_was_when_it_was_yielded(load: Load) -> None:
    module = load(COUNT)

    async def changes() -> None:
        async for each in module.count(2):
            each.append("changed")

    for _ in range(2):
        asyncio.run(changes())
    assert items(module.count(2)) == [[0], [1]]
    assert module.ran == [2]


def test_one_that_is_left_early_is_closed_and_not_kept(load: Load) -> None:
    module = load(COUNT)

    async def first() -> Any:
        generator = module.closes()
        found = await generator.__anext__()
        await generator.aclose()
        return found

    assert [asyncio.run(first()), asyncio.run(first())] == [1, 1]
    assert module.ran == ["closed"] * 2
    assert not module.closes.is_stored()


def test_one_that_is_sent_something_is_not_kept(load: Load) -> None:
    module = load(COUNT)

    async def sends() -> list[Any]:
        generator = module.count(2)
        found = [await generator.asend(None), await generator.asend("sent")]
        return found + [each async for each in generator]

    assert asyncio.run(sends()) == [[0], [1]]
    assert module.ran == [2, "sent"]
    assert not module.count.is_stored(2)


def test_one_that_is_thrown_something_handles_it_and_is_not_kept(load: Load) -> None:
    module = load(COUNT)

    async def throws() -> list[Any]:
        generator = module.catches()
        found = [await generator.asend(None), await generator.athrow(KeyError("x"))]
        return found + [each async for each in generator]

    assert asyncio.run(throws()) == [1, 2]
    assert not module.catches.is_stored()


def test_errors_are_its_own_and_nothing_is_kept(load: Load) -> None:
    module = load(COUNT)
    for _ in range(2):
        with pytest.raises(ValueError, match="5"):
            items(module.fails(5))
    assert module.ran == [5, 5]


def test_items_without_a_pickle_are_yielded_and_not_kept(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    module = load(COUNT)
    for _ in range(2):
        (lock,) = items(module.locks())
        assert lock.acquire()
    assert module.ran == ["locks"] * 2
    assert len([each for each in caplog.records if "item that it yields" in each.message]) == 1


def test_one_without_a_key_goes_on_as_without_memoize(load: Load) -> None:
    module = load(COUNT)
    for _ in range(2):
        assert items(module.count(2, held=iter([1]))) == [[0], [1]]
    assert module.ran == [2, 2]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_wrong_arguments_are_an_error_at_the_call(load: Load, kind: str) -> None:
    module = load(f"""
        @memo
        {kind} count(n):
            yield n
    """)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        module.count()


def test_one_that_is_cancelled_is_not_kept(load: Load) -> None:
    module = load("""
        import asyncio
        @memo
        async def waits():
            yield 1
            note("waits")
            await asyncio.sleep(3600)
    """)

    async def cancels() -> None:
        async def all_() -> list[Any]:
            return [each async for each in module.waits()]

        task = asyncio.create_task(all_())
        while not module.ran:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancels())
    assert not module.waits.is_stored()
