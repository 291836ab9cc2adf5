"""Files: opened in every way that Python has, here, in threads and in other processes."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import sqlite3
import tarfile
import zipfile
from typing import Any

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Case, World


def of_file(
    name: str,
    body: str,
    before: str | bytes = "1",
    after: str | bytes = "2",
    suffix: str = ".txt",
    **more: Any,
) -> Case:
    """Return a case of a step that reads one file, `name` and suffix, which changes."""
    file = name + suffix
    return Case(
        name,
        body.replace("{file}", repr(file)),
        rf"file {name}\{suffix} changed",
        files={file: before, **more.pop("files", {})},
        then={file: after},
        **more,
    )


def zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("member.txt", text)
    return buffer.getvalue()


def tarred(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("member.txt")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def put(file: str, value: int) -> Any:
    """Return an act that leaves one value in an SQLite database."""

    def act(project: Project) -> None:
        with sqlite3.connect(project.folder / file) as database:
            database.execute("CREATE TABLE IF NOT EXISTS t (x)")
            database.execute("DELETE FROM t")
            database.execute("INSERT INTO t VALUES (?)", (value,))
        database.close()

    return act


def put_in_the_log(file: str, value: int) -> Any:
    """Return an act that leaves a value in the write-ahead log alone, as a crashed writer does."""

    def act(project: Project) -> None:
        folder = project.folder / "writer"
        folder.mkdir()
        database = sqlite3.connect(folder / file)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE t (x)")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.executemany("INSERT INTO t VALUES (?)", [(value,)] * 2)
        database.commit()
        for suffix in ("", "-wal"):
            shutil.copy2(folder / (file + suffix), project.folder / (file + suffix))
        database.close()
        shutil.rmtree(folder)

    return act


_SQL = "list(sqlite3.connect({!r}).execute('SELECT x FROM t'))"

PYTHON = [
    of_file("opened", "open({file}).read()"),
    of_file("read_text", "Path({file}).read_text()"),
    of_file("read_bytes", "Path({file}).resolve().read_bytes()"),
    of_file(
        "os_open",
        """
        handle = os.open({file}, os.O_RDONLY)
        got = os.read(handle, 100)
        os.close(handle)
        """,
    ),
    of_file(
        "mapped",
        """
        import mmap
        with open({file}, "rb") as handle:
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                got = bytes(memory)
        """,
    ),
    of_file(
        "memmap",
        """
        import numpy as np
        got = np.memmap({file}, dtype="u1", mode="r").tolist()
        """,
    ),
    of_file(
        "fromfile",
        """
        import numpy as np
        got = np.fromfile({file}, dtype="u1").tolist()
        """,
    ),
    of_file(
        "gzipped",
        """
        import gzip
        got = gzip.open({file}).read()
        """,
        gzip.compress(b"1"),
        gzip.compress(b"2"),
        ".gz",
    ),
    of_file(
        "csv_rows",
        """
        import csv
        with open({file}, newline="") as handle:
            got = list(csv.reader(handle))
        """,
        suffix=".csv",
    ),
    of_file("json_value", "json.load(open({file}))", suffix=".json"),
    of_file(
        "pickled",
        """
        import pickle
        got = pickle.loads(Path({file}).read_bytes())
        """,
        pickle.dumps(1),
        pickle.dumps(2),
        ".pkl",
    ),
    of_file(
        "joblib_loaded",
        """
        import joblib
        got = joblib.load({file})
        """,
        pickle.dumps(1),
        pickle.dumps(2),
        ".joblib",
    ),
    of_file(
        "pandas_csv",
        """
        import pandas as pd
        got = pd.read_csv({file}).x.tolist()
        """,
        "x\n1\n",
        "x\n2\n",
        ".csv",
    ),
    Case(
        "sqlite",
        "import sqlite3\ngot = " + _SQL.format("sqlite.db"),
        r"file sqlite\.db changed",
        prepare=put("sqlite.db", 1),
        change=put("sqlite.db", 2),
        returns=False,  # SQLite counts the changes of a file in it.
    ),
    Case(
        "sqlite_wal",
        "import sqlite3\ngot = len(" + _SQL.format("wal.db") + ")",
        r"file wal\.db",
        prepare=put("wal.db", 1),
        change=put_in_the_log("wal.db", 2),
        returns=False,
    ),
    of_file(
        "in_a_helper",
        "load_for_helper({file})",
        head="""
        def load_for_helper(name):
            with open(name) as handle:
                return handle.read()
        """,
    ),
]

# None of these is in the policy by name; they open files all the same.
INVENTED = [
    of_file("codecs_open", "import codecs\ngot = codecs.open({file}, encoding='utf-8').read()"),
    of_file("raw_io", "import io\ngot = io.FileIO({file}).readall()"),
    Case(
        "relative_to_a_handle",
        """
        folder = os.open("beside", os.O_RDONLY)
        handle = os.open("of_handle.txt", os.O_RDONLY, dir_fd=folder)
        got = os.read(handle, 10)
        """,
        r"file beside/of_handle\.txt changed",
        files={"beside/of_handle.txt": "1"},
        then={"beside/of_handle.txt": "2"},
    ),
    of_file(
        "zip_member",
        "import zipfile\ngot = zipfile.ZipFile({file}).read('member.txt')",
        zipped("1"),
        zipped("2"),
        ".zip",
    ),
    of_file(
        "tar_member",
        "import tarfile\ngot = tarfile.open({file}).extractfile('member.txt').read()",
        tarred("1"),
        tarred("2"),
        ".tar",
    ),
    of_file(
        "parser",
        """
        import configparser
        parser = configparser.ConfigParser()
        parser.read([{file}, "of_nobody.ini"])
        got = parser["a"]["x"]
        """,
        "[a]\nx = 1\n",
        "[a]\nx = 2\n",
        ".ini",
    ),
    of_file("one_line", "import linecache\ngot = linecache.getline({file}, 1)"),
    of_file("file_input", "import fileinput\ngot = list(fileinput.input([{file}]))"),
    of_file(
        "numpy_text",
        "import numpy as np\ngot = np.loadtxt({file}).tolist()",
        "1.5",
        "2.5",
    ),
    of_file(
        "xml_tree",
        "import xml.etree.ElementTree as tree\ngot = tree.parse({file}).getroot().text",
        "<a>1</a>",
        "<a>2</a>",
        ".xml",
    ),
    of_file(
        "copied_first",
        """
        import shutil, tempfile
        with tempfile.TemporaryDirectory() as folder:
            got = Path(shutil.copy({file}, folder)).read_text()
        """,
    ),
    of_file(
        "sent",
        """
        import tempfile
        with open({file}, "rb") as source, tempfile.TemporaryFile() as sink:
            os.sendfile(sink.fileno(), source.fileno(), 0, 10)
            sink.seek(0)
            got = sink.read()
        """,
    ),
    of_file(
        "from_another_directory",
        """
        os.chdir("elsewhere")
        try:
            got = open("../" + {file}).read()
        finally:
            os.chdir("..")
        """,
        files={"elsewhere/keep.txt": ""},
    ),
    Case(
        "package_data",
        """
        import importlib.resources, kit
        got = importlib.resources.files(kit).joinpath("data.txt").read_text()
        """,
        r"file kit/data\.txt changed",
        files={"kit/__init__.py": "", "kit/data.txt": "1"},
        then={"kit/data.txt": "2"},
    ),
    of_file(
        "swallowed",
        "swallow({file})",
        head="""
        def swallow(name):
            try:
                raise RuntimeError(open(name).read())
            except RuntimeError as error:
                return str(error)
    """,
    ),
    of_file("generator", "''.join(line for line in open({file}) if line)"),
]
PROCESSES = [
    of_file(
        "thread",
        """
        import threading
        read = []
        thread = threading.Thread(target=lambda: read.append(open({file}).read()))
        thread.start()
        thread.join()
        got = read
        """,
    ),
    of_file(
        "thread_pool",
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(2) as pool:
            got = list(pool.map(read_for_pool, [{file}, {file}]))
        """,
        head="def read_for_pool(name):\n    return open(name).read()",
    ),
    of_file(
        "async_thread",
        """
        import asyncio
        async def read():
            return await asyncio.to_thread(Path({file}).read_text)
        got = asyncio.run(read())
        """,
    ),
    of_file(
        "forked_pool",
        """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            got = pool.map(read_in_fork, [{file}] * 4)
        """,
        head="def read_in_fork(name):\n    return open(name).read()",
    ),
    of_file(
        "forked_futures",
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            got = pool.submit(read_in_future, {file}).result()
        """,
        head="def read_in_future(name):\n    return open(name).read()",
    ),
    of_file(
        "spawned_pool",
        """
        import multiprocessing
        from readers import read
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            got = pool.map(read, [{file}])
        """,
        files={"readers.py": "def read(name):\n    return open(name).read()\n"},
    ),
    of_file(
        "parallel_mapped",
        """
        from metaflow import parallel_map
        got = parallel_map(lambda name: open(name).read(), [{file}])
        """,
    ),
    of_file(
        "bare_fork",
        """
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.write(writer, open({file}, "rb").read())
            finally:
                os._exit(0)
        os.wait()
        got = os.read(reader, 10)
        """,
    ),
    of_file(
        "fork_of_a_fork",
        """
        import multiprocessing
        fork = multiprocessing.get_context("fork")
        queue = fork.Queue()
        def inner():
            queue.put(open({file}).read())
        def outer():
            child = fork.Process(target=inner)
            child.start()
            child.join()
        child = fork.Process(target=outer)
        child.start()
        got = queue.get(timeout=30)
        child.join()
        """,
    ),
    of_file(
        "loky",
        """
        import joblib
        from loky_readers import read
        got = joblib.Parallel(n_jobs=2)(joblib.delayed(read)(name) for name in [{file}] * 2)
        """,
        files={"loky_readers.py": "def read(name):\n    return open(name).read()\n"},
    ),
    of_file(
        "killed_child",
        """
        import multiprocessing, signal
        fork = multiprocessing.get_context("fork")
        queue = fork.SimpleQueue()
        def child():
            queue.put(open({file}).read())
            os.kill(os.getpid(), signal.SIGKILL)
        process = fork.Process(target=child)
        process.start()
        got = queue.get()
        process.join()
        """,
    ),
]


WORLDS = [
    World("python", PYTHON),
    World("readers", INVENTED),
    World("processes", PROCESSES),
]
