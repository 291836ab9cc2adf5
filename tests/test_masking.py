"""Masking: which names and texts look like passwords."""

from __future__ import annotations

import pytest

from memoflow.masking import ANY, MASK, Mask, is_credential, strength, without_passwords

PASSWORDS = [
    "db_pass",
    "pwd",
    "dbpwd",
    "smtpPass",
    "dbPassword",
    "DB_PASSWORD",
    "password2",
    "passphrase",
    "clientsecret",
    "lib.SECRET",
    "cfg['db']['pwd']",
    "PIN",
    "user_pin",
    "PGPASSWORD",
    "MYSQL_PWD",
    "AWS_SECRET_ACCESS_KEY",
    "credentials",
    "pw",
]
PERHAPS = [
    "dsn",
    "connection_string",
    "connectionString",
    "auth",
    "bearer",
    "apiKey",
    "HF_TOKEN",
    "githubToken",
    "private_key",
    "cookies",
    "REDIS_AUTH",
    "API_KEYS",
    "SLACK_WEBHOOK_URL",
    "tokens",
    "key",
    "Authorization",
    "sas_token",
]
FRIENDS = [
    "monkey",
    "keyboard",
    "tokenizer",
    "key_column",
    "max_tokens",
    "author",
    "authority",
    "passenger",
    "pass_through",
    "pin_memory",
    "num_passes",
    "first_pass",
    "compass",
    "token_count",
    "primary_key",
    "password_length",
    "hockey",
    "turkey",
    "n_tokens",
    "sort_key",
    "pass_rate",
    "secretary",
    "bypass",
    "secret_name",
    "key_path",
    "pad_token_id",
    "eos_token",
]


@pytest.mark.parametrize("name", PASSWORDS)
def test_what_only_a_password_is_called_is_masked_as_a_number_too(name: str) -> None:
    assert ANY.hides(name, 1234)


@pytest.mark.parametrize("name", PERHAPS)
def test_what_may_be_a_password_is_masked_but_as_a_number(name: str) -> None:
    assert (ANY.hides(name, "x"), ANY.hides(name, 512)) == (True, False)


@pytest.mark.parametrize("name", FRIENDS)
def test_a_name_that_only_looks_like_it_is_not_masked(name: str) -> None:
    assert strength(name) == 0


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://admin:hunter2@db/x", "postgres://admin:***@db/x"),
        ("https://u:p@ss/w@h/x", "https://u:***@h/x"),
        ("redis://:hunter2@h:6379/0", "redis://:***@h:6379/0"),
        ("https://ghp_abcdefghijklmnop1@github.com/x", "https://***@github.com/x"),
        ("https://host:8080/p?m=a@b", "https://host:8080/p?m=a@b"),
        ("Server=x;Pwd=abc;Port=5", "Server=x;Pwd=***;Port=5"),
        ('{"apiKey": "abc", "n": 3}', '{"apiKey": "***", "n": 3}'),
        ("mysql --password hunter2 --n 3", "mysql --password *** --n 3"),
        ("connect password=hunter2", "connect password=***"),
        ("https://x/?api_key=abc&n=1", "https://x/?api_key=***&n=1"),
        ("x ghp_abcdefghijklmnopqrst y", "x *** y"),
        ("Bearer abc.def.123", "Bearer ***"),
        ("basic authentication failed", "basic authentication failed"),
        ("key: memo/F/x", "key: memo/F/x"),
        ("token=5 max_tokens=3", "token=5 max_tokens=3"),
    ],
)
def test_passwords_in_a_text_are_masked(text: str, masked: str) -> None:
    assert without_passwords(text) == masked


def test_a_password_is_found_at_any_depth() -> None:
    assert ANY.conceals("x", [{"a": ({"b": [{"pwd": "x"}]},)}])


def test_attributes_and_slots_count_as_keys_do() -> None:
    class Slotted:
        __slots__ = ("api_key",)

    held = Slotted()
    held.api_key = "x"
    assert ANY.conceals("x", {"a": held})


def test_what_raises_when_it_is_asked_conceals_nothing() -> None:
    class Sulky:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("not now")

        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("not now")

    assert not ANY.conceals("x", [Sulky()])


def test_plain_data_keeps_its_shape() -> None:
    value = {"a": {"password": "x", "n": [("token", "y"), ["run", "--password", "z"]]}}
    assert ANY.plain(value) == {
        "a": {"password": MASK, "n": [("token", MASK), ["run", "--password", MASK]]}
    }


def test_names_that_are_listed_are_masked_whatever_they_hold() -> None:
    mask = Mask(frozenset({"where"}))
    assert (mask.hides("lib.WHERE", 3), mask.hides("nowhere", "x")) == (True, False)


def test_a_digest_of_a_password_depends_on_the_key() -> None:
    first, second = (Mask(key=lambda key=key: key) for key in (b"one", b"two"))  # type: ignore[misc]
    assert first.keyed("xxh3:1") != second.keyed("xxh3:1")


def test_a_password_in_two_places_has_one_digest_only_where_it_is_shown_alike() -> None:
    assert ANY.digest("password", {"pwd": 1}, "d") != ANY.digest("x", {"pwd": 1}, "d")


def test_a_variable_of_the_working_directory_is_no_login() -> None:
    assert (is_credential("PWD"), is_credential("AWS_SECRET_ACCESS_KEY")) == (False, True)
