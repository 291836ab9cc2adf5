"""A key resolves to a ref, and a ref to what was saved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.errors import NotFoundError, UsageError
from memoflow.names import Digest, Ref
from memoflow.store import Adoption, Payload, Store
from tests.conftest import Clock
from tests.faults import Faulty
from tests.store.conftest import FILES, KEY, SERIES, blobs, contents

HOUR = timedelta(hours=1)


def newest(store: Store) -> list[Ref]:
    return store.recent(SERIES, 1, before=4e9, wanted=lambda key: True)


def test_what_was_saved_is_found_and_loaded(store: Store, tmp_path: Path) -> None:
    ref = store.save(KEY, FILES)
    assert store.find(KEY) == ref
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files


def test_an_unknown_key_is_none(store: Store) -> None:
    assert store.find(KEY) is None
    assert store.latest(SERIES) is None
    assert newest(store) == []


def test_another_machine_finds_the_same_ref(store: Store, there: Store, tmp_path: Path) -> None:
    ref = store.save(KEY, FILES)
    assert there.find(KEY) == ref
    assert contents(there.load(ref, tmp_path / "out")) == FILES.files


def test_a_second_find_does_not_ask_the_backend(store: Store, faulty: Faulty) -> None:
    store.save(KEY, FILES)
    before = dict(faulty.calls)
    store.find(KEY)
    assert faulty.calls == before


def test_the_first_find_elsewhere_reads_once(
    store: Store, there: Store, faulty: Faulty, tmp_path: Path
) -> None:
    store.save(KEY, FILES)
    store.index.drop([KEY])
    before = faulty.calls["read"]
    store.find(KEY)
    store.find(KEY)
    assert faulty.calls["read"] == before + 1


def test_meta_comes_back_with_the_manifest(store: Store) -> None:
    ref = store.save(KEY, Payload(), meta={"a": [1, None, "ü"]})
    assert store.manifest(ref).meta == {"a": [1, None, "ü"]}


@pytest.mark.parametrize("meta", [{"a": object()}, {"a": float("nan")}, {"a": b""}])
def test_meta_that_is_not_plain_is_refused(store: Store, meta: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="meta must be plain JSON"):
        store.save(KEY, Payload(), meta=meta)


def test_a_ref_knows_the_logical_size(store: Store) -> None:
    assert store.save(KEY, FILES).size_bytes == 5005


def test_saving_under_a_key_that_is_taken_returns_what_is_there(store: Store, there: Store) -> None:
    first = store.save(KEY, FILES)
    assert there.save(KEY, Payload()) == first


def test_an_expired_ref_is_not_found(store: Store, there: Store, clock: Clock) -> None:
    store.append(SERIES, FILES, expires=clock.now + 10)
    clock.pass_(10)
    assert store.find(SERIES / "00000001") is None
    assert there.find(SERIES / "00000001") is None
    assert store.latest(SERIES) is None


def test_an_expired_key_can_be_saved_anew(store: Store, clock: Clock) -> None:
    store.save(KEY, Payload(), expires=clock.now + 10)
    clock.pass_(10)
    ref = store.save(KEY, FILES)
    assert store.find(KEY) == ref


def test_a_series_counts(store: Store, there: Store) -> None:
    keys = [each.append(SERIES, Payload()).key for each in (store, there, store, there)]
    assert keys == [SERIES / f"{n:08d}" for n in range(1, 5)]


def test_a_series_goes_on_past_what_the_index_knows(store: Store, there: Store) -> None:
    store.append(SERIES, Payload())
    for _ in range(3):
        there.append(SERIES, Payload())
    assert store.append(SERIES, Payload()).key == SERIES / "00000005"


def test_latest_is_the_highest_number(store: Store) -> None:
    for _ in range(12):
        last = store.append(SERIES, Payload())
    assert store.latest(SERIES) == last


def test_latest_fresh_sees_what_another_machine_added(store: Store, there: Store) -> None:
    store.append(SERIES, Payload())
    newer = there.append(SERIES, Payload())
    assert store.latest(SERIES) == newer


def test_latest_without_an_index_asks_the_backend(store: Store, there: Store) -> None:
    ref = store.append(SERIES, Payload())
    assert there.latest(SERIES) == ref


def test_latest_passes_over_expired_ones(store: Store, clock: Clock) -> None:
    kept = store.append(SERIES, Payload())
    store.append(SERIES, Payload(), expires=clock.now + 1)
    clock.pass_(1)
    assert store.latest(SERIES) == kept


def test_latest_looks_directly_below_only(store: Store) -> None:
    store.append(SERIES / "deeper", Payload())
    store.save(SERIES / "other", Payload())
    assert store.latest(SERIES) is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_newest_is_the_last_created_anywhere_below(
    store: Store, there: Store, clock: Clock, elsewhere: bool
) -> None:
    store.save(SERIES / "z", Payload())
    clock.pass_(1)
    last = store.append(SERIES / "a" / "b", Payload())
    assert newest(there if elsewhere else store) == [last]


def test_keys_are_what_the_backend_lists(store: Store, there: Store) -> None:
    odd = SERIES / "a/b ü.."
    for key in (KEY, SERIES / "b", odd):
        there.save(key, Payload())
    assert store.keys(SERIES) == sorted([odd, SERIES / "b"], key=str)


def test_a_forgotten_key_is_a_miss(store: Store, there: Store) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    assert store.find(KEY) is None
    assert there.find(KEY) is None
    store.forget(KEY)


def test_what_another_machine_forgot_is_found_once_and_then_a_miss(
    store: Store, there: Store, tmp_path: Path
) -> None:
    ref = store.save(KEY, FILES)
    there.forget(KEY)
    assert store.find(KEY) == ref
    with pytest.raises(NotFoundError, match="forgotten"):
        store.load(ref, tmp_path / "out")
    assert store.find(KEY) is None


def test_what_another_machine_made_anew_is_not_taken_for_the_old(
    store: Store, there: Store, clock: Clock
) -> None:
    old = store.save(KEY, FILES)
    there.forget(KEY)
    clock.pass_(1)
    new = there.save(KEY, Payload())
    with pytest.raises(NotFoundError, match="written again"):
        store.manifest(old)
    assert store.find(KEY) == new


def test_a_large_manifest_is_a_blob(store: Store, there: Store, tmp_path: Path) -> None:
    payload = Payload(files={str(n): b"x" * 1000 for n in range(100)})
    ref = store.save(KEY, payload)
    assert len(blobs(store.backend)) == 1
    assert contents(there.load(ref, tmp_path / "out")) == payload.files


def test_an_unchanged_tree_is_stored_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(50_000))
    store.append(SERIES, Payload(tree=tmp_path / "tree"))
    before = blobs(store.backend)
    store.append(SERIES, Payload(tree=tmp_path / "tree"))
    store.save(KEY, Payload(tree=tmp_path / "tree"))
    assert blobs(store.backend) == before


def test_without_an_index_the_previous_checkpoint_tells_what_is_there(
    store: Store, there: Store, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(os.urandom(50_000))
    (tree / "b").write_bytes(os.urandom(50_000))
    store.append(SERIES, Payload(tree=tree))
    (tree / "b").write_bytes(os.urandom(2_000))
    there.append(SERIES, Payload(tree=tree))
    sizes = sorted(found.size_bytes for found in store.backend.list("blobs"))
    assert sizes == [2_000, 100_000]


def test_one_file_is_read_without_loading_the_rest(store: Store) -> None:
    manifest = store.manifest(store.save(KEY, FILES))
    assert store.read_file(manifest, "small") == b"small"
    assert store.read_file(manifest, "large") == FILES.files["large"]
    with pytest.raises(NotFoundError):
        store.read_file(manifest, "other")


def test_reindexing_knows_everything_that_is_there(store: Store, there: Store) -> None:
    kept = [store.append(SERIES, Payload()) for _ in range(5)]
    gone = Ref(KEY, kept[0].digest, 1, 1.0)
    there.index.record([gone])
    assert there.reindex() == 5
    assert [there.index.lookup(ref.key) for ref in kept] == kept
    assert there.index.lookup(KEY) is None


def test_housekeeping_is_due_once_an_hour_for_all(store: Store, there: Store, clock: Clock) -> None:
    assert [store.housekeeping_due(HOUR), there.housekeeping_due(HOUR)] == [True, False]
    clock.pass_(3599)
    assert not there.housekeeping_due(HOUR)
    clock.pass_(1)
    assert [there.housekeeping_due(HOUR), store.housekeeping_due(HOUR)] == [True, False]


def test_a_damaged_claim_does_not_stop_housekeeping(store: Store, clock: Clock) -> None:
    store.housekeeping_due(HOUR)
    (claim,) = store.backend.list("gc/housekeeping")
    store.backend.write(claim.name, b"\0\xff")
    clock.pass_(3600)
    assert store.housekeeping_due(HOUR)


@pytest.mark.parametrize(("size_bytes", "linked"), [(100, False), (100_000, True)])
def test_an_artifact_is_adopted_by_link_if_it_is_large(
    on_disk: Store, artifact: Callable[..., Adoption], size_bytes: int, linked: bool
) -> None:
    adoption = artifact(os.urandom(size_bytes))
    ref = on_disk.append(SERIES, Payload(adopted={"x": adoption}))
    (adopted,) = on_disk.manifest(ref).adopted
    path = on_disk.blob_path(adopted.blob)
    assert path is not None
    assert path.samefile(adoption.source) == linked
    assert path.read_bytes() == adoption.source.read_bytes()
    assert adopted.size_bytes == adoption.source.stat().st_size == ref.size_bytes


def test_an_artifact_packed_twice_keeps_the_first_packing(
    on_disk: Store, artifact: Callable[..., Adoption]
) -> None:
    first = artifact(b"content" * 100, name="1", mtime=1.0)
    second = artifact(b"content" * 100, name="2", mtime=2.0)
    one = on_disk.append(SERIES, Payload(adopted={"x": first}))
    two = on_disk.append(SERIES, Payload(adopted={"x": second}))
    assert on_disk.manifest(one).adopted == on_disk.manifest(two).adopted
    assert on_disk.verify() == []


@pytest.mark.parametrize("size_bytes", [100, 100_000])
def test_a_damaged_blob_is_replaced_by_a_good_artifact(
    on_disk: Store, artifact: Callable[..., Adoption], size_bytes: int
) -> None:
    content = os.urandom(size_bytes)
    first = artifact(content, name="1")
    on_disk.append(SERIES, Payload(adopted={"x": first}))
    blob = on_disk.blob_path(first.digest)
    assert blob is not None
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    second = artifact(content, name="2")
    ref = on_disk.append(SERIES, Payload(adopted={"x": second}))
    path = on_disk.blob_path(second.digest)
    assert path is not None
    assert path.read_bytes() == second.source.read_bytes()
    assert on_disk.latest(SERIES) == ref
    assert on_disk.verify() == []


def test_adopting_what_is_not_there_is_refused(on_disk: Store, tmp_path: Path) -> None:
    adoption = Adoption(Digest("sha1:" + "a" * 40), tmp_path / "gone")
    with pytest.raises(UsageError, match="cannot adopt"):
        on_disk.append(SERIES, Payload(adopted={"x": adoption}))


def test_expired_refs_are_found_if_they_are_wanted(
    store: Store, there: Store, clock: Clock
) -> None:
    ref = store.append(SERIES, FILES, expires=clock.now + 10)
    clock.pass_(10)
    for each in (store, there):
        assert each.lookup(ref.key) == ref
        assert each.remembered.last(SERIES) == ref


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_expired_checkpoint_is_still_compared_with(
    store: Store, there: Store, clock: Clock, tmp_path: Path, elsewhere: bool
) -> None:
    (tmp_path / "tree").write_bytes(os.urandom(50_000))
    store.append(SERIES, Payload(tree=tmp_path / "tree"), expires=clock.now + 10)
    clock.pass_(10)
    before = blobs(store.backend)
    (there if elsewhere else store).append(SERIES, Payload(tree=tmp_path / "tree"))
    assert blobs(store.backend) == before


def test_a_series_is_listed_newest_first(store: Store, there: Store, clock: Clock) -> None:
    refs = [store.append(SERIES, Payload(), expires=clock.now + 10) for _ in range(3)]
    refs += [there.append(SERIES, Payload()) for _ in range(9)]
    store.append(SERIES / "deeper", Payload())
    clock.pass_(20)
    assert store.series(SERIES) == refs[::-1]


def test_a_series_leaves_out_what_is_damaged(store: Store, there: Store) -> None:
    refs = [store.append(SERIES, Payload()) for _ in range(3)]
    store.backend.write(f"refs/{refs[1].key}", b"damaged")
    assert there.series(SERIES) == [refs[2], refs[0]]


def test_a_series_costs_one_listing(store: Store, faulty: Faulty) -> None:
    for _ in range(3):
        store.append(SERIES, Payload())
    before = dict(faulty.calls)
    store.series(SERIES)
    assert faulty.calls == before | {"list": before.get("list", 0) + 1}


def test_a_ref_knows_how_many_bytes_were_new(store: Store, there: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(50_000))
    first = store.append(SERIES, Payload(tree=tmp_path / "a"))
    again = store.append(SERIES, Payload(tree=tmp_path / "a"))
    assert (first.new_bytes, again.new_bytes) == (50_000, 0)
    assert [there.find(ref.key) for ref in (first, again)] == [first, again]


def test_a_whole_file_or_an_artifact_is_new_once(
    on_disk: Store, artifact: Callable[..., Adoption]
) -> None:
    data, adoption = os.urandom(2 << 20), artifact(os.urandom(100_000))
    payload = Payload(files={"data": data}, adopted={"x": adoption}, whole=True)
    size = len(data) + adoption.source.stat().st_size
    assert [on_disk.append(SERIES, payload).new_bytes for _ in range(2)] == [size, 0]


def test_what_is_there_is_told_without_reading_it(store: Store, faulty: Faulty) -> None:
    ref = store.save(KEY, FILES)
    opened = faulty.calls.get("open", 0)
    assert store.is_there(ref)
    store.backend.delete(blobs(store.backend))
    assert not store.is_there(ref)
    assert faulty.calls.get("open", 0) == opened


def test_what_is_forgotten_or_made_anew_is_not_there(
    store: Store, there: Store, clock: Clock
) -> None:
    ref = store.save(KEY, FILES)
    there.forget(KEY)
    assert not store.is_there(ref)
    clock.pass_(1)
    there.save(KEY, FILES)
    assert not store.is_there(ref)


def test_meta_is_read_without_a_large_manifest(store: Store, faulty: Faulty) -> None:
    payload = Payload(files={str(n): b"x" * 1000 for n in range(100)})
    ref = store.save(KEY, payload, meta={"step": 7})
    store.backend.delete(blobs(store.backend))
    assert store.meta(ref) == {"step": 7}


def test_the_manifest_of_an_unchanged_large_tree_is_stored_once(store: Store) -> None:
    payload = Payload(files={str(n): b"x" * 1000 for n in range(100)})
    for step in range(2):
        ref = store.append(SERIES, payload, meta={"step": step})
    assert len(blobs(store.backend)) == 1
    assert store.manifest(ref).meta == {"step": 1}


def test_the_refs_of_the_first_memoflow_are_read(store: Store, there: Store) -> None:
    ref = store.save(KEY, FILES, meta={"a": 1})
    name = f"refs/{KEY}"
    fields = json.loads((store.backend.read(name) or b"").splitlines()[0])
    del fields["new_bytes"]
    fields["manifest"]["meta"] = fields.pop("meta")
    body = json.dumps(fields).encode()
    store.backend.write(name, b"%b\n%b\n" % (body, Digest.of(body).encode()))
    old = there.find(KEY)
    assert old is not None
    assert old.new_bytes == old.size_bytes == ref.size_bytes
    assert there.meta(old) == there.manifest(old).meta == {"a": 1}


def test_a_number_with_a_token_counts_on_and_is_found_like_one_without(
    store: Store, there: Store
) -> None:
    refs = [store.append(SERIES, FILES, token=token) for token in (None, "b0", "a1", None)]
    assert [ref.key.parts[-1] for ref in refs] == [
        "00000001",
        "00000002-b0",
        "00000003-a1",
        "00000004",
    ]
    assert store.series(SERIES) == there.series(SERIES) == refs[::-1]
    store.forget(refs[3].key)
    assert store.latest(SERIES) == refs[2]
    assert there.latest(SERIES) == refs[2]


def test_equal_numbers_are_ordered_by_their_tokens(store: Store, there: Store) -> None:
    refs = [store.save(SERIES / f"00000001{end}", FILES) for end in ("-0f", "-a0", "")]
    store.save(SERIES / "00000001-", FILES)
    store.save(SERIES / "00000001-x", FILES)
    store.save(SERIES / "00000002-a" / "below", FILES)
    for one in (store, there):
        assert one.latest(SERIES) == refs[1]
        assert one.series(SERIES) == [refs[1], refs[0], refs[2]]


def test_no_key_comes_again_with_another_token(store: Store) -> None:
    first = store.append(SERIES, FILES, token="a0")
    store.forget(first.key)
    assert store.append(SERIES, FILES, token="b0").key != first.key


@pytest.mark.parametrize("token", [None, "a0"])
def test_a_slow_save_is_numbered_after_what_others_saved_and_forgot_meanwhile(
    store: Store, there: Store, faulty: Faulty, tmp_path: Path, token: str | None
) -> None:
    (tmp_path / "data").write_bytes(b"x" * 5000)
    store.append(SERIES, FILES, token=token)

    def meanwhile(name: str) -> None:
        if name.startswith("blobs/"):
            faulty.before_write = None
            for n in range(3):
                there.append(SERIES, FILES, token=token and f"b{n}")
            for ref in there.series(SERIES)[1:]:
                there.forget(ref.key)

    faulty.before_write = meanwhile
    ref = store.append(SERIES, Payload(tree=tmp_path / "data"), token=token)
    assert ref.key == SERIES / ("00000005" if token is None else "00000005-a0")
    assert store.latest(SERIES) == ref
