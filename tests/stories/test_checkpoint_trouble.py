"""Bad input and bad luck: a clear error each, and the earlier checkpoints intact."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

from tests.stories.world import notes, once, project_in
from tests.waiting import PATIENCE_S

# Root reads and writes where it likes, unless it gives that up.
AS_OWNER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] * (os.geteuid() == 0)

# What happens to stores: it finds files by what they hold, so it knows no layout.
VANDAL = """
    from pathlib import Path

    def holding(needle):
        paths = Path(".metaflow").rglob("*")
        found = [p for p in paths if p.is_file() and needle in p.read_bytes()]
        assert found, "nothing in the store holds these bytes"
        return found

    def flip(needle):
        for path in holding(needle):
            data = bytearray(path.read_bytes())
            data[data.index(needle)] ^= 1
            overwrite(path, data)

    def truncate(needle):
        for path in holding(needle):
            data = path.read_bytes()
            overwrite(path, data[: data.index(needle) + len(needle) // 2])

    def overwrite(path, data):
        path.chmod(0o600)
        path.write_bytes(data)

    def remove(needle):
        for path in holding(needle):
            path.unlink()

    def size():
        return sum(p.stat().st_size for p in Path(".metaflow").rglob("*") if p.is_file())
"""

# Dies of the signal that a file beyond the limit brings: in the middle of a save, always.
DOOMED = """
    import resource, signal
    from metaflow import Checkpoint

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    Checkpoint().save("large", name="doomed")
"""

FLOW = """
    import os, resource, subprocess, sys, threading
    from pathlib import Path
    from metaflow import (
        Checkpoint, FlowSpec, Parameter, checkpoint, current, load_model, model, step)
    from notes import attempt, here, note, tree
    from vandal import flip, holding, remove, size, truncate

    NAMES = ["a/b", "v1.5", "two\\nlines", "..", ".", "*", "with space", "naïve"]

    class Trouble(FlowSpec):
        @checkpoint(show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            Path("good").write_text("good")
            self.good = c.save("good", name="good")
            note(good=self.good, pathspec=current.pathspec)
            self.paths(c)
            self.full(c)
            self.killed(c)
            note(intact=[attempt(c.load, self.good, "intact"), attempt(tree, "intact")],
                 listed=sorted(r["name"] for r in c.list()))
            self.next(self.changing)

        def paths(self, c):
            note(missing=attempt(c.save, "no/such/path"),
                 missing_tar=attempt(c.save, "no/such/path", storage_format="tar"),
                 missing_outside=attempt(Checkpoint().save, "no/such/path"))
            os.mkdir("partly")
            for number in range(20):
                Path(f"partly/{number:02}").write_text("open")
            Path("partly/03").chmod(0)
            note(closed=attempt(c.save, "partly"),
                 closed_tar=attempt(c.save, "partly", storage_format="tar"))
            os.mkdir("piped")
            os.mkfifo("piped/pipe")
            note(piped=attempt(c.save, "piped"))

        def full(self, c):
            Path("large").write_bytes(os.urandom(4 << 20))
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))
            full = attempt(c.save, "large", name="full")
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            note(full=full)

        def killed(self, c):
            child = subprocess.run([sys.executable, "doomed.py"], timeout=60)
            note(killed=child.returncode)
            saved = c.save("large", name="after")
            c.load(saved, "after")
            note(after=Path("after/large").read_bytes() == Path("large").read_bytes())

        @checkpoint(show_card=False)
        @step
        def changing(self):
            c = current.checkpoint
            blocks, block = 16, 1 << 20
            Path("moving").write_bytes(bytes(blocks * block))
            stop = threading.Event()

            def write():
                generation = 0
                with open("moving", "r+b", buffering=0) as file:
                    while not stop.is_set():
                        generation = generation % 255 + 1
                        for number in range(blocks):
                            os.pwrite(file.fileno(), bytes([generation]) * block, number * block)

            writer = threading.Thread(target=write)
            writer.start()
            try:
                saved = [attempt(c.save, "moving", name="moving") for _ in range(5)]
            finally:
                stop.set()
                writer.join()
            note(moving=[one if isinstance(one, str) else self.torn(c, one) for one in saved],
                 still=isinstance(attempt(c.save, "moving", name="still"), dict))
            self.next(self.kept)

        def torn(self, c, reference):
            c.load(reference, f"moved/{reference['version_id']}")
            path = Path(f"moved/{reference['version_id']}/moving")
            return len(set(path.read_bytes())) > 1

        @checkpoint(show_card=False)
        @model
        @step
        def kept(self):
            c = current.checkpoint
            os.makedirs("shape/empty/deeper")
            os.makedirs("shape/sub")
            Path("shape/sub/data").write_text("data")
            Path("shape/run.sh").write_text("#!/bin/sh")
            Path("shape/run.sh").chmod(0o755)
            Path("shape/latest").symlink_to("sub/data")
            Path("shape/dir").symlink_to("sub")
            c.load(c.save("shape"), "shaped")
            load_model(current.model.save("shape", storage_format="files"), "model shaped")
            note(shapes=[self.shape("shaped"), self.shape("model shaped")])
            os.mkdir("leaving")
            Path("leaving/out").symlink_to("/etc/hostname")
            note(leaving=attempt(c.save, "leaving"))
            os.mkdir("weights")
            Path("weights/large").write_bytes(os.urandom(2 << 20))
            load_model(current.model.save("weights"), "linked")
            linked = Path("linked/large")
            note(linked_whole=linked.read_bytes() == Path("weights/large").read_bytes(),
                 linked=[linked.stat().st_nlink, attempt(linked.write_text, "scribbled over")])
            nothing = c.save()
            note(nothing=[nothing["size"], attempt(c.load, nothing, "nothing")])

            for number, name in enumerate(NAMES):
                Path("named").write_text(name)
                saved = attempt(c.save, "named", name=name)
                listed = attempt(c.list, name)
                note(**{f"name {number}": [
                    saved["name"] if isinstance(saved, dict) else saved,
                    [r["key"] for r in listed] == [saved["key"]],
                    attempt(self.by_key, c, saved, number)]})

            os.mkdir("state")
            for number in range(20):
                Path(f"state/{number}").write_bytes(os.urandom(1 << 17))
            before = size()
            for number in range(10):
                Path(f"state/{number}").write_bytes(os.urandom(1 << 17))
                c.save("state", name="state")
            note(ratio=(size() - before) / (20 << 17))
            self.next(self.lost)

        def shape(self, folder):
            folder = Path(folder)
            return {
                "empty": (folder / "empty" / "deeper").is_dir(),
                "executable": os.access(folder / "run.sh", os.X_OK),
                "link": attempt(os.readlink, folder / "latest"),
                "folder link": attempt(os.readlink, folder / "dir"),
                "data": attempt((folder / "latest").read_text),
            }

        def by_key(self, c, saved, number):
            c.load(saved["key"], f"named {number}")
            return tree(f"named {number}")["named"]

        @checkpoint(show_card=False)
        @model
        @step
        def lost(self):
            c = current.checkpoint
            note(no_references={repr(one): attempt(c.load, one, "nonsense") for one in (
                "nonsense", 7, {}, None, {"type": "checkpoint"}, {"key": "x/y"},
                {"type": "model"})},
                never_saved=attempt(c.load, {**self.good, "key": self.good["key"] + "0"}, "never"))
            for name, harm in (("flipped", flip), ("truncated", truncate), ("removed", remove)):
                for kind, save, load in (("checkpoint", c.save, c.load),
                                         ("model", current.model.save, load_model)):
                    Path("payload").write_bytes(os.urandom(100_000))
                    needle = Path("payload").read_bytes()[50_000:50_064]
                    reference = save("payload", storage_format="files")
                    harm(needle)
                    note(**{f"{name} {kind}": attempt(load, reference, f"{name} {kind}"),
                            f"{name} {kind} left": tree(f"{name} {kind}"),
                            f"{name} {kind} key": reference["key"]})
            Path("payload").write_bytes(os.urandom(100_000))
            reference = c.save("payload")
            for path in holding(Path("payload").read_bytes()[:64]):
                path.chmod(0)
            note(unreadable=attempt(c.load, reference, "unreadable"))
            note(intact_later=[attempt(c.load, self.good, "intact later"),
                               attempt(tree, "intact later")])
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Trouble()
"""

OTHER = """
    import os
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import attempt, note, tree

    class Other(FlowSpec):
        @checkpoint(load_policy="eager", show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            c.load(os.environ["KEY"], "of another")
            note(of_another=tree("of another"), list_of_another=[
                r["name"] for r in c.list(task=os.environ["TASK"])])
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Other()
"""


@once
def seen(project):
    project.write("vandal.py", VANDAL)
    project.write("doomed.py", DOOMED)
    project.write("flow.py", FLOW)
    project.write("other.py", OTHER)
    done = subprocess.run(
        [*AS_OWNER, sys.executable, "flow.py", "--no-pylint", "run"],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    found = notes(project)
    assert "good" in found, done.stdout + done.stderr
    project.run(
        flow="other.py",
        ok=False,
        METAFLOW_USER="another",
        KEY=found["good"]["key"],
        TASK=found["pathspec"],
    )
    return notes(project) | {"text": done.stdout + done.stderr}


@pytest.mark.parametrize("how", ["missing", "missing_outside"])
def test_a_missing_path_is_an_error_that_names_it(seen, how):
    assert isinstance(seen[how], str)
    assert "no/such/path" in seen[how]


def test_a_missing_path_is_an_error_as_tar_too(seen):  # bug 5
    assert isinstance(seen["missing_tar"], str)
    assert "no/such/path" in seen["missing_tar"]


def test_a_file_that_may_not_be_read_is_an_error_that_names_it(seen):
    assert isinstance(seen["closed"], str)
    assert "03" in seen["closed"]
    assert "ermission" in seen["closed"]


def test_a_file_that_may_not_be_read_is_an_error_as_tar_too(seen):  # bug 5
    assert isinstance(seen["closed_tar"], str)
    assert "03" in seen["closed_tar"]


def test_a_pipe_is_passed_over(seen):
    assert seen["piped"]["size"] == 0


def test_a_full_disk_is_an_error(seen):
    assert isinstance(seen["full"], str)


def test_a_full_disk_is_told_as_what_it_is(seen):
    assert any(word in seen["full"].lower() for word in ("too large", "space", "full", "disk"))


def test_a_killed_save_was_killed(seen):
    assert seen["killed"] < 0


def test_nothing_is_listed_that_was_not_saved(seen):  # bug 5
    assert seen["listed"] == ["after", "good", "mfchckpt"]  # the last one of a pipe


def test_after_a_full_disk_and_a_kill_the_same_file_can_be_saved(seen):
    assert seen["after"]


def test_trouble_leaves_earlier_checkpoints_intact(seen):
    assert seen["intact"] == [None, {"good": "good"}]


def test_a_file_that_changes_is_never_saved_as_a_mixture(seen):  # better
    assert not any(one is True for one in seen["moving"])


def test_a_file_that_changes_is_an_error_that_names_it(seen):
    errors = [one for one in seen["moving"] if isinstance(one, str)]
    assert all("moving" in error and "chang" in error for error in errors)


def test_once_a_file_holds_still_it_can_be_saved(seen):
    assert seen["still"]


@pytest.mark.parametrize("what", ["empty", "link", "folder link"])
def test_a_load_brings_back(seen, what):  # bug 8
    expected = {"empty": True, "link": "sub/data", "folder link": "sub"}
    assert [shape[what] for shape in seen["shapes"]] == [expected[what]] * 2


def test_an_executable_file_stays_one(seen):
    assert [shape["executable"] for shape in seen["shapes"]] == [True, True]


def test_what_a_link_leads_to_is_there(seen):
    assert [shape["data"] for shape in seen["shapes"]] == ["data", "data"]


def test_a_link_that_leads_outside_is_saved_as_what_it_leads_to(seen):  # better
    assert seen["leaving"]["size"] == 3


def test_a_large_model_is_linked_for_who_could_not_write_through_the_link(seen):  # beyond
    assert seen["linked"][0] > 1


def test_a_linked_model_cannot_be_written_to(seen):  # beyond
    assert str(seen["linked"][1]).startswith("PermissionError")


def test_a_linked_model_is_whole(seen):
    assert seen["linked_whole"]


def test_an_empty_directory_is_a_checkpoint_too(seen):
    assert seen["nothing"] == [0, None]


NAMES = ["a/b", "v1.5", "two\nlines", "..", ".", "*", "with space", "naïve"]


@pytest.mark.parametrize("name", ["a/b", "v1.5", "..", "."])
def test_a_name_with_a_slash_or_a_dot_is_saved_and_listed(seen, name):  # bug 9
    assert seen[f"name {NAMES.index(name)}"] == [name, True, name]


def test_a_name_of_two_lines_is_saved_and_listed(seen):  # better
    assert seen["name 2"] == ["two\nlines", True, "two\nlines"]


@pytest.mark.parametrize("name", ["*", "with space", "naïve"])
def test_an_unusual_name_is_saved_and_listed(seen, name):
    assert seen[f"name {NAMES.index(name)}"] == [name, True, name]


def test_ten_saves_with_small_changes_are_deduplicated(seen):  # bug 22
    assert seen["ratio"] < 2


def test_what_is_no_reference_is_an_error(seen):
    assert all(isinstance(error, str) for error in seen["no_references"].values())


def test_a_reference_to_what_was_never_saved_is_an_error(seen):  # better
    assert isinstance(seen["never_saved"], str)


def test_what_is_no_reference_is_an_error_that_says_so(seen):  # better
    for one, error in seen["no_references"].items():
        assert any(word in error.lower() for word in ("reference", "key", "not found")), one
        assert not error.startswith(("KeyError", "TypeError", "AttributeError")), one


@pytest.mark.parametrize("kind", ["checkpoint", "model"])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "removed"])
def test_damaged_bytes_are_never_loaded(seen, harm, kind):  # bug 6
    assert isinstance(seen[f"{harm} {kind}"], str)


@pytest.mark.parametrize("kind", ["checkpoint", "model"])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "removed"])
def test_a_failed_load_names_what_was_asked_for(seen, harm, kind):  # better
    assert seen[f"{harm} {kind} key"].rpartition("/")[2] in seen[f"{harm} {kind}"]


@pytest.mark.parametrize("kind", ["checkpoint", "model"])
@pytest.mark.parametrize("harm", ["flipped", "truncated"])
def test_a_failed_load_leaves_no_damaged_file(seen, harm, kind):  # bug 6
    assert seen[f"{harm} {kind} left"] == {}


def test_bytes_that_may_not_be_read_are_an_error_that_says_so(seen):  # better
    assert isinstance(seen["unreadable"], str)
    assert "ermission" in seen["unreadable"] or "denied" in seen["unreadable"]


def test_damage_leaves_other_checkpoints_intact(seen):
    assert seen["intact_later"] == [None, {"good": "good"}]


def test_another_users_checkpoint_loads_where_it_is_asked_for_by_key(seen):
    assert seen["of_another"] == {"good": "good"}


def test_another_users_task_can_be_listed(seen):
    assert "good" in seen["list_of_another"]


FALLBACK = """
    import os
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, retry, step
    from notes import here, note, tree
    from vandal import flip, remove, truncate

    class Fallback(FlowSpec):
        @retry(times=1, minutes_between_retries=0)
        @checkpoint(show_card=False)
        @step
        def start(self):
            self.after("bytes", lambda needle, marker: flip(needle))
            self.next(self.cut)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(show_card=False)
        @step
        def cut(self):
            self.after("cut", lambda needle, marker: truncate(needle))
            self.next(self.gone)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(show_card=False)
        @step
        def gone(self):
            self.after("gone", lambda needle, marker: remove(needle))
            self.next(self.torn)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(show_card=False)
        @step
        def torn(self):
            self.after("torn", lambda needle, marker: truncate(marker))
            self.next(self.end)

        def after(self, name, harm):
            c = current.checkpoint
            if current.retry_count == 0:
                here(c, state="good")
                c.save()
                Path(c.directory, "state").unlink()
                Path(c.directory, "bad").write_bytes(os.urandom(100_000))
                needle = Path(c.directory, "bad").read_bytes()[50_000:50_064]
                c.save(metadata={"marker": "m4rk3r-" + name})
                harm(needle, b"m4rk3r-" + name.encode())
                raise ValueError("once")
            note(**{name: [c.is_loaded, tree(c.directory)],
                    f"info {name}": c.info and c.info.version_id})

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Fallback()
"""


@once
def fallback(project):
    project.write("vandal.py", VANDAL)
    project.write("flow.py", FALLBACK)
    ran = project.run(ok=False)
    return ran, notes(project)


@pytest.mark.parametrize("harm", ["bytes", "cut", "gone", "torn"])
def test_a_damaged_latest_falls_back_to_the_previous_good_one(fallback, harm):  # bugs 6 and 7
    ran, seen = fallback
    assert ran["code"] == 0, ran["text"]
    assert seen[harm] == [True, {"state": "good"}]


@pytest.mark.parametrize("step", ["start", "cut", "gone", "torn"])
def test_falling_back_is_said(fallback, step):  # bugs 6 and 7
    ran, _ = fallback
    said = [line for line in ran["text"].splitlines() if f"/{step}/" in line]
    words = ("damaged", "cannot be", "the one before", "instead", "passed over", "not whole")
    assert any("[@checkpoint]" in line and any(w in line for w in words) for line in said), said


def hostile_tar(kind):
    """A tar that leaves the directory it is unpacked in."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        if kind == "link":
            link = tarfile.TarInfo("way")
            link.type, link.linkname = tarfile.SYMTYPE, ".."
            tar.addfile(link)
        member = tarfile.TarInfo({"dots": "../evil", "link": "way/evil"}[kind])
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    return made.getvalue()


@pytest.mark.parametrize("kind", ["dots", "link"])
def test_an_old_tar_writes_nothing_outside_of_where_it_is_loaded(tmp_path, kind):  # bug 12
    project = project_in(tmp_path)
    root = project.folder / ".metaflow" / "mf.checkpoints" / "checkpoints"
    place = "Old/start/643abc728969/a92ae9615600"
    name = "4e43b8c2.0.mfchckpt.0"
    key = f"mf.checkpoints/checkpoints/artifacts/{place}/{name}"
    reference = {
        "size": 4,
        "pathspec": "Old/1/start/1",
        "pathspec_hash": "4e43b8c2",
        "attempt": 0,
        "key": key,
        "type": "checkpoint",
        "url": str(project.folder / ".metaflow" / key),
        "name": "mfchckpt",
        "created_on": "2025-01-01T00:00:00",
        "metadata": {},
        "storage_format": "tar",
        "creation_context": "task",
        "version_id": 0,
    }
    (root / "artifacts" / place).mkdir(parents=True)
    (root / "artifacts" / place / name).write_bytes(hostile_tar(kind))
    (root / "artifact_metadata" / place).mkdir(parents=True)
    (root / "artifact_metadata" / place / f"{name}.metadata").write_text(json.dumps(reference))
    project.write(
        "script.py",
        f"""
        from metaflow import Checkpoint
        from notes import attempt, note
        note(said=attempt(Checkpoint().load, {reference!r}, "target/inner"))
        """,
    )
    project.python("script.py")
    assert isinstance(notes(project)["said"], str)
    assert not (project.folder / "target" / "evil").exists()
