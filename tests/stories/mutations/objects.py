"""Objects: globals that cannot be encoded, what libraries leave on them, and equal artifacts."""

from __future__ import annotations

from tests.stories.mutations.code import edited
from tests.stories.mutations.harness import Case, World


def still(name: str, head: str, body: str, *needs: str, told: str | None = None) -> Case:
    """Return a case of a step that uses a global of a library's, and hits."""
    return Case(name, body, head=head, needs=needs, told=told)


GLOBALS = [
    Case(
        "remark",
        "1",
        change=lambda project: project.edit("flow.py", "# A remark.", "# Another.\n\n# Longer."),
        restore=lambda project: project.edit("flow.py", "# Another.\n\n# Longer.", "# A remark."),
        head="# A remark.",
    ),
    still(
        "lock",
        "import threading\nLOCK = threading.Lock()",
        "with LOCK:\n    got = 1",
        told="LOCK",
    ),
    edited(
        "lock_of_a_class",
        "import threading\nHELD = threading.Lock()\n",
        "with code.HELD:\n    got = 1",
        "Lock()",
        "RLock()",
        "HELD|lock",
    ),
    still("rlock", "import threading\nRLOCK = threading.RLock()", "with RLOCK:\n    got = 1"),
    still(
        "console",
        "from rich.console import Console\nCONSOLE = Console()",
        "CONSOLE.print('x')\ngot = 1",
        told="CONSOLE",
    ),
    still(
        "logger",
        "import logging\nLOG = logging.getLogger('steps')\nLOG.addHandler(logging.StreamHandler())",
        "LOG.info('x')\ngot = 1",
    ),
    still("pattern", "import re\nPATTERN = re.compile('a+')", "PATTERN.findall('baab')"),
    still(
        "pool",
        "from concurrent.futures import ThreadPoolExecutor\nPOOL = ThreadPoolExecutor(2)",
        "list(POOL.map(len, ['a']))",
    ),
    still(
        "thread_local", "import threading\nLOCAL = threading.local()", "LOCAL.x = 1\ngot = LOCAL.x"
    ),
    still(
        "session",
        "import requests\nSESSION = requests.Session()",
        "type(SESSION).__name__",
        "requests",
    ),
    still(
        "client",
        "import boto3\nS3 = boto3.client('s3', region_name='us-east-1')",
        "S3.meta.service_model.service_name",
        "boto3",
    ),
    still(
        "context",
        "import contextvars\nVARIABLE = contextvars.ContextVar('v', default=1)",
        "VARIABLE.get()",
    ),
    still("weak", "import weakref\nWEAK = weakref.WeakValueDictionary()", "len(WEAK)"),
    still("queue", "import queue\nQUEUE = queue.Queue()", "QUEUE.qsize()"),
    still("count", "import itertools\nCOUNT = itertools.count(3)", "next(COUNT)"),
    still(
        "database",
        "import sqlite3\nDATABASE = sqlite3.connect(':memory:', check_same_thread=False)",
        "DATABASE.execute('SELECT 1').fetchone()",
    ),
    still(
        "engine",
        "import sqlalchemy\nENGINE = sqlalchemy.create_engine('sqlite://')",
        "ENGINE.dialect.name",
        "sqlalchemy",
    ),
    still(
        "seeded", "import numpy as np\nSEEDED = np.random.default_rng(7)", "float(SEEDED.random())"
    ),
    still("started", "import time\nSTARTED_CLOCK = time.perf_counter", "STARTED_CLOCK() > 0"),
    still("frozen_error", "import errno\nERRORS = errno.errorcode", "ERRORS[2]"),
]

IN_EACH_PROCESS = [
    Case(
        name,
        f"len(str({constant})) > 0",
        head=head,
        never=rf"constant {constant} differs in each process: make it in the step",
    )
    for name, constant, head in (
        ("clock", "RUN", "import time\nRUN = time.time()"),
        ("date", "STAMP", "import datetime\nSTAMP = datetime.datetime.now().isoformat()"),
        ("unique", "UNIQUE", "import uuid\nUNIQUE = uuid.uuid4().hex"),
        ("folder", "FOLDER", "import tempfile\nFOLDER = tempfile.mkdtemp()"),
        ("process", "PID", "PID = os.getpid()"),
        ("drawn", "DRAWN", "import random\nDRAWN = random.random()"),
        ("generator", "GENERATOR", "import numpy as np\nGENERATOR = np.random.default_rng()"),
        ("in_a_dict", "SETTINGS", "import time\nSETTINGS = {'at': time.time_ns(), 'x': 1}"),
    )
]

_PYDANTIC = """
from pydantic import BaseModel, field_validator

class M(BaseModel):
    x: int = 1

    @field_validator("x")
    @classmethod
    def doubled(cls, value):
        return value * 2
"""
_SQLALCHEMY = """
from sqlalchemy import Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(30))

    def greeting(self):
        return "hello"
"""
_PROTOBUF = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = descriptor_pb2.FileDescriptorProto(name="{name}.proto", package="{name}", syntax="proto3")
MESSAGE = FILE.message_type.add(name="Point")
MESSAGE.field.add(name="x", number=1, type=5, label=1)
POOL = descriptor_pool.DescriptorPool()
POOL.Add(FILE)
Point = message_factory.GetMessageClass(POOL.FindMessageTypeByName("{name}.Point"))

def shifted(point):
    return point.x + 1
"""


def of_library(
    name: str, source: str, body: str, needs: str, *edits: tuple[str, str]
) -> list[Case]:
    """Return a case that hits while the module only gets a remark, and one for each edit."""
    said = [f"{name}_{number}" for number in range(len(edits) + 1)]
    remarked = edited(said[0], source + "# A remark.\n", body, "A remark", "Another", None)
    cases = [
        remarked,
        *(edited(s, source, body, *edit) for s, edit in zip(said[1:], edits, strict=True)),
    ]
    return [Case(**vars(case) | {"needs": (needs,)}) for case in cases]


LIBRARIES = [
    *of_library(
        "pydantic_model",
        _PYDANTIC,
        "code.M(x=3).x + code.M().x",
        "pydantic",
        ("x: int = 1", "x: int = 4"),
        ("value * 2", "value * 5"),
    ),
    *of_library(
        "sqlalchemy_class",
        _SQLALCHEMY,
        "(code.User(id=1).greeting(), code.User.__tablename__)",
        "sqlalchemy",
        ('"hello"', '"bye"'),
        ('"users"', '"people"'),
    ),
    *of_library(
        "protobuf_class",
        _PROTOBUF.format(name="points"),
        "code.shifted(code.Point(x=1))",
        "google.protobuf",
        ("point.x + 1", "point.x + 2"),
    ),
    *of_library(
        "attrs_class",
        "import attrs\n\n\n@attrs.define\nclass A:\n    x: int = 1\n",
        "code.A().x",
        "attrs",
        ("x: int = 1", "x: int = 2"),
    ),
    *of_library(
        "named_tuple",
        "import typing\n\n\nclass A(typing.NamedTuple):\n    x: int = 1\n",
        "code.A().x",
        "typing",
        ("x: int = 1", "x: int = 2"),
    ),
    *of_library(
        "enum_class",
        "import enum\n\n\nclass A(enum.Enum):\n    X = 1\n    Y = 2\n",
        "[a.value for a in code.A]",
        "enum",
        ("X = 1\n    Y = 2", "Y = 2\n    X = 1"),
    ),
    *of_library(
        "click_command",
        "import click\n\n\n@click.command()\ndef f():\n    return 1\n",
        "code.f.callback()",
        "click",
        ("return 1", "return 2"),
    ),
]


def artifact(name: str, make: str, body: str, says: str | None = None, **more: object) -> Case:
    """Return a case of a step whose input is made anew in each run, with `n` from a file."""
    variable = name.upper()
    return Case(
        name,
        body,
        says,
        env={variable: "1"},
        then_env={variable: "2"},
        start=f"n = int(os.environ[{variable!r}])\n{make}",
        **more,  # type: ignore[arg-type]
    )


# What is made differs in its bytes or not at all, or in one part that has a name.
ARTIFACTS = [
    artifact(
        "set_of_words",
        "self.words = set('ab cd ef'.split()[::n])\n"
        "self.words = set(['ab', 'cd', 'ef'][::1 if n == 1 else -1])",
        "sorted(self.words)",
    ),
    artifact(
        "attribute_order",
        "from types import SimpleNamespace as S\n"
        "self.thing = S(a=1, b=2) if n == 1 else S(b=2, a=1)",
        "self.thing.a",
    ),
    artifact(
        "sparse_matrix",
        "from scipy import sparse\nself.sparse = sparse.csr_matrix([[0, 1], [1, 0]])",
        "self.sparse.sum().item()",
    ),
    artifact(
        "sparse_changed",
        "from scipy import sparse\nself.sparse_n = sparse.csr_matrix([[0, n]])",
        "self.sparse_n.sum().item()",
        "sparse_n",
    ),
    artifact(
        "strided_array",
        "import numpy as np\na = np.arange(6).reshape(2, 3)\n"
        "self.strided = a if n == 1 else np.asfortranarray(a)",
        "self.strided.tolist()",
    ),
    artifact(
        "chunks",
        "import pandas as pd\nframe = pd.DataFrame({'x': [1, 2]})\n"
        "self.frame = frame if n == 1 else pd.concat([frame[:1], frame[1:]])",
        "self.frame.x.tolist()",
    ),
    artifact(
        "shared_parts",
        "one = [1]\nself.shared = [one, one] if n == 1 else [[1], [1]]",
        "len(self.shared)",
    ),
    artifact(
        "fitted_model",
        "from sklearn.linear_model import LinearRegression\n"
        "self.fitted = LinearRegression().fit([[0], [1]], [0, 1])",
        "round(float(self.fitted.coef_[0]), 6)",
    ),
    artifact(
        "fitted_vectorizer",
        "from sklearn.feature_extraction.text import CountVectorizer\n"
        "self.vectorizer = CountVectorizer(stop_words=['the']).fit(['a the cat'])",
        "sorted(self.vectorizer.vocabulary_)",
    ),
    artifact(
        "part_of_a_dict",
        "self.settings = {'lr': n / 10, 'seed': 7}",
        "self.settings['lr']",
        r"lr\S* changed: 0\.1 -> 0\.2",
    ),
    artifact(
        "part_of_a_list",
        "self.rows = [1, 2, {'deep': n}]",
        "self.rows[2]['deep']",
        r"(deep|rows)\S* changed: 1 -> 2",
    ),
    artifact(
        "attribute_of_an_object",
        "from types import SimpleNamespace as S\nself.made = S(rate=n, kept=1)",
        "self.made.rate",
        r"rate changed: 1 -> 2",
    ),
    artifact(
        "key_order",
        "self.pairs = dict([('a', 1), ('b', 2)][::1 if n == 1 else -1])",
        "list(self.pairs)",
        "pairs",
    ),
    artifact("kind_of_number", "self.number = 1 if n == 1 else 1.0", "repr(self.number)", "number"),
    artifact("not_a_number", "self.nan = float('nan')", "self.nan != self.nan"),
    artifact(
        "some_tensor",
        "import torch\nself.tensor = torch.arange(4).reshape(2, 2)[:, ::1]",
        "self.tensor.sum().item()",
        needs=("torch",),
    ),
    artifact(
        "tensor_csr",
        "import torch\nself.csr = torch.eye(2).to_sparse_csr()",
        "self.csr.to_dense().sum().item()",
        needs=("torch",),
    ),
    artifact(
        "arrow_chunks",
        "import pyarrow as pa\nself.arrow = pa.chunked_array([[1, 2]] if n == 1 else [[1], [2]])",
        "self.arrow.to_pylist()",
        needs=("pyarrow",),
    ),
]

WORLDS = [
    World("globals", GLOBALS),
    World("in_each_process", IN_EACH_PROCESS),
    World("libraries", LIBRARIES),
    World("artifacts", ARTIFACTS),
]
