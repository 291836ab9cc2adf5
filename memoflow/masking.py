"""Masking: names and texts that look like passwords, and their replacements.

One matcher for all rooms. A harmless value that is masked costs a word in a message; a password
that is shown costs trust. So a name that may be either is masked, except numbers: sizes, counts
and places stay readable unless the name can only be that of a password.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

MASK = "***"

# As a word of a variable's name: a TOKENIZER is none.
# Patterns are texts, so that a process compiles them only when it needs them.
_CREDENTIAL = (
    r"(?i)(?:^|_|-)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|APIKEY|ACCESSKEY"
    r"|SECRETKEY|PRIVATEKEY|AUTHTOKEN|ACCESSTOKEN)S?\d*(?=$|_|-)"
)
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"
# In any word, and as the end of one: `clientsecret`, `dbpwd`.
_WITHIN = ("passw", "passphrase", "passcode", "secret", "credential")
_ENDS = ("pwd", "pass", "token", "apikey", "accesskey", "secretkey", "privatekey", "jwt", "dsn")
# Of these a number is hidden as well; of the last two not in the middle of a name.
_STRONG = frozenset({"cred", "creds", "otp", "passkey", "pincode", "psw", "pswd", "pw", "totp"})
_STRONG_LAST = frozenset({"pass", "pin"})
_WEAK = frozenset(
    {"apikeys", "auth", "authorization", "basicauth", "bearer", "connectionstring", "connstr",
     "cookie", "cookies", "oauth", "pem", "sas", "webhook", "webhooks"}
)  # fmt: skip
_TWO_WORDS = frozenset({("connection", "string"), ("conn", "string"), ("conn", "str"),
                        ("connect", "string"), ("connection", "str")})  # fmt: skip
_NEITHER = frozenset(
    {"bandpass", "bypass", "compass", "encompass", "highpass", "lowpass", "overpass", "secretary",
     "secretariat", "subtoken", "surpass", "trespass", "underpass"}
)  # fmt: skip
# What follows in a name that is of something about a password, and is none.
_ABOUT = frozenset(
    {"age", "arn", "attempts", "backend", "bits", "budget", "bytes", "class", "col", "cols",
     "column", "columns", "count", "counts", "days", "dim", "dir", "directory", "embedding",
     "embeddings", "enabled", "encoding", "endpoint", "env", "error", "errors", "expires",
     "expiry", "field", "fields", "file", "filename", "folder", "format", "func", "function",
     "host", "ids", "idx", "index", "indices", "len", "length", "lengths", "level", "limit",
     "location", "manager", "map", "mask", "max", "method", "min", "mode", "name", "names", "num",
     "order", "path", "paths", "pattern", "policy", "position", "provider", "range", "rate",
     "ratio", "regex", "required", "retries", "scheme", "seconds", "server", "size", "sizes",
     "timeout", "ttl", "type", "types", "uri", "url", "vocab"}
)  # fmt: skip
# What comes before `key` in a name that is of a column or place, and before `token` in one of text.
_PLAIN_KEYS = frozenset(
    {"by", "bucket", "cache", "config", "dict", "feature", "foreign", "group", "groupby", "hash",
     "index", "item", "join", "label", "lookup", "map", "merge", "meta", "metadata", "object",
     "partition", "primary", "prng", "public", "random", "record", "result", "rng", "row", "s",
     "shard", "sort", "sorting", "split", "table", "target", "unique"}
)  # fmt: skip
_PLAIN_TOKENS = frozenset(
    {"bos", "byte", "class", "cls", "completion", "end", "eos", "image", "input", "mask", "max",
     "min", "n", "new", "num", "output", "pad", "prompt", "sep", "special", "start", "stop",
     "text", "total", "unk", "vocab", "word"}
)  # fmt: skip
_PLAIN_PASSES = frozenset(
    {"all", "backward", "boarding", "bwd", "fast", "first", "forward", "fwd", "last", "multi", "n",
     "num", "one", "per", "second", "single", "third", "two"}
)  # fmt: skip

# A URL's user and password; the address before a port is none.
_URL = r"([A-Za-z][\w+.-]*://)([^\s:/?#@'\"\\]*)(?::(?!\d{1,5}(?:[/?#]|$))([^\s'\"]*))?@"
# `name=value` and `name: value` in a text, and `--name value`.
_PAIR = (
    r"(?P<name>(?<![\w$.-])-{0,2}[A-Za-z_][\w.-]*)(?P<is>['\"]?\s*[=:]\s*)"
    r"(?P<value>(?P<quote>['\"]).*?(?P=quote)|(?!//)[^\s;&'\"]+)"
)
_OPTION = (
    r"(?P<name>(?<!\S)--?[A-Za-z][\w-]*)(?P<is>\s+)"
    r"(?P<value>(?P<quote>['\"]?)[^\s'\"-][^\s'\"]*(?P=quote))"
)
_HEADER = r"(?i)\b(bearer|basic)(\s+)(?=[^\s'\"]*[0-9=._+/-])([A-Za-z0-9._~+/=-]{6,})"
# By how they begin, whatever they are called.
_SHAPES = (
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"
    r"|\bhf_[A-Za-z0-9]{16,}|\bsk-[\w-]{16,}|\bsk_(?:live|test)_\w{10,}|\bxox[abeprs]-[\w-]{10,}"
    r"|\bAIza[\w-]{30,}|\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)
# None of these is in most texts, and then nothing else is.
_SUSPECT = (
    r"(?i)://|pass|pwd|pw\b|secret|token|key|cred|auth|bearer|basic |cookie|jwt|dsn|conn|webhook"
    r"|\bpin\b|\botp\b|\bsas\b|AKIA|ASIA|gh[pousr]_|glpat-|hf_|sk[-_]|xox|AIza|eyJ"
)
_LONGEST = 1 << 16  # characters of a text that are looked through
_MOST = 10_000  # values in one that are
_ROUNDS = 20_000
_NUMBERS = (bool, complex, float, int, type(None))
_CODE = (FunctionType, MethodType, ModuleType, type)


def is_credential(name: str) -> bool:
    """Return whether an environment variable is one of a login, on which no result depends."""
    return re.search(_CREDENTIAL, name) is not None


@lru_cache(maxsize=8192)
def strength(name: str) -> int:
    """Return 2 for a name that only a password can have, 1 for one that it may, 0 for others.

    The name may be a path, such as `lib.DB_PASSWORD`, `cfg['db']['pwd']` or `dbPassword`.
    """
    return max(map(_strength, re.split(r"[^\w-]+", name)))


def _strength(name: str) -> int:
    words = [word.lower() for word in re.findall(_WORD, name)]
    if not words or (words[-1] in _ABOUT and "webhook" not in words):
        return 0
    pairs = zip(["", *words], words, strict=False)
    return max(_of_word(before, word, is_last=word is words[-1]) for before, word in pairs)


def _of_word(before: str, word: str, *, is_last: bool) -> int:
    if word in _NEITHER:
        return 0
    if word in _STRONG or any(each in word for each in _WITHIN):
        return 2
    if word in _STRONG_LAST or word.endswith(("pwd", "pass")):
        # `pass_through` and `pin_memory` are no passwords, `pass1` and `db_pass` are.
        return 2 * (before not in _PLAIN_PASSES and (is_last or word not in _STRONG_LAST))
    if (before, word) == ("pin", "code"):
        return 2
    if word in ("key", "keys"):
        return int(before not in _PLAIN_KEYS)
    if word in ("token", "tokens"):
        return int(before not in _PLAIN_TOKENS)
    return int(word in _WEAK or word.endswith(_ENDS) or (before, word) in _TWO_WORDS)


def without_passwords(text: str, *, pairs: bool = True) -> str:
    """Return a text with the passwords in it masked: in URLs, headers, and after their names.

    `pairs` is whether those count that only a name before them tells.
    """
    if not re.search(_SUSPECT, text):
        return text
    text = re.sub(_URL, _masked_url, text)
    text = re.sub(_HEADER, rf"\1\2{MASK}", text)
    text = re.sub(_SHAPES, MASK, text, flags=re.DOTALL)
    return re.sub(_OPTION, _masked_pair, re.sub(_PAIR, _masked_pair, text)) if pairs else text


def _masked_url(found: re.Match[str]) -> str:
    scheme, user, password = found[1], found[2], found[3]
    is_token = len(user) >= 16 and any(each.isdigit() for each in user)
    user = MASK if is_token else user
    return f"{scheme}{user}@" if password is None else f"{scheme}{user}:{MASK}@"


def _masked_pair(found: re.Match[str]) -> str:
    name, sign, value, quote = found["name"], found["is"], found["value"], found["quote"] or ""
    # `key: value` is what many messages say.
    if name.lower() in ("key", "keys", "token", "tokens") and not sign.strip().endswith("="):
        return found[0]
    level = strength(name)
    bare = value.strip("\\'\"")
    number = r"[-+]?[\d_]*\.?\d+(?:[eE][-+]?\d+)?"
    if not level or (level < 2 and re.fullmatch(number, bare)) or bare in ("", MASK, "None"):
        return found[0]
    return f"{name}{sign}{quote}{MASK}{quote}"


class Mask:
    """The masked things of one place: apparent passwords, and the values of `names`.

    `key` returns what keys the digests of such values; nobody else need know it. It is called only
    if there is one.
    """

    def __init__(
        self, names: frozenset[str] = frozenset(), key: Callable[[], bytes] = bytes
    ) -> None:
        self.names = frozenset(name.lower() for name in names)
        self._key = key

    def hides(self, name: str, value: Any = "") -> bool:
        """Return whether a value of this name is not to be shown."""
        kind = type(value)
        if value is None:
            return False
        if self.names and self.names & {name.lower(), *re.split(r"\W+", name.lower())}:
            return True
        if kind is bool:
            return False
        # What a number, an array or a table says is mostly how much there is of something.
        is_data = kind in (int, float, complex) or hasattr(kind, "dtype") or hasattr(kind, "dtypes")
        return strength(name) > is_data

    def conceals(self, name: str, value: Any) -> bool:
        """Return whether anything in a value of this name is not to be shown."""
        if self.hides(name, value):
            return True
        todo: list[Any] = [value]
        seen: set[int] = set()
        for each in todo:
            kind = type(each)
            if kind in (str, bytes):
                if self.text(each) != _as_text(each):
                    return True
            elif kind not in _NUMBERS and id(each) not in seen:
                seen.add(id(each))
                for key, inner in parts_of(each, max(0, _MOST - len(todo))):
                    if isinstance(key, (str, bytes)) and self.hides(_as_text(key), inner):
                        return True
                    todo.append(inner)
        return False

    def plain(self, value: Any) -> Any:
        """Return a value of lists, tuples and dicts with its passwords masked."""
        if type(value) is dict:
            return {
                key: MASK
                if isinstance(key, (str, bytes)) and self.hides(_as_text(key), each)
                else self.plain(each)
                for key, each in value.items()
            }
        if type(value) in (list, tuple):
            pairs = _sequence(value)
            return type(value)(
                MASK if key is not None and self.hides(key, each) else self.plain(each)
                for key, each in pairs
            )
        return self.text(value) if type(value) is str else value

    def text(self, value: str | bytes) -> str:
        """Return a text, or bytes as one, with the passwords in it masked."""
        return without_passwords(_as_text(value))

    def keyed(self, digest: str) -> str:
        """Return a slow, keyed digest of a password: no table and no list of guesses tells it."""
        return _stretched(digest, self._key())

    def digest(self, name: str, value: Any, digest: str) -> str:
        """Return the digest of a value as it may be shown and kept."""
        if self.hides(name, value):
            return self.keyed(f"{MASK} {digest}")
        return self.keyed(digest) if self.conceals(name, value) else digest


class _Nothing(Mask):
    """Hides nothing."""

    def hides(self, name: str, value: Any = "") -> bool:
        return False

    def conceals(self, name: str, value: Any) -> bool:
        return False

    def text(self, value: str | bytes) -> str:
        return _as_text(value)


ANY = Mask()
NOTHING = _Nothing()


@lru_cache(maxsize=4096)
def _stretched(digest: str, key: bytes) -> str:
    text = digest.encode("utf-8", "surrogatepass")
    return f"keyed:{hashlib.pbkdf2_hmac('sha256', text, b'memoflow ' + key, _ROUNDS, 16).hex()}"


def _as_text(value: str | bytes) -> str:
    text = value[:_LONGEST]
    return text if isinstance(text, str) else text.decode("latin-1")


def parts_of(value: Any, most: int = _MOST) -> list[tuple[Any, Any]]:
    """Return parts of a value, each with the key or attribute that it is under, or None."""
    # Whatever the attributes of a foreign class do, or threads meanwhile: it is for show.
    with suppress(Exception):
        if isinstance(value, (dict, MappingProxyType)):
            return list(islice(value.items(), most))
        if isinstance(value, (list, tuple)):
            return list(islice(_sequence(value), most))
        if isinstance(value, (set, frozenset)):
            return [(None, each) for each in islice(value, most)]
        if hasattr(type(value), "columns") and hasattr(type(value), "dtypes"):
            return [(str(name), "") for name in value.columns]
        if not isinstance(value, _CODE):
            return list(_attributes(value))
    return []


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    held = getattr(value, "__dict__", None)
    if isinstance(held, dict):
        yield from list(held.items())
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            with suppress(Exception):
                yield name, object.__getattribute__(value, name)


def _sequence(value: list[Any] | tuple[Any, ...]) -> Iterator[tuple[str | None, Any]]:
    """Yield the items of a list or tuple with their names: `("password", "x")`, `--password x`."""
    fields = getattr(type(value), "_fields", ())
    before: Any = None
    for i, each in enumerate(value):
        name = fields[i] if i < len(fields) else None
        is_pair = type(value) is tuple and len(value) == 2 and i == 1
        if type(before) is str and (is_pair or before[:1] == "-") and "=" not in before:
            name = before
        yield name, each
        before = each
