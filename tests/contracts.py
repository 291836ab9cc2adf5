"""Contracts: what every backend must do. A backend's tests subclass this and give `backend`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memoflow.backends import Backend, BlobLocation, Memory
from memoflow.errors import NotFoundError, UsageError


class BackendContract:
    ODD_NAMES = ("a b", "ü/%2F", "x" * 240, "new\nline", "~", "-")

    def test_what_was_written_is_read(self, backend: Backend) -> None:
        backend.write("a/b", b"data")
        assert backend.read("a/b") == b"data"

    def test_nothing_is_written_whole_too(self, backend: Backend) -> None:
        backend.write("empty", b"")
        assert backend.read("empty") == b""

    @pytest.mark.parametrize("size", [0, 9, 10, 11, 12, 5000])
    def test_of_more_than_is_wanted_no_more_is_read_than_shows_that(
        self, backend: Backend, size: int
    ) -> None:
        backend.write("a", b"x" * size)
        assert backend.read("a", most_bytes=10) == b"x" * min(size, 11)

    def test_absence_is_none(self, backend: Backend) -> None:
        assert backend.read("no/such") is None
        assert backend.open("no/such") is None

    def test_a_folder_is_absent(self, backend: Backend) -> None:
        backend.write("a/b", b"data")
        assert backend.read("a") is None
        assert not backend.has("a")

    def test_below_a_file_everything_is_absent(self, backend: Backend) -> None:
        backend.write("a", b"data")
        assert backend.read("a/b") is None
        assert not backend.has("a/b")

    def test_a_write_replaces(self, backend: Backend) -> None:
        backend.write("a", b"old")
        assert backend.write("a", b"new") is True
        assert backend.read("a") == b"new"

    def test_if_absent_leaves_what_is_there(self, backend: Backend) -> None:
        assert backend.write("a", b"first", if_absent=True) is True
        assert backend.write("a", b"second", if_absent=True) is False
        assert backend.read("a") == b"first"

    def test_of_many_writers_if_absent_one_wins(self, backend: Backend) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(
                pool.map(lambda n: backend.write("x/y", b"%d" % n, if_absent=True), range(16))
            )
        assert sum(won) == 1
        assert backend.read("x/y") == b"%d" % won.index(True)

    def test_it_has_names_if_all_are_taken(self, backend: Backend) -> None:
        backend.write("b", b"")
        backend.write("c/d", b"data")
        assert backend.has("b", "c/d") is True
        assert backend.has("b", "a", "c/d") is False

    def test_sizes_come_in_order(self, backend: Backend) -> None:
        backend.write("b", b"")
        backend.write("c/d", b"data")
        assert list(backend.sizes(["a", "b", "c/d", "c"])) == [None, 0, 4, None]

    def test_a_listing_is_of_a_folder_and_below(self, backend: Backend) -> None:
        for name in ("a/1", "a/b/2", "ab/3", "c"):
            backend.write(name, b"xy")
        assert sorted(found.name for found in backend.list("a")) == ["a/1", "a/b/2"]
        assert {found.name for found in backend.list("")} == {"a/1", "a/b/2", "ab/3", "c"}
        assert {found.size_bytes for found in backend.list("")} == {2}

    def test_a_listing_of_nothing_is_empty(self, backend: Backend) -> None:
        assert list(backend.list("no/such")) == []

    def test_a_listing_tells_later_from_earlier(self, backend: Backend) -> None:
        backend.write("a", b"")
        backend.write("b", b"")
        times = {found.name: found.modified for found in backend.list("")}
        assert times["a"] <= times["b"]

    def test_deleted_is_absent(self, backend: Backend) -> None:
        backend.write("a/b", b"")
        backend.delete(["a/b", "no/such"])
        assert not backend.has("a/b")
        assert list(backend.list("")) == []

    def test_a_name_can_come_back_in_an_emptied_folder(self, backend: Backend) -> None:
        backend.write("a/b/c", b"")
        backend.delete(["a/b/c"])
        assert backend.write("a/b/c", b"again", if_absent=True) is True
        assert backend.read("a/b/c") == b"again"

    def test_an_open_reader_seeks(self, backend: Backend) -> None:
        backend.write("a", b"0123456789")
        file = backend.open("a")
        assert file is not None
        with file:
            file.seek(4)
            assert file.read(3) == b"456"

    def test_a_stream_is_written(self, backend: Backend) -> None:
        assert backend.write("a", iter([b"one", memoryview(b"two")])) is True
        assert backend.read("a") == b"onetwo"

    def test_a_stream_may_use_the_same_memory_again(self, backend: Backend) -> None:
        def chunks():
            memory = bytearray(3)
            for data in (b"one", b"two"):
                memory[:] = data
                yield memoryview(memory)

        backend.write("a", chunks())
        assert backend.read("a") == b"onetwo"

    def test_a_file_is_written(self, backend: Backend, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"x" * 3_000_000)
        assert backend.write("a", source) is True
        assert backend.read("a") == source.read_bytes()

    def test_a_stream_if_absent_leaves_what_is_there(self, backend: Backend) -> None:
        backend.write("a", b"first")
        assert backend.write("a", [b"second"], if_absent=True) is False
        assert backend.read("a") == b"first"

    def test_a_stream_that_breaks_leaves_nothing(self, backend: Backend) -> None:
        def broken():
            yield b"half"
            raise KeyError("on purpose")

        with pytest.raises(KeyError):
            backend.write("a/b", broken())
        assert backend.read("a/b") is None
        assert list(backend.list("")) == []

    def test_an_adopted_file_is_read(self, backend: Backend, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"data")
        assert backend.link_or_copy("a/b", source) is True
        source.unlink()
        assert backend.read("a/b") == b"data"

    def test_adoption_leaves_what_is_there(self, backend: Backend, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"second")
        backend.write("a", b"first")
        assert backend.link_or_copy("a", source) is False
        assert backend.read("a") == b"first"

    def test_an_open_reader_reads_a_large_file_in_any_order(
        self, backend: Backend, tmp_path: Path
    ) -> None:
        data = b"".join(b"%08d" % n for n in range(3_000_000))
        source = tmp_path / "source"
        source.write_bytes(data)
        backend.write("a", source)
        file = backend.open("a")
        assert file is not None
        with file:
            for start in (20_000_000, 3, 8_388_600, 16_777_216):
                file.seek(start)
                assert file.read(10_000) == data[start : start + 10_000]
            file.seek(0)
            assert file.read() == data

    def test_an_open_reader_of_nothing_ends_at_once(self, backend: Backend) -> None:
        backend.write("empty", b"")
        file = backend.open("empty")
        assert file is not None
        with file:
            assert file.read() == b""

    def test_a_large_stream_if_absent_leaves_what_is_there(self, backend: Backend) -> None:
        chunks = [bytes([n]) * 4_000_000 for n in range(9)]
        assert backend.write("a", chunks, if_absent=True) is True
        assert backend.write("a", reversed(chunks), if_absent=True) is False
        assert backend.read("a") == b"".join(chunks)

    def test_a_large_stream_that_breaks_leaves_nothing(self, backend: Backend) -> None:
        def broken():
            yield from [bytes(9_000_000)] * 5
            raise KeyError("on purpose")

        with pytest.raises(KeyError):
            backend.write("a/b", broken())
        assert backend.read("a/b") is None
        assert list(backend.list("")) == []

    def test_what_is_written_anew_has_another_version(self, backend: Backend) -> None:
        backend.write("a", b"old")
        (old,) = backend.list("")
        backend.write("a", b"new")
        (new,) = backend.list("")
        assert old.version != new.version

    def test_what_another_backend_has_is_adopted(self, backend: Backend) -> None:
        other = Memory()
        other.write("there", b"data")
        assert backend.link_or_copy("here/it", BlobLocation(other, "there")) is True
        assert backend.read("here/it") == b"data"
        assert backend.link_or_copy("here/it", BlobLocation(other, "there")) is False

    def test_what_lies_elsewhere_in_it_is_adopted(self, backend: Backend) -> None:
        backend.write("there", b"data")
        assert backend.link_or_copy("here/it", BlobLocation(backend, "there")) is True
        assert backend.read("here/it") == b"data"

    def test_adoption_of_what_is_gone_is_an_error(self, backend: Backend) -> None:
        with pytest.raises(NotFoundError):
            backend.link_or_copy("here", BlobLocation(backend, "gone"))
        assert backend.read("here") is None

    @pytest.mark.parametrize(
        "name", ["", "/a", "a//b", "a/", "../a", "a/../b", ".a", "a/.b", "a\0"]
    )
    def test_a_name_that_could_leave_or_hide_is_refused(self, backend: Backend, name: str) -> None:
        with pytest.raises(UsageError):
            backend.write(name, b"")
        with pytest.raises(UsageError):
            backend.read(name)

    def test_odd_names_are_kept(self, backend: Backend) -> None:
        names = self.ODD_NAMES
        for name in names:
            backend.write(name, name.encode())
        assert [backend.read(name) for name in names] == [name.encode() for name in names]
        assert {found.name for found in backend.list("")} == set(names)
