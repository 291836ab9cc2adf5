"""Literals: passwords in code, masked in what is kept of it."""

from __future__ import annotations

import re
import textwrap

import pytest

from memoflow.fingerprint.literals import kept, masked
from memoflow.masking import Mask

BOUND = [
    'DB_PASSWORD = "zqw1"  # zqw1 it is',
    "password: str = 'zqw1' + \"zqw2\"",
    'a, token = 1, "zqw1"',
    'cfg = {"db": {"password": "zqw1", "host": "h"}, "n": 3}',
    'def f(x, password="zqw1", *, api_key=\'zqw2\', size=3): pass',
    'connect(host="h", pwd="zqw1", port=5)',
    'os.environ.setdefault("X_TOKEN", "zqw1")',
    'os.environ["API_KEY"] = "zqw1"',
    'if password == "zqw1" or "zqw2" in secrets: pass',
    'url = f"postgres://admin:zqw1@{host}/db"',
    'auth = f"Bearer {x} zqw1"',
    'self.secret = """zqw1\n more zqw1\n"""',
    'x = os.environ.get("DB_PASSWORD", "zqw1")',
    'p = Parameter("db_password", default="zqw1", help="what it is")',
    'y = ("password", "zqw1")',
    'run(["mysql", "--password", "zqw1", "--n", "3"])',
    'set_password("zqw1")',
    'for secret in ["zqw1"]: pass',
    '[x for password in ("zqw1", "zqw2")]',
    'd.update(password=b"zqw1")',
    'if (pw := "zqw1"): pass',
    'return_ = conn("https://u:zqw1@h/")',
    'def get_password():\n    return "zqw1"',
    'class Secrets:\n    A = "zqw1"',
    's = "--password=zqw1"',
    "print(f\"{g(password='zqw1')}\")",
    'match password:\n    case "zqw1": pass',
    'z = lambda password="zqw1": 1',
    '# db_password = "zqw1"\nkey = 1',
    'pin = 4711',
    'q = r"Server=x;Password=zqw1;"',
    'getenv("TOKEN") == "zqw1"',
    'setattr(self, "password", "zqw1")',
    'a = b = password = "zqw1"',
    'x.password += "zqw1"',
    'é = {"ü": "ö", "password": "zqw1"}',
    'SecretStr("zqw1")',
    'def f():\n    """Connect with password=zqw1."""',
    '    def password(self):\n        return "zqw1"\n',
    'class A(B, password="zqw1"):\n    x = 1\n',
    'class A(B, password="zqw1"):\n',
    '    x = """a\npassword=zqw1\n"""\n    password = "zqw2"',
]  # fmt: skip


@pytest.mark.parametrize("text", BOUND)
def test_a_password_in_code_is_masked(text: str) -> None:
    shown = masked(text)
    assert not re.search(r"zqw\d|4711", shown)
    assert "***" in shown
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens = 512",
        'key_column = "user_id"',
        "tokens = 3",
        'tokenizer = load("bert")',
        'password = os.environ["DB_PASSWORD"]',
        'password = os.getenv("DB_PASSWORD")',
        "connect(host, password=password)",
    ],
)
def test_other_code_is_kept_as_it_is(text: str) -> None:
    assert masked(text) == text


def test_what_is_listed_is_masked_too() -> None:
    assert masked('where = "abcd"; n = 3', Mask(frozenset({"where"}))) == 'where = "***"; n = 3'


def test_the_digest_of_code_with_a_password_is_keyed() -> None:
    text = textwrap.dedent("""
        def f():
            connect(password="x")
    """)
    assert kept(text, "xxh3:1").startswith("keyed:")
    assert kept("n = 1", "xxh3:1") == "xxh3:1"
