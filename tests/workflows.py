"""Workflows: runs what `argo-workflows create --only-json` compiled, as Argo does, in pods.

Templates are run in the order of their dependencies, one after the other, with parameters put in
for `{{...}}`; a task with `withParam` once for each of its items; a container that fails as often
as its `retryStrategy` allows. Other things of Argo's raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pods import Image, Pod

_TAG = re.compile(r"\{\{([^={}][^{}]*)\}\}")
_MOUNTED = "/mnt/out/"


@dataclass
class Attempt:
    template: str
    code: int
    text: str


class Workflow:
    """One workflow made of a template; `given` is what the cluster adds to each environment."""

    def __init__(
        self, template: dict[str, Any], name: str, *, image: Image, folder: Path, given: Mapping
    ) -> None:
        self.attempts: list[Attempt] = []
        self._spec = template["spec"]
        self._templates = {each["name"]: each for each in self._spec["templates"]}
        self._image = image
        self._folder = folder
        self._given = dict(given)
        self._globals = {
            "workflow.name": name,
            "workflow.namespace": "default",
            "workflow.creationTimestamp": f"created-{name}",
            "pod.name": name,
        }

    def run(self) -> bool:
        return self._run(self._spec["entrypoint"], {}) is not None

    def texts(self, template: str) -> list[str]:
        return [one.text for one in self.attempts if one.template == template]

    def _run(self, name: str, inputs: Mapping[str, str]) -> dict[str, str] | None:
        """Return the outputs of a template, None if it failed."""
        template = self._templates[name]
        known = {**self._globals}
        known |= {f"inputs.parameters.{key}": value for key, value in inputs.items()}
        if "dag" in template:
            return self._dag(template, known)
        return self._container(template, known)

    def _dag(self, template: dict[str, Any], known: dict[str, str]) -> dict[str, str] | None:
        done: set[str] = set()
        waiting = list(template["dag"]["tasks"])
        while waiting:
            task = next(each for each in waiting if set(_needed(each)) <= done)
            waiting.remove(task)
            items: list[Any] = [None]
            if "withParam" in task:
                items = json.loads(_filled(task["withParam"], known))
            for item in items:
                here = known if item is None else {**known, "item": str(item)}
                given = task.get("arguments", {}).get("parameters", [])
                arguments = {one["name"]: _filled(one["value"], here) for one in given}
                outputs = self._run(task["template"], arguments)
                if outputs is None:
                    return None
                for key, value in outputs.items():
                    known[f"tasks.{task['name']}.outputs.parameters.{key}"] = value
            done.add(task["name"])
        return {
            one["name"]: _filled(one["valueFrom"]["parameter"], known)
            for one in template.get("outputs", {}).get("parameters", [])
        }

    def _container(self, template: dict[str, Any], known: dict[str, str]) -> dict[str, str] | None:
        container = template["container"]
        limit = int(template.get("retryStrategy", {}).get("limit", 0))
        for retries in range(limit + 1):
            here = {**known, "retries": str(retries)}
            env = {one["name"]: _filled(one.get("value", "here"), here) for one in container["env"]}
            folder = self._folder / f"{len(self.attempts)}-{template['name']}"
            pod = Pod(self._image, folder, {**self._given, **env})
            ran = pod.run(*(_filled(part, here) for part in container["command"]))
            self.attempts.append(Attempt(template["name"], ran.code, ran.text))
            if ran.code == 0:
                return {
                    one["name"]: pod.out(one["valueFrom"]["path"].removeprefix(_MOUNTED))
                    for one in template.get("outputs", {}).get("parameters", [])
                }
        return None


def _needed(task: dict[str, Any]) -> list[str]:
    return [
        name.removesuffix(".Succeeded") for name in task.get("depends", "").split(" && ") if name
    ]


def _filled(text: str, known: Mapping[str, str]) -> str:
    return _TAG.sub(lambda tag: known[tag[1]], str(text))
