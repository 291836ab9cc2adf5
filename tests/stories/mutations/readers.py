"""Readers written in C, C++, Cython and Rust, which Python does not see opening files."""

from __future__ import annotations

import importlib
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.stories.conftest import Project
from tests.stories.mutations.files import of_file
from tests.stories.mutations.harness import Act, Case, World


def saved(file: str, write: Any, value: float) -> Act:
    return lambda project: write(project.folder / file, value)


def made(name: str, suffix: str, write: Any, body: str, *needs: str) -> Case:
    """Return a case of a step that reads a file which a library must write."""
    file = name + suffix
    return Case(
        name,
        body.replace("{file}", repr(file)),
        rf"file {name}\{suffix} changed",
        needs=needs,
        prepare=saved(file, write, 1.0),
        change=saved(file, write, 2.0),
        restore=saved(file, write, 1.0),
    )


def parquet(path: Path, value: float) -> None:
    arrow, table = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    table.write_table(arrow.table({"x": [value]}), path)


def feather(path: Path, value: float) -> None:
    arrow, file = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.feather")
    file.write_feather(arrow.table({"x": [value]}), path)


def hdf(path: Path, value: float) -> None:
    with importlib.import_module("h5py").File(path, "w", track_order=False) as file:
        file["x"] = [value]


def tensors(path: Path, value: float) -> None:
    importlib.import_module("safetensors.numpy").save_file({"x": np.array([value])}, path)


def image(path: Path, value: float) -> None:
    importlib.import_module("PIL.Image").new("L", (1, 1), int(value)).save(path)


def matlab(path: Path, value: float) -> None:
    importlib.import_module("scipy.io").savemat(path, {"x": value})
    path.write_bytes(b"M" * 116 + path.read_bytes()[116:])  # The header has the time in it.


def wave(path: Path, value: float) -> None:
    data = struct.pack("<h", int(value))
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 38, b"WAVE", b"fmt ", 16, 1, 1, 8, 16, 2, 16,
                       b"data", 2)  # fmt: skip
    path.write_bytes(head + data)


def table(rows: int) -> Act:
    def act(project: Project) -> None:
        path = project.folder / "attached.db"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as database:
            for number in range(rows):
                database.execute(f"CREATE TABLE t{number} (x)")
        database.close()

    return act


_CSV = {"before": "x\n1\n", "after": "x\n2\n", "suffix": ".csv"}

READERS = [
    made(
        "pandas_parquet",
        ".parquet",
        parquet,
        "import pandas as pd\ngot = pd.read_parquet({file}).x.tolist()",
        "pandas",
        "pyarrow",
    ),
    made(
        "arrow_dataset",
        ".parquet",
        parquet,
        "import pyarrow.dataset as ds\ngot = ds.dataset({file}).to_table().to_pydict()",
        "pyarrow",
    ),
    made(
        "arrow_memory_map",
        ".arrow",
        feather,
        "import pyarrow.feather as f\ngot = f.read_table({file}, memory_map=True).to_pydict()",
        "pyarrow",
    ),
    of_file(
        "arrow_csv",
        "import pyarrow.csv as csv\ngot = csv.read_csv({file}).to_pydict()",
        needs=("pyarrow",),
        **_CSV,
    ),
    of_file(
        "pandas_arrow_engine",
        "import pandas as pd\ngot = pd.read_csv({file}, engine='pyarrow').x.tolist()",
        needs=("pyarrow",),
        **_CSV,
    ),
    of_file(
        "polars_csv",
        "import polars as pl\ngot = pl.read_csv({file}).to_dict(as_series=False)",
        needs=("polars",),
        **_CSV,
    ),
    of_file(
        "polars_lazy",
        "import polars as pl\ngot = pl.scan_csv({file}).select(pl.col('x').sum()).collect().item()",
        needs=("polars",),
        **_CSV,
    ),
    of_file(
        "duckdb_sql",
        "import duckdb\ngot = duckdb.sql('SELECT sum(x)::INT FROM \"duckdb_sql.csv\"').fetchall()",
        needs=("duckdb",),
        **_CSV,
    ),
    made(
        "hdf5", ".h5", hdf, "import h5py\nwith h5py.File({file}) as f:\n    got = f['x'][0]", "h5py"
    ),
    made(
        "safe_tensors",
        ".safetensors",
        tensors,
        "from safetensors.numpy import load_file\ngot = load_file({file})['x'].tolist()",
        "safetensors",
    ),
    of_file(
        "svm_light",
        "from sklearn.datasets import load_svmlight_file as load\ngot = load({file})[1].tolist()",
        "1 1:1\n",
        "2 1:1\n",
    ),
    made(
        "pillow",
        ".png",
        image,
        "from PIL import Image\ngot = Image.open({file}).getpixel((0, 0))",
        "PIL",
    ),
    made("matlab", ".mat", matlab, "import scipy.io\ngot = scipy.io.loadmat({file})['x'].tolist()"),
    made("wave", ".wav", wave, "import scipy.io.wavfile as w\ngot = w.read({file})[1].tolist()"),
    of_file(
        "matrix_market",
        "import scipy.io\ngot = scipy.io.mmread({file}).sum().item()",
        "%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 1\n",
        "%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 2\n",
        ".mtx",
    ),
    of_file(
        "c_library",
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "handle = libc.open({file}.encode(), 0)\nbuffer = ctypes.create_string_buffer(10)\n"
        "libc.read(handle, buffer, 10)\ngot = buffer.value",
    ),
    Case(
        "attached",
        "import sqlite3\ndatabase = sqlite3.connect(':memory:')\n"
        "database.execute('ATTACH \"attached.db\" AS other')\n"
        "got = database.execute('SELECT count(*) FROM other.sqlite_master').fetchone()",
        r"file attached\.db changed",
        prepare=table(1),
        change=table(2),
        restore=table(1),
    ),
    of_file("yaml_value", "import yaml\ngot = yaml.safe_load(open({file}))", needs=("yaml",)),
    Case(
        "threads_of_arrow",
        "import pyarrow.dataset as ds\n"
        "got = ds.dataset('partitions', format='csv').to_table().num_rows",
        r"directory partitions\S*: c\.csv is new|partitions/c\.csv",
        needs=("pyarrow",),
        files={"partitions/a.csv": "x\n1\n"},
        then={"partitions/c.csv": "x\n1\n"},
    ),
    Case(
        "glob_of_duckdb",
        "import duckdb\ngot = duckdb.sql(\"SELECT count(*) FROM 'ducks/*.csv'\").fetchall()",
        r"directory ducks\S*: c\.csv is new|ducks/c\.csv",
        needs=("duckdb",),
        files={"ducks/a.csv": "x\n1\n"},
        then={"ducks/c.csv": "x\n1\n"},
    ),
]


WORLDS = [World("foreign_readers", READERS)]
