"""What `load=` and calls ask for, what of that is hidden, and by which names it is found."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from types import MappingProxyType

import pytest

from memoflow.errors import UsageError
from memoflow.flow.hub import revisions
from memoflow.flow.hub.current_hub import HubRequest, LoadedSnapshots, parse
from memoflow.flow.hub.huggingface_hub import has_secret, hide
from memoflow.kinds.hub import Wanted

SECRET = "hf_secret"
WITH = {"repo_id": "org/name", "token": SECRET}
Pair = namedtuple("Pair", "repo path")


@pytest.mark.parametrize(
    "load",
    [
        [WITH],
        [(WITH, "path")],
        [MappingProxyType(WITH)],
        [Pair(MappingProxyType(WITH), "path")],
        [{"repo_id": "org/name", "headers": {"Authorization": SECRET}}],
        [{"repo_id": "org/name", "endpoint": f"https://me:{SECRET}@hub.example"}],
        [{"repo_id": "org/name", "token": SECRET.encode()}],
    ],
)
def test_a_secret_is_hidden_in_whatever_holds_it(load):
    assert has_secret(load)
    assert SECRET not in repr(hide(load))
    assert len(parse(hide(load))) == 1


def test_a_secret_that_is_hidden_is_passed_on():
    (asked,) = parse(hide([MappingProxyType(WITH)]))
    assert asked.transfer.token == SECRET


def test_what_is_no_secret_is_left_as_it_is():
    load = [{"repo_id": "org/name", "token": True, "endpoint": "https://hub.example"}, ("a/b", "c")]
    assert hide(load) == load
    assert not has_secret(load)


@pytest.mark.parametrize("option", ["path", "local_dir"])
def test_a_tilde_is_ones_home(monkeypatch, option):
    monkeypatch.setenv("HOME", "/home/me")
    given = {"path": "~/out"} if option == "path" else {}
    options = {} if given else {"local_dir": Path("~/out")}
    assert HubRequest.of("org/name", options, **given).path == "/home/me/out"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": b"out"}, "path"),
        ({"path": 3}, "path"),
        ({"local_dir": 3}, "path"),
        ({"max_workers": "2"}, "max_workers"),
        ({"max_workers": 0}, "max_workers"),
        ({"etag_timeout": "2"}, "etag_timeout"),
        ({"etag_timeout": -1}, "etag_timeout"),
        ({"endpoint": 7}, "endpoint"),
        ({"tqdm_class": 7}, "tqdm_class"),
    ],
)
def test_what_cannot_be_is_a_clear_error(options, told):
    path = {"path": options.pop("path")} if "path" in options else {}
    with pytest.raises(UsageError, match=told):
        HubRequest.of("org/name", options, **path)


def test_none_is_as_if_nothing_were_given():
    asked = HubRequest.of("org/name", {"max_workers": None, "etag_timeout": None, "token": None})
    assert asked == HubRequest.of("org/name", {})


def test_all_repositories_of_one_id_can_be_found():
    loaded = LoadedSnapshots()
    for number, wanted in enumerate(
        [
            Wanted("org/name"),
            Wanted("org/name", revision="v1"),
            Wanted("org/name", "dataset"),
            Wanted("org/name", revision="v1"),
        ]
    ):
        loaded.add(wanted, f"/{number}", {"number": number})
    assert dict(loaded) == {
        "org/name": "/0",
        "model/org/name@v1": "/1",
        "dataset/org/name@main": "/2",
        "model/org/name@v1#2": "/3",
    }
    assert loaded.info["dataset/org/name@main"] == {"number": 2}


@pytest.mark.parametrize(
    "wanted", [Wanted("org/name"), Wanted("org/name", "dataset", "a/b@c", at="hub.example:80/x")]
)
def test_what_a_step_has_read_is_known_by_its_name(wanted):
    assert revisions.parse(revisions.name_of(wanted)) == wanted
