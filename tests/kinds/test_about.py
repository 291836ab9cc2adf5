"""Claims: a description is kept as JSON that has the fields of its kind alone, in their order."""

import json
import re

import pytest

from memoflow.errors import IntegrityError
from memoflow.kinds.about import About

COMMIT = "c" * 40
KEPT = [
    (
        About("checkpoint", "F/1/s/2", 1, "epoch", False, {"loss": 1.5}, "tar", "ab", "F/1/s/3"),
        r'{"task": "F/1/s/2", "attempt": 1, "name": "epoch", "latest": false, '
        r'"metadata": "{\"loss\": 1.5}", "storage_format": "tar", "code": "ab", "own": "F/1/s/3", '
        r'"nodes": 0}',
    ),
    (
        About("model", "F/1/s/2", 1, uuid="best_1", label="best", metadata={"at": [1]}),
        r'{"task": "F/1/s/2", "attempt": 1, "uuid": "best_1", "label": "best", '
        r'"metadata": "{\"at\": [1]}", "storage_format": "files"}',
    ),
    (
        About(
            "hub",
            "F/1/s/2",
            1,
            repo_id="org/name",
            repo_type="model",
            revision="main",
            commit=COMMIT,
            allow=("*.bin",),
        ),
        '{"task": "F/1/s/2", "attempt": 1, "repo_id": "org/name", "repo_type": "model", '
        f'"revision": "main", "commit": "{COMMIT}", "allow": ["*.bin"], "ignore": null}}',
    ),
]
by_kind = pytest.mark.parametrize(("about", "text"), KEPT, ids=[about.kind for about, _ in KEPT])


@by_kind
def test_json_has_the_fields_of_the_kind_in_their_order(about, text):
    assert json.dumps(about.to_json()) == text


@by_kind
def test_a_description_is_read_as_it_was_written(about, text):
    assert About.from_json(about.kind, json.loads(text)) == about


@pytest.mark.parametrize(
    ("kind", "thing", "field", "value"),
    [
        ("checkpoint", "checkpoint", "latest", 1),
        ("model", "model", "metadata", "[]"),
        ("hub", "snapshot", "repo_id", "a/b/c"),
        ("hub", "snapshot", "repo_type", "file"),
        ("hub", "snapshot", "commit", "main"),
    ],
)
def test_a_damaged_field_is_an_error_that_says_of_what(kind, thing, field, value):
    fields = next(json.loads(text) for about, text in KEPT if about.kind == kind)
    with pytest.raises(IntegrityError, match=re.escape(f"this is no {thing}'s description: ")):
        About.from_json(kind, fields | {field: value})
